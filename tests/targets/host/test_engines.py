"""Both runtimes behind one interface: the same numbers, in the caller's buffers, and one message for a bad file."""

from pathlib import Path

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.host.arena import Arena, Layout, Tensor
from multidnn.targets.host.engines import RUNTIMES, load_engine, runtime_versions


def tensors(network: ExportedNetwork) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    layout = Layout()
    for name, shape in {**network.inputs, **network.outputs}.items():
        layout.add(name, shape)
    arena = Arena(layout.size)
    views = arena.tensors(layout.slots)
    arena.close()
    return {name: views[name] for name in network.inputs}, {name: views[name] for name in network.outputs}


def numpy_beta(directory: Path, x: Tensor) -> Tensor:
    """The network "beta" (convolution, ReLU, product, ReLU, product) in numpy, from the weights in its model."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(directory / "models" / "whole.onnx")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    value = x
    for node in model.graph.node:
        extra = [weights[name] for name in node.input[1:] if name in weights]
        if node.op_type == "Conv":
            kernel, bias = extra
            windows = np.lib.stride_tricks.sliding_window_view(value[0], kernel.shape[2:], axis=(1, 2))
            value = np.einsum("chwij,ocij->ohw", windows, kernel)[None] + bias[None, :, None, None]
        elif node.op_type == "Relu":
            value = np.maximum(value, 0)
        elif node.op_type in ("Flatten", "Reshape"):
            value = value.reshape(1, -1)
        elif node.op_type == "Gemm":
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            value = value @ (extra[0].T if transposed else extra[0]) + extra[1]
        else:
            raise AssertionError(node.op_type)
    return value


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_call_computes_the_network_on_what_its_buffers_hold_now(tiny_networks: dict[str, Path], runtime: str) -> None:
    network = ExportedNetwork.read(tiny_networks["beta"])
    inputs, outputs = tensors(network)
    (x,), (y,) = inputs.values(), outputs.values()
    call = load_engine(runtime, network.whole_path, threads=1).bind(inputs, outputs)
    rng = np.random.default_rng(5)
    for _ in range(2):
        x[...] = rng.standard_normal(x.shape)
        y[...] = np.nan
        call()
        expected = numpy_beta(network.directory, x)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_both_runtimes_agree(tiny_networks: dict[str, Path], name: str) -> None:
    network = ExportedNetwork.read(tiny_networks[name])
    results = []
    for runtime in RUNTIMES:
        inputs, outputs = tensors(network)
        rng = np.random.default_rng(6)
        for tensor in inputs.values():
            tensor[...] = rng.standard_normal(tensor.shape)
        load_engine(runtime, network.whole_path, threads=1).bind(inputs, outputs)()
        results.append(next(iter(outputs.values())).copy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("content", [b"this is no model", b""])
def test_a_file_that_cannot_be_loaded_names_file_and_runtime(tmp_path: Path, runtime: str, content: bytes) -> None:
    model = tmp_path / "broken.onnx"
    model.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_engine(runtime, model, threads=1)
    assert str(model) in str(error.value)
    assert runtime in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_runtime_is_named_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'onnxruntme' is unknown \(did you mean 'onnxruntime'\?\)"):
        load_engine("onnxruntme", tmp_path / "x.onnx", threads=1)


def test_versions_are_those_of_the_installed_libraries() -> None:
    import onnxruntime
    import openvino

    versions = runtime_versions()
    assert versions["onnxruntime"] == onnxruntime.__version__
    assert openvino.__version__.startswith(versions["openvino"])
