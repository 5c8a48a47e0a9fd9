"""What the builder makes of placed layers: fused GPU kernels, DLA blocks, and reformatting where the device changes."""

from dataclasses import dataclass, field

from standin_board import versions
from standin_board.graph import Graph, Layer, Tensor
from standin_board.settings import settings
from standin_board.timing import Times

# what a GPU engine has no kernel for
VANISHING = ("CONSTANT", "SHUFFLE", "IDENTITY", "CAST", "QUANTIZE", "DEQUANTIZE")
INSPECTOR_TYPES = {
    "CONVOLUTION": "CaskConvolution",
    "DECONVOLUTION": "CaskDeconvolutionV2",
    "POOLING": "CaskPooling",
    "ACTIVATION": "PointWiseV2",
    "ELEMENTWISE": "ElementWise",
    "SCALE": "Scale",
    "SOFTMAX": "CudaSoftMax",
    "LRN": "LRN",
    "REDUCE": "Reduce",
    "MATRIX_MULTIPLY": "MatrixMultiply",
    "CONCATENATION": "Reformat",
}


@dataclass
class Entry:
    """One line of an engine's profile. `kind` is the type in placement lines, `type` the inspector's LayerType."""

    name: str
    kind: str
    type: str
    device: str
    ms: float
    demand: float
    layers: list[str]
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    placed: bool = True


@dataclass
class _Kernel:
    """Layers that run as one; `at` orders kernels in execution."""

    layers: list[Layer]
    device: str
    at: int
    chains: list[list[Layer]] = field(default_factory=list)


def entries(graph: Graph, devices: dict[Layer, str], times: Times) -> list[Entry]:
    """Return the engine's entries in execution order."""
    fusing = _Fusing(graph, devices)
    kernels = fusing.kernels()
    makers = {tensor.name: (layer, devices[layer]) for layer in graph.layers for tensor in layer.outputs}
    result: list[Entry] = []
    # an output may be written by several kernels (a concatenation's inputs); it costs once, with the last of them
    last_writer: dict[str, _Kernel] = {}
    for output in graph.outputs:
        writers = [
            (tensor.name, kernel)
            for kernel in kernels
            for layer in kernel.layers
            for tensor in layer.outputs
            if fusing.leads_to(tensor, output)
        ]
        last_writer.update(writers[-1:])
    for kernel in kernels:
        entry = _entry(kernel, times)
        own = {tensor.name for layer in kernel.layers for tensor in layer.outputs}
        read = _distinct(
            tensor for layer in kernel.layers for tensor in layer.inputs if fusing.source(tensor).name not in own
        )
        entry.inputs = [tensor for tensor in read if not fusing.is_constant(tensor)]
        readers = {
            tensor.name
            for other in kernels
            if other is not kernel
            for layer in other.layers
            for tensor in (fusing.source(t) for t in layer.inputs)
        }
        entry.outputs = _distinct(
            tensor
            for layer in kernel.layers
            for tensor in layer.outputs
            if tensor.name in readers or any(fusing.leads_to(tensor, output) for output in graph.outputs)
        )
        for number, tensor in enumerate(entry.inputs):
            source = fusing.source(tensor)
            maker = makers.get(source.name)
            came_from = "gpu" if maker is None else maker[1]
            if maker is None or came_from != kernel.device:
                cost = settings().reformat_ms if came_from != kernel.device else 0.0
                result.append(_reformat("Input", number, entry.name, cost, "gpu", tensor))
        result.append(entry)
        for number, tensor in enumerate(t for t in entry.outputs if last_writer.get(t.name) is kernel):
            maker_layer = next(layer for layer in kernel.layers if tensor in layer.outputs)
            cost = times.out_ms(tensor, maker_layer, kernel.device)
            if cost > 0 or kernel.device == "dla":
                result.append(_reformat("Output", number, entry.name, cost, kernel.device, tensor))
    return result


def _reformat(side: str, number: int, name: str, ms: float, device: str, tensor: Tensor) -> Entry:
    text = f"Reformatting CopyNode for {side} Tensor {number} to {name}"
    return Entry(text, "REFORMAT", "Reformat", device, ms, 0.0, [], [tensor], [tensor], placed=False)


def _entry(kernel: _Kernel, times: Times) -> Entry:
    ms = sum(times.ms(layer, kernel.device) for layer in kernel.layers)
    weighted = sum(times.ms(layer, kernel.device) * times.demand(layer, kernel.device) for layer in kernel.layers)
    demand = weighted / ms if ms else 0.0
    names = [layer.name for layer in kernel.layers]
    if kernel.device == "dla":
        inner = names[0] if len(names) == 1 else f"{names[0]}...{names[-1]}"
        return Entry(f"{{ForeignNode[{inner}]}}", "DLA", "DLA", "dla", ms, demand, names)
    if len(kernel.layers) > 1 and kernel.layers[-1].type == "SOFTMAX":
        return Entry(f"{{ForeignNode[{names[0]}...{names[-1]}]}}", "MYELIN", "Myelin", "gpu", ms, demand, names)
    head = kernel.chains[0][0] if kernel.chains else kernel.layers[0]
    # a normalisation that went into the weights is not in the name
    chains = kernel.chains or [kernel.layers]
    name = " || ".join(" + ".join(la.name for la in chain if la is chain[0] or la.type != "SCALE") for chain in chains)
    if head.type == "CONCATENATION":
        name += " copy"
    return Entry(name, head.type, INSPECTOR_TYPES.get(head.type, head.type.title()), "gpu", ms, demand, names)


def _distinct(tensors: "object") -> list[Tensor]:
    return list({tensor.name: tensor for tensor in tensors}.values())  # type: ignore[attr-defined]


class _Fusing:
    def __init__(self, graph: Graph, devices: dict[Layer, str]) -> None:
        self.graph, self.devices = graph, devices
        self.index = {layer: number for number, layer in enumerate(graph.layers)}
        self.maker = {tensor.name: layer for layer in graph.layers for tensor in layer.outputs}
        self.readers: dict[str, list[Layer]] = {}
        for layer in graph.layers:
            for tensor in layer.inputs:
                self.readers.setdefault(tensor.name, []).append(layer)
        self.done: set[Layer] = set()

    def vanishes(self, layer: Layer) -> bool:
        """Return whether no kernel comes of a layer by itself."""
        if layer.type in VANISHING:
            return True
        if layer.type == "CONCATENATION" and self.devices[layer] == "gpu":
            # its inputs are written where they belong, unless a DLA or the caller writes them
            makers = [self.maker.get(self.source(tensor).name) for tensor in layer.inputs]
            return all(maker is not None and self.devices[maker] == "gpu" for maker in makers)
        return False

    def source(self, tensor: Tensor) -> Tensor:
        """Return the tensor that holds the same values before layers that have no kernel."""
        maker = self.maker.get(tensor.name)
        while maker is not None and maker.type in VANISHING and maker.inputs:
            tensor = maker.inputs[0]
            maker = self.maker.get(tensor.name)
        return tensor

    def is_constant(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a weight."""
        maker = self.maker.get(self.source(tensor).name)
        return maker is not None and maker.type == "CONSTANT"

    def leads_to(self, tensor: Tensor, output: Tensor) -> bool:
        """Return whether `tensor` is `output`, or is seen in it through layers that have no kernel."""
        return tensor is output or any(
            self.vanishes(layer) and any(self.leads_to(other, output) for other in layer.outputs)
            for layer in self.readers.get(tensor.name, ())
        )

    def kernels(self) -> list[_Kernel]:
        """Return all kernels in execution order."""
        found = self._dla_blocks()
        heads: list[_Kernel] = []
        for layer in self.graph.layers:
            if layer in self.done or self.devices[layer] == "dla" or self.vanishes(layer):
                continue
            chain = self._chain(layer)
            self.done.update(chain)
            heads.append(_Kernel(chain, "gpu", max(self.index[one] for one in chain), [chain]))
        return sorted(found + self._siblings(heads), key=lambda kernel: kernel.at)

    def _dla_blocks(self) -> list[_Kernel]:
        blocks: list[_Kernel] = []
        run: list[Layer] = []
        for layer in [*self.graph.layers, None]:
            if layer is not None and self.devices[layer] == "dla":
                run.append(layer)
            # a constant is no work; anything else on the GPU divides
            elif run and (layer is None or layer.type not in ("CONSTANT", "IDENTITY")):
                blocks.append(_Kernel(run, "dla", self.index[run[-1]]))
                self.done.update(run)
                run = []
        return blocks

    def _only_reader(self, layer: Layer) -> Layer | None:
        (tensor,) = layer.outputs
        readers = self.readers.get(tensor.name, [])
        if tensor.is_output or len(readers) != 1 or self.devices[readers[0]] != "gpu" or readers[0] in self.done:
            return None
        return readers[0]

    def _chain(self, head: Layer) -> list[Layer]:
        """Return `head` with what the builder fuses behind it: scale, a sum with an earlier tensor, an activation."""
        chain = [head]
        after = self._only_reader(head)
        if head.type == "MATRIX_MULTIPLY" and after is not None and after.type == "ELEMENTWISE" and after.op is None:
            chain.append(after)
            after = self._only_reader(after)
        if head.type not in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "SCALE", "ELEMENTWISE"):
            return chain
        if after is not None and after.type == "SCALE" and head.type != "MATRIX_MULTIPLY":
            chain.append(after)
            after = self._only_reader(after)
        if after is not None and after.op == "Add" and head.type == "CONVOLUTION" and not after.constant_operand:
            others = [tensor for tensor in after.inputs if self.maker.get(tensor.name) is not chain[-1]]
            makers = [self.maker.get(self.source(tensor).name) for tensor in others]
            if all(maker is None or self.index[maker] < self.index[head] for maker in makers) and len(others) == 1:
                chain.append(after)
                after = self._only_reader(after)
        if after is not None and after.type == "ACTIVATION":
            chain.append(after)
            after = self._only_reader(after)
        # from 10 on a classifier at the end goes to Myelin as a whole
        is_last = after is not None and after.type == "SOFTMAX" and after.outputs[0].is_output
        if versions.number() >= (10, 0) and len(chain) == 1 and head.type == "CONVOLUTION" and is_last:
            assert after is not None
            chain.append(after)
        return chain

    def _siblings(self, kernels: list[_Kernel]) -> list[_Kernel]:
        """Merge convolutions of one pixel that read the same tensor and stand side by side."""
        merged: list[_Kernel] = []
        by_input: dict[str, _Kernel] = {}
        for kernel in kernels:
            head = kernel.layers[0]
            key = self.source(head.inputs[0]).name if head.inputs else ""
            mergeable = (
                head.type == "CONVOLUTION"
                and head.kernel == (1, 1)
                and not any(head.attributes.get("pads", ()))
                and set(head.attributes.get("strides", (1,))) == {1}
                and len(kernel.layers) == 2
                and kernel.layers[1].type == "ACTIVATION"
            )
            first = by_input.get(key) if mergeable else None
            if first is not None:
                first.layers = first.layers + kernel.layers
                first.chains = first.chains + kernel.chains
                continue
            if mergeable:
                by_input[key] = kernel
            merged.append(kernel)
        return merged
