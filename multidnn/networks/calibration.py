"""What int8 engines are calibrated on: the tensors at every border of a group, computed from inputs of the network."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multidnn.errors import InputError
from multidnn.files import read_json, replacing, write_json
from multidnn.networks.board_network import BoardNetwork

DESCRIPTION = "calibration.json"
ARRAYS = "calibration.npz"
# the tensors between groups of one image take up to 13 MB each
MOST_SAMPLES = 32
RANDOM_SAMPLES = 8

Arrays = dict[str, NDArray[np.float32]]


def write_calibration(models_dir: Path, data: Path | None, seed: int) -> None:
    """Write calibration.npz and calibration.json beside the models that `board_models` wrote to `models_dir`.

    The arrays are named as the inputs of the network and of its groups, samples along the first axis (at most
    `MOST_SAMPLES`), computed in fp32 from the samples in `data`, an .npz with arrays named as the network's inputs, or
    from standard normal noise with `seed` if there are none. An engine of a later group is then calibrated on what
    reaches it, not on what the network begins with.

    Raises:
        InputError: `data` cannot be read, lacks an input, or has another shape than the network.
    """
    network = BoardNetwork.read(models_dir)
    shapes = network.whole.inputs
    if data is None:
        rng = np.random.default_rng(seed)
        inputs = {
            name: rng.standard_normal((RANDOM_SAMPLES, *shape[1:]), dtype=np.float32) for name, shape in shapes.items()
        }
    else:
        inputs = _read(data, shapes)
    arrays = _borders(network, inputs)
    with replacing(models_dir / ARRAYS) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    samples = len(next(iter(inputs.values())))
    write_json(models_dir / DESCRIPTION, {"source": "random" if data is None else "data", "samples": samples})


def calibration_source(models_dir: Path) -> str:
    """Return where the numbers beside the models come from, ``random`` or ``data``.

    Raises:
        InputError: there are none.
    """
    return str(read_json(Path(models_dir) / DESCRIPTION)["source"])


def _read(data: Path, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    try:
        with np.load(data, allow_pickle=False) as content:
            found = {name: np.asarray(content[name], dtype=np.float32) for name in content.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{data}: not a readable .npz file of numbers: {error}") from None
    inputs: Arrays = {}
    for name, shape in shapes.items():
        if name not in found:
            raise InputError(f"{data}: has no array {name!r}, found {', '.join(found) or 'none'}")
        if found[name].shape[1:] != shape[1:] or len(found[name]) < shape[0]:
            raise InputError(
                f"{data}: {name!r} has shape {found[name].shape}, expected samples of {shape[1:]} along the first axis"
            )
        inputs[name] = found[name][:MOST_SAMPLES]
    counts = {name: len(array) for name, array in inputs.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"{data}: the inputs have different numbers of samples: {counts}")
    return inputs


def _borders(network: BoardNetwork, inputs: Arrays) -> Arrays:
    """Return `inputs` and, for each sample, the tensors that groups read from earlier ones."""
    # heavy, and needed for int8 alone
    import onnx
    import onnxruntime

    names = [name for group in network.groups for name in group.inputs if name not in network.whole.inputs]
    wanted = {name: shape for group in network.groups for name, shape in group.inputs.items() if name in names}
    if not wanted:
        return inputs
    model = onnx.load(str(network.directory / network.whole.file), load_external_data=False)
    del model.graph.output[:]
    for name, shape in wanted.items():
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    # beside the weights, which the model refers to
    with tempfile.NamedTemporaryFile(dir=network.directory, prefix=".borders.", suffix=".onnx") as file:
        file.write(model.SerializeToString())
        file.flush()
        session = onnxruntime.InferenceSession(file.name, providers=["CPUExecutionProvider"])
    batch = next(iter(network.whole.inputs.values()))[0]
    samples = len(next(iter(inputs.values()))) // batch
    runs = [
        session.run(list(wanted), {name: array[i * batch : (i + 1) * batch] for name, array in inputs.items()})
        for i in range(samples)
    ]
    borders = {name: np.concatenate([run[k] for run in runs]) for k, name in enumerate(wanted)}
    return {**inputs, **borders}
