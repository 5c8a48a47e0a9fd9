"""Bandwidth counters on resctrl and sysfs trees laid out as the kernel documents them, and on a real perf event."""

import os
import platform
import shutil
import time
from pathlib import Path

import pytest

from multidnn.errors import InputError
from multidnn.targets.host import uncore
from multidnn.targets.host.bandwidth import NotAvailableError, find_counter
from multidnn.targets.host.resctrl import ResctrlCounter

DOMAINS = ("mon_L3_00", "mon_L3_01")


class FakeResctrl:
    """A folder that behaves like a mounted resctrl: making a group fills it, removing one needs no empty folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.groups = folder / "mon_groups"
        self.groups.mkdir(parents=True)
        self.features("llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n")
        self.first = dict.fromkeys(DOMAINS, "1000\n")
        self._mkdir, self._rmdir = os.mkdir, os.rmdir
        monkeypatch.setattr(os, "mkdir", self.make)
        monkeypatch.setattr(os, "rmdir", self.remove)

    def features(self, text: str) -> None:
        path = self.folder / "info" / "L3_MON" / "mon_features"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def make(self, path: str | Path, mode: int = 0o777) -> None:
        self._mkdir(path, mode)
        if Path(path).parent == self.groups:
            (Path(path) / "tasks").touch()
            self._mkdir(Path(path) / "mon_data")
            for domain, text in self.first.items():
                self._mkdir(Path(path) / "mon_data" / domain)
                (Path(path) / "mon_data" / domain / "mbm_total_bytes").write_text(text)
                (Path(path) / "mon_data" / domain / "mbm_local_bytes").write_text("77\n")

    def remove(self, path: str | Path, **options: int | None) -> None:
        if Path(path).parent == self.groups:
            os.rename(path, self.folder / f"removed-{Path(path).name}")
        else:
            self._rmdir(path, **options)

    def count(self, group: str, domain: str, text: str) -> None:
        (self.groups / group / "mon_data" / domain / "mbm_total_bytes").write_text(text)


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeResctrl:
    return FakeResctrl(tmp_path / "sys" / "fs" / "resctrl", monkeypatch)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for thread in (41, 42, 50):
        (tmp_path / "proc" / "41" / "task" / str(thread)).mkdir(parents=True)
    return tmp_path / "proc"


def open_here(tmp_path: Path, proc: Path):  # type: ignore[no-untyped-def]
    return find_counter(41, root=tmp_path / "sys", proc=proc)


def test_a_group_holds_every_thread_and_its_domains_add_up(tmp_path: Path, proc: Path, resctrl: FakeResctrl) -> None:
    counter, what = open_here(tmp_path, proc)
    assert counter is not None
    with counter:
        assert counter.method == "resctrl-mbm"
        assert "resctrl-mbm" in what
        assert (resctrl.groups / "multidnn-41" / "tasks").read_text().split() == ["41", "42", "50"]
        assert counter.read() == 0
        resctrl.count("multidnn-41", "mon_L3_00", "6000\n")
        resctrl.count("multidnn-41", "mon_L3_01", "1500\n")
        assert counter.read() == 5500
    assert list(resctrl.groups.iterdir()) == []


def test_rate_is_bytes_over_the_time_that_passed(
    tmp_path: Path, proc: Path, resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, _ = open_here(tmp_path, proc)
    assert counter is not None

    def sleep(seconds: float) -> None:
        resctrl.count("multidnn-41", "mon_L3_00", f"{1000 + 10**9}\n")
        time.sleep(seconds)

    monkeypatch.setattr("multidnn.targets.host.bandwidth.sleep", sleep)
    with counter:
        begin = time.perf_counter()
        rate = counter.measure(0.05)
        elapsed = time.perf_counter() - begin
    assert 1e9 / elapsed <= rate <= 1e9 / 0.05


def test_a_domain_without_the_process_may_stay_unavailable(tmp_path: Path, proc: Path, resctrl: FakeResctrl) -> None:
    resctrl.first["mon_L3_01"] = "Unavailable\n"
    counter, _ = open_here(tmp_path, proc)
    assert counter is not None
    with counter:
        resctrl.count("multidnn-41", "mon_L3_00", "3000\n")
        assert counter.read() == 2000
        # it begins to count when the process reaches it, from zero
        resctrl.count("multidnn-41", "mon_L3_01", "500\n")
        assert counter.read() == 2500


@pytest.mark.parametrize("text", ["Unavailable\n", "Unassigned\n", "Error\n"])
def test_a_count_that_is_lost_is_an_error_naming_the_file(
    tmp_path: Path, proc: Path, resctrl: FakeResctrl, text: str
) -> None:
    counter, _ = open_here(tmp_path, proc)
    assert counter is not None
    with counter:
        resctrl.count("multidnn-41", "mon_L3_01", text)
        with pytest.raises(InputError, match=f"mon_L3_01/mbm_total_bytes: {text.strip()}"):
            counter.read()
    assert list(resctrl.groups.iterdir()) == []


def test_a_group_that_never_counts_is_not_available_and_removed(
    tmp_path: Path, proc: Path, resctrl: FakeResctrl
) -> None:
    resctrl.first = dict.fromkeys(DOMAINS, "Unassigned\n")
    counter, reason = open_here(tmp_path, proc)
    assert counter is None
    assert "Unassigned" in reason
    assert list(resctrl.groups.iterdir()) == []


def test_groups_of_killed_measurements_are_removed_and_others_kept(
    tmp_path: Path, proc: Path, resctrl: FakeResctrl
) -> None:
    for name, tasks in (("multidnn-7", ""), ("multidnn-8", "8\n"), ("of-someone-else", "")):
        os.mkdir(resctrl.groups / name)
        (resctrl.groups / name / "tasks").write_text(tasks)
    counter, _ = open_here(tmp_path, proc)
    assert counter is not None
    counter.close()
    assert sorted(path.name for path in resctrl.groups.iterdir()) == ["multidnn-8", "of-someone-else"]


def test_no_bandwidth_monitoring_says_what_is_offered(tmp_path: Path, proc: Path, resctrl: FakeResctrl) -> None:
    resctrl.features("llc_occupancy\n")
    with pytest.raises(NotAvailableError, match="mon_features lists llc_occupancy, not mbm_total_bytes"):
        ResctrlCounter(41, resctrl.folder, proc)


def test_no_free_monitoring_group_says_so(
    tmp_path: Path, proc: Path, resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str | Path, mode: int = 0o777) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    counter, reason = open_here(tmp_path, proc)
    assert counter is None
    assert "multidnn-41 cannot be made (No space left on device)" in reason


def test_a_vanished_process_leaves_no_group(tmp_path: Path, proc: Path, resctrl: FakeResctrl) -> None:
    shutil.rmtree(proc / "41")
    counter, reason = open_here(tmp_path, proc)
    assert counter is None
    assert "process 41" in reason
    assert list(resctrl.groups.iterdir()) == []


def test_a_machine_without_counters_names_both_places(tmp_path: Path, proc: Path) -> None:
    counter, reason = open_here(tmp_path, proc)
    assert counter is None
    assert str(tmp_path / "sys" / "fs" / "resctrl") in reason
    assert "uncore_imc" in reason


def lay_out(devices: Path, unit: str, events: dict[str, str], *, type_: int = 14, cpumask: str = "0,18") -> Path:
    """Lay out one event source as in Documentation/ABI/testing/sysfs-bus-event_source-devices-*."""
    folder = devices / unit
    (folder / "events").mkdir(parents=True)
    (folder / "format").mkdir()
    (folder / "type").write_text(f"{type_}\n")
    (folder / "cpumask").write_text(f"{cpumask}\n")
    (folder / "format" / "event").write_text("config:0-7\n")
    (folder / "format" / "umask").write_text("config:8-15\n")
    (folder / "format" / "edge").write_text("config:18\n")
    (folder / "format" / "split").write_text("config1:0-3,8-9\n")
    for name, terms in events.items():
        (folder / "events" / name).write_text(f"{terms}\n")
        (folder / "events" / f"{name}.scale").write_text("6.103515625e-5\n")
        (folder / "events" / f"{name}.unit").write_text("MiB\n")
    return folder


SERVER = {
    "clockticks": "event=0xff",
    "cas_count_read": "event=0x04,umask=0x03",
    "cas_count_write": "event=0x04,umask=0x0c",
}


def test_server_controllers_count_cache_lines_read_and_written(tmp_path: Path) -> None:
    lay_out(tmp_path, "uncore_imc_0", SERVER, type_=14)
    lay_out(tmp_path, "uncore_imc_1", SERVER, type_=15)
    lay_out(tmp_path, "uncore_imc_free_running_0", {"data_read": "event=0xff", "data_write": "event=0xff"})
    lay_out(tmp_path, "uncore_cha_0", {"cas_count_read": "event=1", "cas_count_write": "event=1"})
    events = uncore.find_events(tmp_path)
    assert [(event.name, event.type, event.config[0]) for event in events] == [
        ("uncore_imc_0/cas_count_read", 14, 0x0304),
        ("uncore_imc_0/cas_count_write", 14, 0x0C04),
        ("uncore_imc_1/cas_count_read", 15, 0x0304),
        ("uncore_imc_1/cas_count_write", 15, 0x0C04),
    ]
    for event in events:
        assert event.processors == (0, 18)
        # a CAS moves one cache line
        assert event.bytes_per_count == pytest.approx(64, rel=1e-12)


def test_two_subchannels_of_one_controller_both_count(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "uncore_imc_0",
        {f"cas_count_{way}_sch{half}": "event=5,umask=0xcf" for way in ("read", "write") for half in (0, 1)},
    )
    assert len(uncore.find_events(tmp_path)) == 4


def test_client_controllers_do_not_count_the_total_twice(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "uncore_imc_free_running_0",
        dict.fromkeys(("data_total", "data_read", "data_write"), "event=0xff,umask=0x20"),
    )
    assert [event.name.split("/")[1] for event in uncore.find_events(tmp_path)] == ["data_read", "data_write"]


def test_older_client_controllers_do_not_count_requesters_twice(tmp_path: Path) -> None:
    names = ("data_reads", "data_writes", "gt_requests", "ia_requests", "io_requests")
    lay_out(tmp_path, "uncore_imc", dict.fromkeys(names, "event=1"))
    assert [event.name.split("/")[1] for event in uncore.find_events(tmp_path)] == ["data_reads", "data_writes"]


def test_split_fields_flags_and_raw_words_reach_their_bits(tmp_path: Path) -> None:
    lay_out(tmp_path, "uncore_imc", {"data_reads": "event=2,edge,split=0x15", "data_writes": "config1=0x30"})
    reads, writes = uncore.find_events(tmp_path)
    assert reads.config == (2 | 1 << 18, 0b01_0000_0101, 0)
    assert writes.config == (0, 0x30, 0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("events/data_reads", "event=0x1ff", "does not fit"),
        ("events/data_reads", "speed=3", "speed"),
        ("events/data_reads.unit", "furlongs", "furlongs"),
        ("events/data_reads.scale", "many", "many"),
    ],
)
def test_what_is_not_understood_is_not_counted(tmp_path: Path, name: str, content: str, words: str) -> None:
    folder = lay_out(tmp_path, "uncore_imc", {"data_reads": "event=1", "data_writes": "event=2"})
    (folder / name).write_text(content)
    with pytest.raises(NotAvailableError, match=f"data_reads.*{words}"):
        uncore.find_events(tmp_path)


def test_reads_without_writes_are_not_offered_as_bandwidth(tmp_path: Path) -> None:
    lay_out(tmp_path, "uncore_imc_0", {"cas_count_read": "event=4"})
    with pytest.raises(NotAvailableError, match="reads and writes"):
        uncore.find_events(tmp_path)


@pytest.fixture
def software_controller(tmp_path: Path) -> Path:
    """A memory controller whose two events are really the kernel's processor clock (software event 0, nanoseconds)."""
    processor = min(os.sched_getaffinity(0))
    folder = lay_out(
        tmp_path / "sys" / "bus" / "event_source" / "devices",
        "uncore_imc_0",
        {"cas_count_read": "config=0", "cas_count_write": "config=0"},
        type_=1,
        cpumask=str(processor),
    )
    for name in ("cas_count_read", "cas_count_write"):
        (folder / "events" / f"{name}.scale").write_text("1\n")
        (folder / "events" / f"{name}.unit").write_text("Bytes\n")
    return tmp_path / "sys"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="perf_event_open is used on x86_64 only")
def test_a_real_kernel_event_is_opened_scaled_and_added_up(software_controller: Path) -> None:
    counter, reason = find_counter(os.getpid(), root=software_controller)
    if counter is None and "perf_event_paranoid" in reason:
        pytest.skip(reason)
    assert counter is not None, reason
    descriptors = len(os.listdir("/proc/self/fd"))
    with counter:
        assert counter.method == "perf-uncore-imc"
        rate = counter.measure(0.2)
        readings = [counter.read() for _ in range(3)]
    # two clocks of nanoseconds, each at most 1e9 a second; the clock stands still while the processor idles
    assert 0 < rate < 2.2e9
    assert readings == sorted(readings)
    assert len(os.listdir("/proc/self/fd")) == descriptors - 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="perf_event_open is used on x86_64 only")
def test_an_event_that_the_kernel_refuses_is_a_reason(tmp_path: Path) -> None:
    lay_out(tmp_path / "bus" / "event_source" / "devices", "uncore_imc_0", SERVER, type_=54321, cpumask="0")
    counter, reason = find_counter(os.getpid(), root=tmp_path)
    assert counter is None
    assert "uncore_imc_0/cas_count_read cannot be opened on processor 0" in reason
