"""tegrastats lines of every L4T, and what the memory controller's percentage means."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import emc, jtop, tegrastats
from multidnn.targets.jetson.parsers.emc import BUS_BYTES, Emc
from multidnn.targets.jetson.parsers.tegrastats import Dla, Gpu, Rail
from tests.targets.jetson.parsers.helpers import SAMPLES, recorded


def test_l4t_32() -> None:
    samples = tegrastats.read(SAMPLES / "tegrastats-l4t32.log")
    first = samples[0]
    assert (first.time, first.ram_used_mb, first.ram_total_mb) == (None, 3199, 15825)
    assert (first.emc, first.gpu, first.dla) == (Emc(12, 2133), Gpu(45, (1377,)), {})
    assert list(first.power) == ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]
    assert first.power["CV"] == Rail(464, 232, None)
    assert emc.emc_percent(samples) == [12, 13]


def test_without_root_there_is_no_emc_and_it_is_not_0() -> None:
    samples = tegrastats.read(SAMPLES / "tegrastats-l4t35-not-root.log")
    assert samples[0].time == "2023-10-16T09:06:55"
    assert samples[0].emc is None
    assert samples[0].gpu == Gpu(67, ())
    assert list(samples[0].power) == ["VDD_GPU_SOC"]
    for demand in (
        lambda: emc.emc_percent(samples),
        lambda: emc.emc_demand_gb_s(samples, 32),
        lambda: emc.settled_emc(samples, settle_s=0),
    ):
        with pytest.raises(
            InputError, match=r"not-root.log:1: no EMC utilisation; .* without root: run `sudo tegrastats"
        ):
            demand()
    # a percentage of an unknown clock is no better
    bare = tegrastats.parse_line("RAM 1/2MB EMC_FREQ 7% GR3D_FREQ 7%", "x:1")
    assert bare.emc == Emc(7, None)
    with pytest.raises(InputError, match=r"x:1: EMC utilisation without the clock"):
        emc.emc_percent([bare])


def test_l4t_36_and_the_dla() -> None:
    off, busy = tegrastats.read(SAMPLES / "tegrastats-l4t36.log")
    assert off.gpu == Gpu(0, (305, 305))
    assert off.dla == {"NVDLA0": Dla(False, None), "NVDLA1": Dla(False, None)}
    assert busy.dla == {"NVDLA0": Dla(True, 1600)}
    assert busy.power["VDD_GPU_SOC"] == Rail(3150, 2971, None)


def test_l4t_39_and_thor() -> None:
    orin = tegrastats.read(SAMPLES / "tegrastats-l4t39.log")[0]
    assert orin.gpu == Gpu(12, (1300, 1300))
    assert orin.power["VDD_GPU_SOC"] == Rail(5139, 5100, 5200)
    assert orin.emc == Emc(3, 3199)
    thor = tegrastats.read(SAMPLES / "tegrastats-thor.log")[0]
    assert thor.gpu == Gpu(None, (1000, 1000, 1000))
    assert (thor.dla, thor.power["VIN"]) == ({}, Rail(23000, 22000, 24000))


RAILS = st.dictionaries(
    st.from_regex(r"V[A-Z0-9_]{1,12}", fullmatch=True),
    st.tuples(st.integers(0, 60000), st.integers(0, 60000)),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(
    rails=RAILS,
    unit=st.booleans(),
    emc_state=st.none() | st.tuples(st.integers(0, 100), st.integers(1, 4266)),
    load=st.none() | st.integers(0, 100),
    clocks=st.lists(st.integers(0, 2000), min_size=1, max_size=3),
    dla=st.lists(st.none() | st.integers(1, 1600), max_size=2),
    time=st.none() | st.datetimes().map(lambda moment: moment.replace(microsecond=0)),
    pad=st.integers(1, 8),
)
def test_a_rendered_line_reads_back(
    rails: dict[str, tuple[int, int]],
    unit: bool,
    emc_state: tuple[int, int] | None,
    load: int | None,
    clocks: list[int],
    dla: list[int | None],
    time: object,
    pad: int,
) -> None:
    words = [f"{time:%m-%d-}{time.year:04d}{time: %H:%M:%S}"] if time else []  # type: ignore[attr-defined]
    words += ["RAM 5/10MB (lfb 1x4MB)", "SWAP 1/2MB (cached 0MB)", "CPU [1%@729,off]"]
    words += [f"EMC_FREQ {emc_state[0]}%@{emc_state[1]}"] if emc_state else []
    clock = f"[{','.join(map(str, clocks))}]" if len(clocks) > 1 or load is None else str(clocks[0])
    words.append(f"GR3D_FREQ {'' if load is None else f'{load}%'}@{clock}")
    words += [f"NVDLA{i}{' ' * pad}off" if mhz is None else f"NVDLA{i}_FREQ @{mhz}" for i, mhz in enumerate(dla)]
    words.append("APE 174 MTS fg 0% bg 2% cpu@53.062C tj@-256C")
    watts = "mW" if unit else ""
    words += [f"{name} {now}{watts}/{mean}{watts}" for name, (now, mean) in rails.items()]
    sample = tegrastats.parse(" ".join(words), "x")[0]
    assert sample.time == (time.isoformat() if time else None)  # type: ignore[attr-defined]
    assert sample.emc == (Emc(*emc_state) if emc_state else None)
    assert sample.gpu == Gpu(load, tuple(clocks))
    assert sample.dla == {f"NVDLA{i}": Dla(mhz is not None, mhz) for i, mhz in enumerate(dla)}
    assert sample.power == {name: Rail(*values, None) for name, values in rails.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello\n", r"x:1: found 'hello', expected a line of tegrastats"),
        ("RAM 1/2MB EMC_FREQ x%@9\n", r"x:1: found 'EMC_FREQ x%@9', expected"),
        ("RAM 1/2MB GR3D_FREQ ?\n", r"x:1: found 'GR3D_FREQ \?', expected"),
        ("13-32-2025 09:00:00 RAM 1/2MB\n", r"x:1: found the time '13-32-2025 09:00:00', expected"),
        ("RAM 1/2MB VIN 3/4 VIN 3/4\n", r"x:1: the rail VIN is there twice"),
        ("RAM 1/2MB VIN 3/4\n\nRAM 1/2MB EMC_", r"x:3: the last line ends with .*truncated"),
        ("RAM 1/2MB VIN 3/4 GPU 1/1\nRAM 1/2MB VIN 3/4", r"x:2: the last line ends with .*truncated"),
        ("RAM 1/2MB VDD 3mW/4m", r"x:1: the last line ends with .*truncated"),
    ],
)
def test_a_mistake_is_reported_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        tegrastats.parse(text, "x")
    assert re.search(expected, str(caught.value)), caught.value


def test_bandwidth_against_the_data_sheets() -> None:
    """LPDDR4X on Xavier AGX and LPDDR5 on Orin AGX and Orin NX: 136.5, 204.8 and 102.4 GB/s, as NVIDIA states them."""
    assert emc.peak_gb_s(2133, BUS_BYTES["AGX"]) == pytest.approx(136.5, abs=0.1)
    assert emc.peak_gb_s(3200, BUS_BYTES["AGX"]) == pytest.approx(204.8)
    assert emc.peak_gb_s(3200, BUS_BYTES["NX"]) == pytest.approx(102.4)
    # the same percentage of half the clock is half the traffic
    assert emc.demand_gb_s(Emc(50, 1600), 32) == pytest.approx(emc.demand_gb_s(Emc(25, 3200), 32))
    samples = tegrastats.read(SAMPLES / "tegrastats-l4t32.log")
    assert emc.emc_demand_gb_s(samples, 32) == pytest.approx([16.38, 17.75], abs=0.01)


def _lines(percents: list[int], *, times: bool, mhz: int = 2133) -> list[tegrastats.TegrastatsSample]:
    return tegrastats.parse(
        "".join(
            (f"01-02-2025 10:00:{second:02d} " if times else "") + f"RAM 1/2MB EMC_FREQ {percent}%@{mhz}\n"
            for second, percent in enumerate(percents)
        ),
        "x",
    )


def test_the_average_has_to_settle() -> None:
    rising = [1, 1, 14, 56, 74, 82, 86, 88, 88, 89, 89, 90]
    found = emc.settled_emc(_lines(rising, times=True))
    assert (found.percent, found.low, found.high, found.samples, found.mhz) == (89, 89, 90, 3, 2133)
    assert emc.settled_emc(_lines(rising, times=False), interval_s=1.0) == found
    assert emc.settled_demand_gb_s(_lines(rising, times=True), 32) == pytest.approx(0.89 * 136.512)
    with pytest.raises(InputError, match=r"x:1: the sample has no time; say how far apart"):
        emc.settled_emc(_lines(rising, times=False))
    with pytest.raises(InputError, match=r"x:9: the samples span 8 s, the running average needs 9 s"):
        emc.settled_emc(_lines(rising[:9], times=True))
    backwards = [*_lines(rising, times=True)[:2], _lines(rising, times=True)[0]]
    with pytest.raises(InputError, match=r"the sample is 1 s older"):
        emc.settled_emc(backwards)
    with pytest.raises(InputError, match="no sample"):
        emc.settled_emc([])


def test_recorded_settling() -> None:
    text = recorded("tegrastats/emc_conv1_kernel1_percent_per_second.txt").read_text()
    percents = [int(word.rstrip("%")) for word in text.split()]
    found = emc.settled_emc(_lines(percents, times=False), interval_s=1)
    # what the artifact's table says of this convolution
    assert (found.percent, found.low, found.high) == (89, 89, 89)


def test_recorded_lines() -> None:
    lines = dict(line.split("\t") for line in recorded("tegrastats/lines.tsv").read_text().splitlines())
    samples = {name: tegrastats.parse(line, name)[0] for name, line in lines.items()}
    emcs = {name: (sample.emc.percent, sample.emc.mhz) for name, sample in samples.items() if sample.emc}
    assert emcs == {
        "xavier_agx_l4t32_artifact": (0, 800),
        "orin_agx_l4t35_artifact": (16, 2133),
        "xavier_nx_datadog": (10, 1600),
        "orin_agx_l4t36_datadog": (1, 2133),
        "orin_agx_dla_busy": (1, 2133),
    }
    assert samples["xavier_nx_datadog"].power["VDD_CPU_GPU_CV"] == Rail(738, 738, None)
    assert samples["xavier_agx_l4t32_artifact"].power["SYS5V"] == Rail(2294, 2294, None)
    assert samples["orin_agx_l4t35_artifact"].time == "2023-10-16T09:06:55"
    assert len(samples["orin_agx_l4t35_artifact"].power) == 4
    assert samples["orin_agx_l4t36_datadog"].dla["NVDLA1"] == Dla(False, None)
    assert samples["orin_agx_dla_busy"].dla == {"NVDLA0": Dla(True, 1600)}
    assert samples["orin_agx_dla_busy"].power["VDD_CPU_CV"] == Rail(14312, 12415, None)


def test_jtop() -> None:
    old = jtop.read(SAMPLES / "jtop-4.3.jsonl")
    assert (old[0].time_s, old[0].emc, old[0].emc_max_mhz, old[0].emc_min_mhz) == (1.0, Emc(12, 2133), 2133, 204)
    assert old[0].power_mw == {"GPU": 1548, "CV": 464}
    assert old[0].engines["DLA0"]["DLA0_CORE"] == jtop.Engine(True, 1395.2)
    assert old[0].engines["APE"]["APE"] == jtop.Engine(None, 150)
    assert (old[0].nvpmodel_id, old[0].nvpmodel_name, old[0].jetson_clocks) == (0, "MAXN", True)
    assert old[0].gpu_load == {"gv11b": 45.3}
    assert emc.settled_emc(old, settle_s=1).percent == 13
    new = jtop.read(SAMPLES / "jtop-7.2.jsonl")
    assert (new[0].emc, new[0].nvpmodel_id, new[0].jetson_clocks, new[0].gpu_load) == (None, None, None, {"gpu": None})
    with pytest.raises(InputError, match=r"jtop-7.2.jsonl:1: no EMC utilisation"):
        emc.emc_percent(new)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"t_ns": 1', r"x:2: not valid JSON .*cut off"),
        ("[1]", r"x:2: found a JSON list"),
        ("{}", r"x:2: has no 't_ns'"),
        ('{"t_ns": 1, "emc": 3}', r"x:2: 'emc' is 3, expected an object"),
        ('{"t_ns": 1, "emc": {"val": 3, "cur": 1}}', r"x:2: EMC clock 1 kHz"),
        ('{"t_ns": 1, "emc": {"cur": 2133000}}', r"x:2: has no 'val'"),
        ('{"t_ns": 1, "power_mw": {"VIN": "x"}}', r"x:2: 'VIN' is \"x\", expected a number"),
        ('{"t_ns": 1, "jetson_clocks": 1}', r"x:2: 'jetson_clocks' is 1"),
        ('{"t_ns": 1, "engines": {"DLA0": {"DLA0_CORE": 3}}}', r"x:2: found the engine 3"),
    ],
)
def test_a_wrong_line_of_jtop(line: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        jtop.parse(f'{{"t_ns": 1}}\n{line}', "x")
    assert re.search(expected, str(caught.value)), caught.value
