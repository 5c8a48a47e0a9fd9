"""Joins nodes that one kernel can do: batch normalisation into convolutions, sums and ReLUs behind them."""

from collections import Counter

import numpy as np

from multidnn.targets.cuda.model import Array, Model, Node

# what a convolution becomes: inputs x, weights, bias, and a tensor to add if there is one; attribute `relu`
FUSED_CONV = "FusedConv"
# y = x * scale + shift per channel; attribute `relu`
AFFINE = "ChannelAffine"


def fuse(model: Model) -> Model:
    """Return `model` with its convolutions, batch normalisations, sums and ReLUs joined; what it computes is the same.

    Only tensors that nothing else reads vanish. Weights are folded in fp64.
    """
    constants = dict(model.constants)
    nodes = _fold_normalization(model, constants)
    nodes = _join_conv(nodes, model)
    nodes = _join_relu(nodes, model, AFFINE)
    used = {name for node in nodes for name in node.inputs}
    return Model(
        model.path,
        model.opset,
        nodes,
        {name: array for name, array in constants.items() if name in used},
        model.inputs,
        model.outputs,
    )


def _readers(nodes: list[Node], model: Model) -> Counter[str]:
    """Return how often each tensor is read; an output of the model is read by its user."""
    return Counter([name for node in nodes for name in node.inputs] + list(model.outputs))


def _fold_normalization(model: Model, constants: dict[str, Array]) -> list[Node]:
    readers = _readers(model.nodes, model)
    made: dict[str, int] = {}
    nodes: list[Node] = []
    for node in model.nodes:
        if node.op == "BatchNormalization" and all(name in constants for name in node.inputs[1:5]):
            scale, shift = _scale_and_shift(node, constants)
            source = nodes[made[node.inputs[0]]] if node.inputs[0] in made else None
            if source is not None and _can_fold(source, node, constants, readers):
                place = made.pop(node.inputs[0])
                nodes[place] = _folded(source, node, scale, shift, constants)
                made[node.outputs[0]] = place
                continue
            names = (f"{node.outputs[0]}#scale", f"{node.outputs[0]}#shift")
            constants[names[0]], constants[names[1]] = scale.astype(np.float32), shift.astype(np.float32)
            node = Node(AFFINE, node.name, (node.inputs[0], *names), (node.outputs[0],), {"relu": False})
        made[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return nodes


def _scale_and_shift(node: Node, constants: dict[str, Array]) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in node.inputs[1:5])
    scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return scale, beta - mean * scale


def _can_fold(source: Node, node: Node, constants: dict[str, Array], readers: Counter[str]) -> bool:
    return (
        source.op == "Conv"
        and readers[node.inputs[0]] == 1
        and all(name in constants for name in source.inputs[1:] if name)
    )


def _folded(conv: Node, norm: Node, scale: Array, shift: Array, constants: dict[str, Array]) -> Node:
    weight = constants[conv.inputs[1]].astype(np.float64)
    bias = constants[conv.inputs[2]].astype(np.float64) if len(conv.inputs) > 2 and conv.inputs[2] else 0.0
    # named after the tensor that they make, which is the same in every model of a network
    names = (f"{norm.outputs[0]}#weight", f"{norm.outputs[0]}#bias")
    constants[names[0]] = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
    constants[names[1]] = (bias * scale + shift).astype(np.float32)
    return conv.with_(inputs=(conv.inputs[0], *names), outputs=(norm.outputs[0],))


def _join_conv(nodes: list[Node], model: Model) -> list[Node]:
    """Turn Conv, Conv+Relu and Conv+Add+Relu into `FUSED_CONV` where the convolution has a constant bias."""
    constants = {name for node in nodes for name in node.inputs} - {name for node in nodes for name in node.outputs}
    constants -= set(model.inputs)
    readers = _readers(nodes, model)
    reader = {name: number for number, node in enumerate(nodes) for name in node.inputs}
    made = {name: number for number, node in enumerate(nodes) for name in node.outputs}
    gone: set[int] = set()
    replaced: dict[int, Node] = {}

    def only_reader(name: str, op: str) -> int | None:
        number = reader.get(name)
        return number if number is not None and readers[name] == 1 and nodes[number].op == op else None

    # from the back, so that of two convolutions that are added the later one, which runs last, takes the sum
    for number in reversed(range(len(nodes))):
        conv = nodes[number]
        if conv.op != "Conv" or len(conv.inputs) < 3 or not {conv.inputs[1], conv.inputs[2]} <= constants:
            continue
        last, relu, inputs = number, False, conv.inputs
        following = only_reader(conv.outputs[0], "Relu")
        added = only_reader(conv.outputs[0], "Add")
        if following is not None and following not in gone:
            last, relu = following, True
            gone.add(number)
        elif added is not None and added not in gone:
            behind = only_reader(nodes[added].outputs[0], "Relu")
            (other,) = [name for name in nodes[added].inputs if name != conv.outputs[0]] or ("",)
            # the other summand must exist by the time that the convolution runs at the ReLU's place
            if behind is not None and (other in made or other in model.inputs):
                last, relu, inputs = behind, True, (*conv.inputs, other)
                gone |= {number, added}
        replaced[last] = Node(FUSED_CONV, conv.name, inputs, nodes[last].outputs, {**conv.attributes, "relu": relu})
    return [replaced.get(number, node) for number, node in enumerate(nodes) if number not in gone]


def _join_relu(nodes: list[Node], model: Model, op: str) -> list[Node]:
    """Mark nodes `op` whose only reader is a ReLU, and take that out."""
    readers = _readers(nodes, model)
    made = {node.outputs[0]: number for number, node in enumerate(nodes)}
    result = list(nodes)
    gone: set[int] = set()
    for number, node in enumerate(nodes):
        source = made.get(node.inputs[0]) if node.op == "Relu" else None
        if source is not None and nodes[source].op == op and readers[node.inputs[0]] == 1:
            # at the place of the ReLU, where everything it needs exists
            result[number] = nodes[source].with_(
                outputs=node.outputs, attributes={**nodes[source].attributes, "relu": True}
            )
            gone.add(source)
    return [node for number, node in enumerate(result) if number not in gone]
