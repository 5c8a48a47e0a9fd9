"""Groups of a network by number, and the network uncut as one more of them."""

from pathlib import Path

from multidnn.networks.exported import ExportedNetwork, Shapes

# the number of the network uncut
WHOLE = -1


def model_of(network: ExportedNetwork, group: int) -> Path:
    """Return the ONNX model of a group."""
    return network.whole_path if group == WHOLE else network.groups[group].path


def inputs_of(network: ExportedNetwork, group: int) -> Shapes:
    """Return what a group reads, names to shapes."""
    return network.inputs if group == WHOLE else network.groups[group].inputs


def outputs_of(network: ExportedNetwork, group: int) -> Shapes:
    """Return what a group writes, names to shapes."""
    return network.outputs if group == WHOLE else network.groups[group].outputs


def split_call(call: str) -> tuple[str, int]:
    """Return the instance and the group of a call of a plan; ``whole`` and ``streams`` are the network uncut."""
    instance, _, part = call.rpartition("/")
    return instance, int(part) if part.isdigit() else WHOLE
