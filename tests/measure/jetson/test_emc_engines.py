"""What the memory demand is measured with: on a DLA what TensorRT really put there, and a counter that counts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.measure.jetson.emc import _engine_paths, _require_traffic
from multidnn.targets.jetson.target import JetsonTarget


@pytest.mark.parametrize(
    ("dla", "refused", "measured"),
    [(["{ForeignNode[conv]}"], {}, True), ([], {}, False), (["{ForeignNode[relu]}"], {"conv": "pad"}, False)],
)
def test_a_convolution_that_went_to_the_gpu_is_not_measured_as_the_dlas(
    tmp_path: Path, dla: list[str], refused: dict[str, str], measured: bool
) -> None:
    def record(device: str, blocks: list[str]) -> dict[str, Any]:
        return {"engine": f"/board/{device}", "refused": refused, "placement": {"dla": blocks, "gpu": []}}

    engines = tmp_path / "convolution.json"
    write_json(engines, {"engines": {"conv1_kernel1": {"gpu": record("gpu", []), "dla": record("dla", dla)}}})
    target = cast(JetsonTarget, SimpleNamespace(accelerators=("gpu", "dla0")))
    paths = _engine_paths(target, [], {}, [engines], [])
    assert paths == {("conv1_kernel1", None, "gpu"): "/board/gpu"} | (
        {("conv1_kernel1", None, "dla0"): "/board/dla"} if measured else {}
    )


def test_a_counter_that_is_always_zero_is_told() -> None:
    zero = {("conv1_kernel1", None, "gpu"): 0.0, ("conv1_kernel2", None, "gpu"): 0.0}
    with pytest.raises(
        InputError, match=r"jtop prints 0 % .* each of 2 engines .* issue 715.*`emc: tegrastats` as root"
    ):
        _require_traffic("jtop", zero)
    with pytest.raises(InputError, match=r"tegrastats prints 0 % .* does not read it; use `emc: jtop`"):
        _require_traffic("tegrastats", zero)
    _require_traffic("jtop", zero | {("conv1_kernel3", None, "gpu"): 1.5})
