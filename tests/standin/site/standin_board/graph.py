"""An ONNX model as TensorRT's parser takes it: layers in execution order, named as their nodes, with what they cost."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standin_board import versions

# ONNX operator -> TensorRT's layer type; what is not here is not supported by the stand-in's parser
TYPES = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "Relu": "ACTIVATION",
    "Sigmoid": "ACTIVATION",
    "Tanh": "ACTIVATION",
    "Clip": "ACTIVATION",
    "LeakyRelu": "ACTIVATION",
    "MaxPool": "POOLING",
    "AveragePool": "POOLING",
    # the parser makes reductions of these
    "GlobalAveragePool": "REDUCE",
    "GlobalMaxPool": "REDUCE",
    "ReduceMean": "REDUCE",
    "ReduceMax": "REDUCE",
    "LRN": "LRN",
    "BatchNormalization": "SCALE",
    "Concat": "CONCATENATION",
    "Add": "ELEMENTWISE",
    "Sub": "ELEMENTWISE",
    "Mul": "ELEMENTWISE",
    "Div": "ELEMENTWISE",
    "Max": "ELEMENTWISE",
    "Min": "ELEMENTWISE",
    "Sum": "ELEMENTWISE",
    "Softmax": "SOFTMAX",
    "Gemm": "MATRIX_MULTIPLY",
    "MatMul": "MATRIX_MULTIPLY",
    "Flatten": "SHUFFLE",
    "Reshape": "SHUFFLE",
    "Transpose": "SHUFFLE",
    "Squeeze": "SHUFFLE",
    "Unsqueeze": "SHUFFLE",
    "Identity": "IDENTITY",
    "Cast": "CAST",
    "Constant": "CONSTANT",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
}
# in inference nothing is left of these
VANISHING = ("Dropout",)
# numbers pass these as they are
TRANSPARENT = ("Cast", "Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Constant")
NEWEST_OPSET = {8: 17, 10: 21, 11: 24}


class ParseError(Exception):
    """What the parser says of a model that it cannot take."""

    def __init__(self, node: int, code: str, text: str) -> None:
        super().__init__(text)
        self.node, self.code = node, code


@dataclass
class Tensor:
    """A value of the graph; `dtype` in TensorRT's words (FLOAT, HALF, INT8, ...)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_input: bool = False
    is_output: bool = False

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * {"FLOAT": 4, "INT32": 4, "HALF": 2, "INT64": 8}.get(self.dtype, 1)


@dataclass(eq=False)
class Layer:
    """One of TensorRT's layers. `op` is the ONNX operator, None for layers that the parser adds."""

    name: str
    type: str
    op: str | None
    inputs: list[Tensor]
    outputs: list[Tensor]
    attributes: dict[str, Any] = field(default_factory=dict)
    macs: int = 0
    weight_bytes: int = 0
    kernel: tuple[int, ...] = ()
    constant_operand: bool = False
    opset: int = 17


@dataclass
class Graph:
    """What one model became. `nodes`: name and whether numbers pass it as they are, of each ONNX node in order."""

    name: str
    layers: list[Layer]
    tensors: dict[str, Tensor]
    inputs: list[Tensor]
    outputs: list[Tensor]
    nodes: list[tuple[str, bool]]


_DTYPES = {1: "FLOAT", 10: "HALF", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 2: "UINT8"}


def read(content: bytes, directory: Path | None) -> Graph:
    """Return the graph of a model; external data must lie in `directory`.

    Raises:
        ParseError: in the words of TensorRT's parser, as far as it has words for it.
    """
    import onnx  # most programs on the board read no model

    try:
        model = onnx.load_from_string(content)
    except Exception as error:
        raise ParseError(-1, "MODEL_DESERIALIZE_FAILED", f"Failed to parse ONNX model: {error}") from None
    if not model.graph.node:
        raise ParseError(-1, "INVALID_GRAPH", "No nodes in the graph")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    newest = NEWEST_OPSET[versions.number()[0]]
    if opset > newest:
        raise ParseError(
            -1, "UNSUPPORTED_NODE", f"stand-in: opset {opset} is newer than {newest}, which this parser knows"
        )
    weights = {weight.name: weight for weight in model.graph.initializer}
    _check_external(weights.values(), directory)
    model = onnx.shape_inference.infer_shapes(model)
    reader = _Reader(model, weights, opset)
    return reader.graph()


def _check_external(weights: Any, directory: Path | None) -> None:
    for weight in weights:
        if weight.data_location != weight.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in weight.external_data}
        path = (directory or Path()) / where["location"]
        if directory is None or not path.is_file():
            raise ParseError(-1, "INVALID_GRAPH", f"Failed to open file: {path} (weights of {weight.name})")
        if path.stat().st_size < int(where.get("offset", 0)) + int(where.get("length", 0)):
            raise ParseError(-1, "INVALID_GRAPH", f"{path}: too short for the weights of {weight.name}")


class _Reader:
    def __init__(self, model: Any, weights: dict[str, Any], opset: int) -> None:
        self.model, self.weights, self.opset = model, weights, opset
        self.tensors: dict[str, Tensor] = {}
        graph = model.graph
        for value in [*graph.input, *graph.value_info, *graph.output]:
            if value.name in weights:
                continue
            kind = value.type.tensor_type
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
            self.tensors[value.name] = Tensor(value.name, shape, _DTYPES.get(kind.elem_type, "FLOAT"))
        self.inputs = [self.tensors[value.name] for value in graph.input if value.name not in weights]
        for tensor in self.inputs:
            tensor.is_input = True
        self.layers: list[Layer] = []
        self.renamed: dict[str, str] = {}

    def graph(self) -> Graph:
        nodes = []
        for index, node in enumerate(self.model.graph.node):
            self._node(index, node)
            nodes.append((node.name, node.op_type in TRANSPARENT))
        outputs = [self._tensor(value.name) for value in self.model.graph.output]
        for tensor in outputs:
            tensor.is_output = True
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            for number, layer in enumerate(layer for layer in self.layers if layer.name == twice):
                layer.name = twice if number == 0 else f"{twice}_{number}"
        return Graph(self.model.graph.name, self.layers, self.tensors, self.inputs, outputs, nodes)

    def _tensor(self, name: str) -> Tensor:
        name = self.renamed.get(name, name)
        if name not in self.tensors:
            raise ParseError(-1, "INVALID_GRAPH", f"tensor {name} has no shape or is not made by any node")
        return self.tensors[name]

    def _unnamed(self, kind: str) -> str:
        return f"(Unnamed Layer* {len(self.layers)}) [{kind}]"

    def _node(self, index: int, node: Any) -> None:
        if node.op_type in VANISHING:
            self.renamed[node.output[0]] = self.renamed.get(node.input[0], node.input[0])
            return
        if node.op_type not in TYPES or node.domain not in ("", "ai.onnx"):
            raise ParseError(
                index,
                "UNSUPPORTED_NODE",
                f"In node {index} with name: {node.name} and operator: {node.op_type} (importNode): No importer registered "
                f"for op: {node.op_type}",
            )
        from onnx import helper

        kind = TYPES[node.op_type]
        if kind == "CAST" and kind not in versions.names():
            kind = "IDENTITY"
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        activations = [self._tensor(name) for name in node.input if name and name not in self.weights]
        constants = [self.weights[name] for name in node.input if name in self.weights]
        outputs = [self._tensor(name) for name in node.output if name]
        layer = Layer(node.name, kind, node.op_type, activations, outputs, attributes, opset=self.opset)
        layer.weight_bytes = sum(math.prod(weight.dims) for weight in constants if len(weight.dims) > 0) * 2
        if node.op_type in ("Conv", "ConvTranspose"):
            dims = tuple(constants[0].dims)
            layer.kernel = dims[2:]
            layer.macs = outputs[0].count * math.prod(dims[1:])
        elif node.op_type in ("Gemm", "MatMul") and constants:
            layer.macs = outputs[0].count * constants[0].dims[1 if attributes.get("transB") else 0]
        elif kind == "ELEMENTWISE" and constants:
            layer.constant_operand = True
            for weight in constants:
                layer.inputs.append(self._constant(weight))
        if node.op_type == "Gemm" and len(constants) > 1:
            self._gemm(layer, constants[1])
        else:
            self.layers.append(layer)

    def _constant(self, weight: Any) -> Tensor:
        tensor = Tensor(f"{weight.name}_output", tuple(weight.dims), _DTYPES.get(weight.data_type, "FLOAT"))
        self.tensors[tensor.name] = tensor
        self.layers.append(Layer(weight.name, "CONSTANT", None, [], [tensor]))
        return tensor

    def _gemm(self, layer: Layer, bias: Any) -> None:
        """A product and a sum, the bias brought to its shape, as the parser makes them from 8.x on."""
        result = layer.outputs[0]
        product = Tensor(f"{layer.name}_out_tensor", result.shape, result.dtype)
        self.tensors[product.name] = product
        layer.outputs = [product]
        self.layers.append(layer)
        constant = self._constant(bias)
        shaped = Tensor(f"{self._unnamed('Shuffle')}_output", (1, *constant.shape), constant.dtype)
        self.tensors[shaped.name] = shaped
        self.layers.append(Layer(self._unnamed("Shuffle"), "SHUFFLE", None, [constant], [shaped]))
        self.layers.append(Layer(self._unnamed("ElementWise"), "ELEMENTWISE", None, [product, shaped], [result]))
