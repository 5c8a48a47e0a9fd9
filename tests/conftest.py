"""Networks small enough to run in milliseconds, exported as the pipeline does, for every test that needs real models."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ALPHA = """
name: "alpha"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 24 kernel_size: 3 stride: 2 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool" type: "Pooling" bottom: "conv2" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 40 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""

BETA = """
name: "beta"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 20 dim: 20 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 12 kernel_size: 5 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc1" type: "InnerProduct" bottom: "conv1" top: "fc1" inner_product_param { num_output: 64 } }
layer { name: "relu2" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param { num_output: 10 } }
"""

# these keep two cores busy for as long as they run, and wait for processes that get what is left: one after another
BOTH_CORES = (
    "contention/test_characterise.py",
    "measure/test_isolation.py",
    "measure/test_profiles.py",
    "runtime/test_jobs.py",
    "runtime/test_runner.py",
    "runtime/test_tuning.py",
    "targets/host/test_crew.py",
    "targets/host/test_gate.py",
    "targets/host/test_overlapping_splits.py",
    "targets/host/test_session.py",
    "targets/jetson/board/test_board_gate.py",
    "targets/jetson/standin/test_contention.py",
    # by now another process has compiled the search
    "workflow/test_failure.py",
    "workflow/test_tuned_run.py",
    "runtime/test_dynamic.py",
)
# starting Snakemake takes seconds, so these should not be the last to begin
LONG = ("report/test_paper.py", "workflow/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with `BOTH_CORES`, which one process runs, and with what is long for the other."""

    def rank(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0].removeprefix("tests/")
        if file in BOTH_CORES:
            return BOTH_CORES.index(file)
        return len(BOTH_CORES) + (not file.startswith(LONG))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, whose fixtures are then made once, and one of them all of `BOTH_CORES`."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "both cores" if file.removeprefix("tests/") in BOTH_CORES else file

    return Scheduling(config, log)


GROUPS = {"alpha": [(0, 1), (2, 3), (4, 4), (5, 7)], "beta": [(0, 1), (2, 4), (5, 5)]}


def export_tiny(folder: Path, seed: int = 1) -> dict[str, Path]:
    """Export both networks below `folder` and return their directories."""
    from multidnn.networks import export, load

    for name, text in (("alpha", ALPHA), ("beta", BETA)):
        source = folder / f"{name}.prototxt"
        source.write_text(text, encoding="utf-8")
        export(load(source, seed=seed), GROUPS[name], folder / name)
    return {name: folder / name for name in GROUPS}


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Whoever starts the tests in the background has them ignore Ctrl-C, and the programs that they start inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def compiled() -> None:
    """The search is compiled: of processes that begin together one does it, under a lock that all of them see."""
    from multidnn.schedule.compiled.loading import load

    with pytest.MonkeyPatch.context() as patch:
        # tests that measure have a directory, and with it locks, of their own
        patch.setattr(tempfile, "tempdir", None)
        load()


@pytest.fixture(scope="session")
def tiny_networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported directories of "alpha" (4 groups: convolutions, pooling, product) and "beta" (3 groups)."""
    return export_tiny(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same two networks with other weights."""
    return export_tiny(tmp_path_factory.mktemp("other_weights"), seed=2)


@pytest.fixture
def host_spec() -> dict[str, Any]:
    """A host target of config.yaml: both runtimes, the cores of this machine dealt out."""
    return {
        "kind": "host",
        "accelerators": {
            "ort": {"runtime": "onnxruntime", "cores": "auto"},
            "ov": {"runtime": "openvino", "cores": "auto"},
        },
    }


@pytest.fixture
def children() -> Iterator[Callable[[], set[int]]]:
    """Processes that this one started and that still exist, beyond those that were there before the test."""

    def running() -> set[int]:
        return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))

    before = running()
    yield lambda: running() - before
    assert running() <= before, "the test left processes behind"
