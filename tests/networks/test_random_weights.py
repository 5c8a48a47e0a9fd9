"""Random weights keep activations of order one, outputs telling of the input, and runtimes in agreement."""

import numpy as np
import pytest

from multidnn.networks import choose_groups, export, load
from multidnn.networks.exported import ExportedNetwork
from tests.networks.helpers import ZOO, load_onnxruntime, load_openvino, run_onnxruntime, run_openvino, values

# of the largest output; runs are compared with a tolerance of 1e-3
RUNTIMES_DIFFER = 1e-4
INPUTS_DIFFER = 0.02


def groups_in_turn(exported, feeds):
    """Run the groups in the two runtimes by turns; return every tensor at the groups' borders."""
    tensors = dict(feeds)
    for group in exported.groups:
        run = (run_openvino, run_onnxruntime)[group.index % 2]
        tensors.update(run(group.path, {name: tensors[name] for name in group.inputs}))
    return tensors


# the deepest, those without batch normalisation, and one of depthwise convolutions
@pytest.mark.parametrize(
    "name", ["resnet152", "densenet", "inception", "inc-res-v2", "vgg19", "googlenet", "mobilenet"]
)
def test_runtimes_agree_and_inputs_tell(tmp_path, name):
    network = load(ZOO / f"{name}.prototxt")
    export(network, choose_groups(network), tmp_path)
    exported = ExportedNetwork.read(tmp_path)
    (output,) = exported.outputs
    feeds = [{"data": values(seed, exported.inputs["data"])} for seed in (1, 2)]
    expected, found = (
        [run(each)[output] for each in feeds]
        for run in (load_onnxruntime(exported.whole_path), load_openvino(exported.whole_path))
    )
    composed = groups_in_turn(exported, feeds[0])

    largest = np.abs(expected[0]).max()
    for answer, other in zip([*expected, expected[0]], [*found, composed[output]], strict=True):
        assert np.abs(answer - other).max() < RUNTIMES_DIFFER * largest
    for first, second in (expected, found):
        assert np.abs(first - second).max() > INPUTS_DIFFER * largest

    for tensor in composed.keys() - {output}:
        assert 0.05 < composed[tensor].std() < 20, tensor
    for answer in expected:
        logits = np.log(answer) if network.layers[-1].type == "Softmax" else answer
        assert 0.3 < logits.std() < 5
