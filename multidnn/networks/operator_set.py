"""Declares a network in an operator set that TensorRT 8.4 parses, where its nodes mean the same there."""

from dataclasses import replace

import onnx
from onnx import helper

from multidnn.networks.graph import Network, has_subgraph

# what onnx-tensorrt 8.4 to 8.6 parses (docs/operators.md of its branches 8.4-GA, 8.5-GA and 8.6-GA: "up to Opset 17");
# its ModelImporter.cpp only logs the IR version, and 8 is the one that came with operator set 17
NEWEST_OPSET = 17
NEWEST_IR_VERSION = 8


def lowered(network: Network) -> Network:
    """Return the network declared in operator set 17 if all of its nodes mean the same there, else as it is."""
    opset = max(entry.version for entry in network.opsets if entry.domain in ("", "ai.onnx"))
    ir_version = min(network.ir_version, NEWEST_IR_VERSION)
    nodes = [*network.nodes, *network.prepared.values()]
    if opset <= NEWEST_OPSET or network.functions or any(has_subgraph(node) for node in nodes):
        return replace(network, ir_version=ir_version)
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            continue
        try:
            schema = onnx.defs.get_schema(node.op_type, NEWEST_OPSET, "")
        except onnx.defs.SchemaError:
            return replace(network, ir_version=ir_version)
        # operators have since got types, inputs and attributes; what uses none of those means what it meant
        known = {attribute.name for attribute in node.attribute} <= set(schema.attributes)
        if not known or len(node.input) > schema.max_input:
            return replace(network, ir_version=ir_version)
    others = [entry for entry in network.opsets if entry.domain not in ("", "ai.onnx")]
    return replace(network, opsets=[helper.make_opsetid("", NEWEST_OPSET), *others], ir_version=ir_version)
