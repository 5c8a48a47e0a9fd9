"""Parses a Caffe prototxt into layers in execution order with one tensor name per value, every mistake located."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from multidnn.errors import InputError
from multidnn.files import read_text
from multidnn.networks import caffe_pb2

Places = Mapping[str, Sequence[int]]

# a quoted string, a comment, a bracket or separator, or a run of anything else but spaces
_TOKEN = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|#[^\n]*|[{}<>\[\]:,;]|[^\s{}<>\[\]:,;\"'#]+")


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of the deployed network; `bottoms` and `tops` are tensor names, unique per value (not blob names)."""

    proto: caffe_pb2.LayerParameter
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    path: Path
    line: int
    places: Places = field(repr=False)

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.proto.name

    @property
    def type(self) -> str:
        """The layer's Caffe type."""
        return self.proto.type

    def error(self, message: str, at: str = "", index: int = 0) -> InputError:
        """Return an error that names the file, the line (of field `at`, if it is written out) and this layer."""
        lines = self.places.get(at, ())
        line = lines[index] if index < len(lines) else self.line
        return InputError(f"{self.path}:{line}: layer {self.name!r} ({self.type}): {message}")


@dataclass(frozen=True)
class CaffeNet:
    """A parsed prototxt: input shapes, layers, and the tensors nothing consumes (the network's outputs)."""

    path: Path
    inputs: Mapping[str, tuple[int, ...]]
    layers: Sequence[CaffeLayer]
    outputs: Sequence[str]
    input_lines: Mapping[str, int]

    def check_inputs(self) -> None:
        """Raise an `InputError` for an input that no layer reads."""
        consumed = {bottom for layer in self.layers for bottom in layer.bottoms}
        for name in self.inputs:
            if name not in consumed:
                raise InputError(f"{self.path}:{self.input_lines[name]}: input {name!r} is used by no layer")


def read(path: Path) -> CaffeNet:
    """Return the network in the prototxt at `path`, as Caffe would deploy it (phase TEST, level 0, no stages).

    Raises:
        InputError: with file and line: text that is not the format, an unknown field (and the likely one), the
            format of before 2014, an unknown bottom, a top or a layer name used twice, inputs without a shape.
    """
    text = read_text(path)
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(text, net)
    except text_format.ParseError as error:
        raise _parse_error(path, error) from None
    layer_places, net_places = _find_places(text)

    def at(key: str, index: int = 0) -> str:
        lines = net_places.get(key, [1])
        return f"{path}:{lines[min(index, len(lines) - 1)]}"

    if net.layers:
        raise InputError(
            f"{at('layers')}: 'layers' is Caffe's format of before 2014; found 'layers {{', expected 'layer {{' with "
            "quoted types (Caffe's tool upgrade_net_proto_text converts the file)"
        )
    if not net.layer:
        raise InputError(f"{path}:1: the network has no layer; expected 'layer {{ name: ... type: ... }}'")
    inputs = _old_inputs(net, at)
    input_lines = dict(zip(inputs, net_places.get("input", ()), strict=True))
    layers: list[CaffeLayer] = []
    for proto, places in zip(net.layer, layer_places, strict=True):
        layer = CaffeLayer(proto, tuple(proto.bottom), tuple(proto.top), path, places[""][0], places)
        if not proto.type:
            raise layer.error('has no type; expected for example type: "Convolution"')
        if not _included(layer):
            continue
        if not proto.name:
            raise layer.error("has no name; a layer needs one, its weights are drawn by it")
        layers.append(layer)
    return _link(path, inputs, input_lines, layers)


def _parse_error(path: Path, error: text_format.ParseError) -> InputError:
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    message = re.sub(r"^\d+:\d+ : ", "", str(error))
    message = re.sub(r"^'.*?': ", "", message, flags=re.DOTALL).replace("multidnn.caffe.", "")
    unknown = re.search(r'type "([\w.]+)" has no (?:field|value) named "?(\w+)"?', message)
    if unknown:
        allowed = _names_of(unknown[1])
        close = difflib.get_close_matches(unknown[2], allowed, n=1)
        message = message.rstrip(".") + (
            f"; did you mean {close[0]!r}?" if close else f"; allowed: {', '.join(allowed)}"
        )
    return InputError(f"{path}:{line}:{column}: {message}")


def _names_of(type_name: str) -> list[str]:
    """Return the fields of a message or the values of an enum of the schema, by its name without the package."""
    file = caffe_pb2.DESCRIPTOR
    if type_name in file.enum_types_by_name:
        return list(file.enum_types_by_name[type_name].values_by_name)
    outer, _, inner = type_name.partition(".")
    message = file.message_types_by_name[outer]
    return list(message.enum_types_by_name[inner].values_by_name if inner else message.fields_by_name)


def _find_places(text: str) -> tuple[list[dict[str, list[int]]], dict[str, list[int]]]:
    """Return where things stand: per layer {dotted field: lines} ('' is the layer itself), and {net field: lines}.

    `text` has been parsed without an error. A field counts once, at its name, or once per element of its list.
    """
    layers: list[dict[str, list[int]]] = []
    net: dict[str, list[int]] = {}
    opened: list[tuple[str, str]] = []

    def record(name: str, line: int) -> None:
        path = [field for field, bracket in opened if bracket != "["]
        if not path and name == "layer":
            layers.append({"": [line]})
        elif path[:1] == ["layer"]:
            layers[-1].setdefault(".".join([*path[1:], name]), []).append(line)
        else:
            net.setdefault(".".join([*path, name]), []).append(line)

    tokens = list(_tokens(text))
    words = [word for word, _ in tokens] + ["", ""]
    name = ""
    for index, (word, line) in enumerate(tokens):
        in_list = bool(opened) and opened[-1][1] == "["
        if in_list and words[index - 1] in "[," and word != "]":
            name = opened[-1][0]
            record(name, line)
        if word in "{<[":
            opened.append((name, word))
        elif word in "}>]":
            opened.pop()
        elif not in_list and word.isidentifier() and words[index + 1] in {":", "{", "<", "["}:
            name = word
            if "[" not in (words[index + 1], words[index + 2] if words[index + 1] == ":" else ""):
                record(name, line)
    return layers, net


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield the tokens of the text format that are not comments, each with its line."""
    line, counted = 1, 0
    for token in _TOKEN.finditer(text):
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if not token[0].startswith("#"):
            yield token[0], line


def _old_inputs(net: caffe_pb2.NetParameter, at: Callable[..., str]) -> dict[str, tuple[int, ...]]:
    """Return the inputs declared at the top of the file (`input` with `input_dim` or `input_shape`)."""
    names = list(net.input)
    if not names:
        if net.input_dim or net.input_shape:
            raise InputError(f"{at('input_dim' if net.input_dim else 'input_shape')}: a shape without an 'input' field")
        return {}
    if net.input_dim:
        if net.input_shape or len(net.input_dim) != 4 * len(names):
            raise InputError(
                f"{at('input_dim')}: found {len(net.input_dim)} input_dim and {len(net.input_shape)} input_shape for "
                f"{len(names)} inputs, expected 4 input_dim or one input_shape per input"
            )
        shapes = [tuple(net.input_dim[4 * i : 4 * i + 4]) for i in range(len(names))]
    else:
        if len(net.input_shape) != len(names):
            raise InputError(
                f"{at('input')}: found {len(net.input_shape)} input_shape for {len(names)} inputs, expected one per input"
            )
        shapes = [tuple(shape.dim) for shape in net.input_shape]
    inputs: dict[str, tuple[int, ...]] = {}
    for index, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if name in inputs:
            raise InputError(f"{at('input', index)}: input {name!r} is declared twice")
        if not shape or min(shape) < 1:
            raise InputError(f"{at('input', index)}: input {name!r} has shape {list(shape)}, expected positive sizes")
        inputs[name] = shape
    return inputs


def _included(layer: CaffeLayer) -> bool:
    """Apply Caffe's include and exclude rules for the state of a deployed network."""
    include, exclude = layer.proto.include, layer.proto.exclude
    if include and exclude:
        raise layer.error("has both include and exclude rules; Caffe allows one kind", "exclude")

    def meets(rule: caffe_pb2.NetStateRule) -> bool:
        return not (
            (rule.HasField("phase") and rule.phase != caffe_pb2.TEST)
            or rule.min_level > 0
            or (rule.HasField("max_level") and rule.max_level < 0)
            or rule.stage
        )

    return any(map(meets, include)) if include else not any(map(meets, exclude))


def _input_shapes(layer: CaffeLayer) -> list[tuple[int, ...]]:
    shapes = [tuple(shape.dim) for shape in layer.proto.input_param.shape]
    if layer.bottoms or not layer.tops:
        raise layer.error("an Input layer has tops and no bottom", "bottom")
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops):
        raise layer.error(
            f"found {len(shapes)} shapes for {len(layer.tops)} tops, expected input_param {{ shape {{ dim: ... }} }}, "
            "one for all tops or one each",
            "input_param",
        )
    for shape in shapes:
        if not shape or min(shape) < 1:
            raise layer.error(f"found shape {list(shape)}, expected positive sizes", "input_param.shape")
    return shapes


def _link(
    path: Path, inputs: dict[str, tuple[int, ...]], input_lines: dict[str, int], layers: list[CaffeLayer]
) -> CaffeNet:
    """Check the blobs' links and give every value its own name: in-place layers write a new value of their blob.

    The last value of a blob keeps the blob's name, earlier ones are called blob@layer. Dropout vanishes.
    """
    kept: list[CaffeLayer] = []
    names: dict[str, str] = {}
    writers: dict[str, CaffeLayer | None] = dict.fromkeys(inputs)
    # in-place Dropout is dropped before values are counted, so that its blob's name stays with the value before it
    active = [layer for layer in layers if not (layer.type == "Dropout" and layer.bottoms == layer.tops)]
    versions = Counter([*inputs, *(top for layer in active for top in layer.tops)])
    written: Counter[str] = Counter()
    seen: dict[str, int] = {}

    def value(blob: str, layer_name: str) -> str:
        written[blob] += 1
        return blob if written[blob] == versions[blob] else f"{blob}@{layer_name}"

    for blob in inputs:
        names[blob] = value(blob, "input")
    shapes = {names[blob]: shape for blob, shape in inputs.items()}
    lines = {names[blob]: line for blob, line in input_lines.items()}
    consumed: set[str] = set()
    for layer in layers:
        if layer.name in seen:
            raise layer.error(f"the name is already used by the layer of line {seen[layer.name]}", "name")
        seen[layer.name] = layer.line
        for index, bottom in enumerate(layer.bottoms):
            if bottom not in names:
                hint = difflib.get_close_matches(bottom, names, n=1)
                known = f"; did you mean {hint[0]!r}?" if hint else f"; known so far: {', '.join(names) or 'none'}"
                raise layer.error(f"bottom {bottom!r} is produced by no earlier layer{known}", "bottom", index)
        for index, top in enumerate(layer.tops):
            if top in layer.tops[:index] or (top in names and top not in layer.bottoms):
                first = writers.get(top)
                where = f"the layer of line {first.line}" if first else "the network's input"
                raise layer.error(
                    f"top {top!r} is already produced by {where}; only an in-place layer (top equal to its bottom) "
                    "may write a blob again",
                    "top",
                    index,
                )
            writers[top] = layer
        bottoms = tuple(names[bottom] for bottom in layer.bottoms)
        if layer not in active and len(layer.bottoms) == 1:
            continue
        consumed.update(bottoms)
        tops = tuple(value(top, layer.name) for top in layer.tops)
        names.update(zip(layer.tops, tops, strict=True))
        if layer.type == "Input":
            shapes.update(zip(tops, _input_shapes(layer), strict=True))
            lines.update(dict.fromkeys(tops, layer.line))
        else:
            kept.append(CaffeLayer(layer.proto, bottoms, tops, path, layer.line, layer.places))
    if not kept:
        raise InputError(f"{path}:1: the network has inputs but no layer that computes anything")
    if not shapes:
        raise InputError(
            f'{path}:1: the network has no input; expected a layer of type "Input" (in place of a Data layer) or the '
            "old fields 'input' and 'input_shape'"
        )
    outputs = [top for layer in kept for top in layer.tops if top not in consumed]
    return CaffeNet(path, shapes, kept, outputs, lines)
