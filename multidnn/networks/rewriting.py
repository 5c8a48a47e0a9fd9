"""Rewrites nodes of a user's ONNX file that a runtime does not compute by the standard, without changing their values."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
from onnx import helper

from multidnn.errors import InputError
from multidnn.networks.graph import label, read_by
from multidnn.networks.weights import Weight, constant


def without_dropout(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Return the nodes with every Dropout that passes its input on written as Identity.

    OpenVINO loses the input's name of a model that is a Dropout alone.
    """
    read = outputs.union(*(read_by(node) for node in nodes))
    kept = []
    for node in nodes:
        has_mode = len(node.input) > 2 and node.input[2]
        if node.op_type == "Dropout" and not has_mode and not read.intersection(node.output[1:]):
            node = helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name)
        kept.append(node)
    return kept


def without_fractional_bias(
    nodes: Sequence[onnx.NodeProto],
    functions: Iterable[onnx.FunctionProto],
    inferred: dict[str, onnx.TypeProto],
    weights: dict[str, Weight],
    opset: int,
    source: str,
) -> list[onnx.NodeProto]:
    """Return the nodes with every LRN whose bias is no integer written as an LRN of bias 1 and a Mul.

    OpenVINO's CPU plugin cuts the bias k off to an integer; (k + s)^-b = k^-b (1 + s / k)^-b needs no other k than 1.
    The types of the new tensors go to `inferred`, the factors to `weights`.

    Raises:
        InputError: a bias that cannot be divided out (no positive number, no broadcasting Mul in the operator set, a
            power beyond fp32), or one inside a subgraph or a function.
    """
    for node in (
        *_inner(nodes),
        *(node for function in functions for node in (*function.node, *_inner(function.node))),
    ):
        if not _lrn_bias(node).is_integer():
            raise InputError(
                f"{source}: {label(node)}, inside a subgraph or a function, has bias {_lrn_bias(node):g}; allowed there: "
                "integers, because OpenVINO cuts the bias off to one"
            )
    taken = {*weights, *inferred}.union(*(node.output for node in nodes))
    kept: list[onnx.NodeProto] = []
    for node in nodes:
        bias = _lrn_bias(node)
        if bias.is_integer():
            kept.append(node)
            continue
        output = node.output[0]
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        # the standard's defaults, which are stored in fp32
        alpha, beta = settings.get("alpha", float(np.float32(1e-4))), settings.get("beta", 0.75)
        factor = math.exp(-beta * math.log(bias)) if bias > 0 and abs(beta * math.log(bias)) < 80 else None
        if factor is None:
            raise InputError(
                f"{source}: {label(node)} has bias {bias:g} and beta {beta:g}, expected an integer or a positive bias "
                "whose power bias^-beta fits into fp32, because OpenVINO cuts the bias off to an integer"
            )
        if opset < 7:
            raise InputError(
                f"{source}: {label(node)} has bias {bias:g} in operator set {opset}; expected operator set 7 or later "
                "(onnx.version_converter converts the file), because OpenVINO cuts the bias off to an integer"
            )
        ratio, scale = (_unused(f"{node.name or output}/{role}", taken) for role in ("ratio", "k_factor"))
        kind = inferred[output]
        inferred[ratio] = kind
        values = np.array(factor, dtype=helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))
        weights[scale] = constant(scale, values)
        settings.update(alpha=alpha / bias, beta=beta, bias=1.0)
        kept.append(helper.make_node("LRN", node.input, [ratio], name=node.name, **settings))
        kept.append(helper.make_node("Mul", [ratio, scale], [output], name=f"{node.name or output}/k"))
    return kept


def _lrn_bias(node: onnx.NodeProto) -> float:
    """Return the bias of an LRN, 1 for any other node."""
    if node.op_type != "LRN" or node.domain not in ("", "ai.onnx"):
        return 1.0
    return next((attribute.f for attribute in node.attribute if attribute.name == "bias"), 1.0)


def _inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of all subgraphs."""
    for node in nodes:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.node
                yield from _inner(graph.node)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
