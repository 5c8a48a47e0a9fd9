"""int8 engines of later groups are calibrated on what reaches them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from multidnn import networks
from multidnn.errors import InputError
from multidnn.networks.board_models import write_board_models
from multidnn.networks.board_network import BoardNetwork
from multidnn.networks.calibration import MOST_SAMPLES, calibration_source, write_calibration

PROTOTXT = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "fc" type: "InnerProduct" bottom: "conv2" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The board models of a network of three groups."""
    directory = tmp_path_factory.mktemp("small")
    (directory / "small.prototxt").write_text(PROTOTXT, encoding="utf-8")
    network = networks.load(directory / "small.prototxt", seed=1, name="small")
    groups = networks.choose_groups(network, starts=[0, 2, 4])
    networks.export(network, groups, directory / "exported")
    write_board_models(directory / "exported", directory / "board")
    return directory / "board"


def arrays_of(models: Path) -> dict[str, np.ndarray]:
    with np.load(models / "calibration.npz") as content:
        return {name: content[name] for name in content.files}


def test_every_group_s_inputs_are_what_the_groups_before_it_make(models: Path) -> None:
    write_calibration(models, None, seed=7)
    assert calibration_source(models) == "random"
    arrays = arrays_of(models)
    network = BoardNetwork.read(models)
    assert set(arrays) == {name for group in network.groups for name in group.inputs}
    # independently: the groups' own models, one after another
    for sample in range(2):
        values = {name: arrays[name][sample : sample + 1] for name in network.whole.inputs}
        for group in network.groups:
            session = onnxruntime.InferenceSession(str(models / group.file), providers=["CPUExecutionProvider"])
            for name in group.inputs:
                np.testing.assert_allclose(values[name], arrays[name][sample : sample + 1], rtol=1e-4, atol=1e-6)
            made = session.run(list(group.outputs), {name: values[name] for name in group.inputs})
            values |= dict(zip(group.outputs, made, strict=True))
    assert not list(models.glob(".borders*"))


def test_a_user_s_samples_come_first_and_are_not_too_many(models: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((MOST_SAMPLES + 5, 3, 12, 12), dtype=np.float32)
    np.savez(tmp_path / "images.npz", data=images)
    write_calibration(models, tmp_path / "images.npz", seed=7)
    assert calibration_source(models) == "data"
    assert np.array_equal(arrays_of(models)["data"], images[:MOST_SAMPLES])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"image": np.zeros((4, 3, 12, 12))}, r"images.npz: has no array 'data', found image"),
        (
            {"data": np.zeros((4, 3, 12, 13))},
            r"images.npz: 'data' has shape \(4, 3, 12, 13\), expected samples of \(3, 12, 12\)",
        ),
        (None, r"images.npz: not a readable .npz file"),
    ],
)
def test_bad_data_are_named(models: Path, tmp_path: Path, content: dict[str, np.ndarray] | None, expected: str) -> None:
    file = tmp_path / "images.npz"
    if content is None:
        file.write_bytes(b"PK no archive")
    else:
        np.savez(file, **content)
    with pytest.raises(InputError, match=expected):
        write_calibration(models, file, seed=7)
