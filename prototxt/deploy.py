"""The vocabulary of the generator: a network as Caffe deploy prototxt, written layer by layer."""

Size = int | tuple[int, int]
Value = int | float | bool | str | list[float]


class Net:
    """The text of one network, written layer by layer; every method returns the name of the tensor (top) it makes."""

    def __init__(self, name: str, *shape: int) -> None:
        self.lines = [f'name: "{name}"']
        dims = " ".join(f"dim: {size}" for size in shape)
        self.block("layer", ['name: "data"', 'type: "Input"', 'top: "data"', f"input_param {{ shape {{ {dims} }} }}"])

    def block(self, name: str, fields: list[str]) -> None:
        self.lines += [f"{name} {{", *(f"  {field}" for field in fields), "}"]

    def layer(self, kind: str, name: str, bottoms: list[str], top: str, field: str = "", **param: Value) -> str:
        """Add one layer; `param` fills the message `field`, which is left out when it is empty."""
        body = [f'name: "{name}"', f'type: "{kind}"', *(f'bottom: "{bottom}"' for bottom in bottoms), f'top: "{top}"']
        if param:
            body += [f"{field} {{", *(f"  {line}" for key, value in param.items() for line in entries(key, value)), "}"]
        self.block("layer", body)
        return top

    def conv(
        self,
        x: str,
        name: str,
        out: int,
        kernel: Size,
        stride: int = 1,
        pad: Size = 0,
        group: int = 1,
        bias: bool = True,
    ) -> str:
        param: dict[str, Value] = {"num_output": out, **spatial("pad", "pad", pad)}
        param |= spatial("kernel_size", "kernel", kernel)
        param |= {"group": group} if group > 1 else {}
        param |= {"stride": stride} if stride > 1 else {}
        param |= {} if bias else {"bias_term": False}
        return self.layer("Convolution", name, [x], name, "convolution_param", **param)

    def relu(self, x: str, name: str) -> str:
        return self.layer("ReLU", name, [x], x)

    def conv_relu(self, x: str, name: str, relu: str, out: int, kernel: Size, stride: int = 1, pad: Size = 0) -> str:
        return self.relu(self.conv(x, name, out, kernel, stride, pad), relu)

    def norm(self, x: str, top: str, bn: str, scale: str, **param: Value) -> str:
        """Batch normalisation as Caffe splits it: BatchNorm (statistics), then Scale (factor and bias) in place."""
        self.layer("BatchNorm", bn, [x], top, "batch_norm_param", use_global_stats=True, **param)
        return self.layer("Scale", scale, [top], top, "scale_param", bias_term=True)

    def unit(
        self, x: str, name: str, out: int, kernel: Size, stride: int = 1, pad: Size = 0, group: int = 1, **bn: Value
    ) -> str:
        """Convolution without bias, batch normalisation, ReLU: the unit of the later networks."""
        x = self.conv(x, name, out, kernel, stride, pad, group, bias=False)
        return self.relu(self.norm(x, x, f"{name}/bn", f"{name}/scale", **bn), f"{name}/relu")

    def pool(self, x: str, name: str, method: str, kernel: int, stride: int = 1, pad: int = 0) -> str:
        """Pooling; Caffe rounds its output size up. A kernel of 0 spans the whole input."""
        param: dict[str, Value] = {"pool": method}
        if kernel:
            param |= {"kernel_size": kernel, "stride": stride, **spatial("pad", "pad", pad)}
        else:
            param |= {"global_pooling": True}
        return self.layer("Pooling", name, [x], name, "pooling_param", **param)

    def lrn(self, x: str, name: str) -> str:
        """Local response normalisation across five channels, with the constants of AlexNet and GoogLeNet."""
        return self.layer("LRN", name, [x], name, "lrn_param", local_size=5, alpha=0.0001, beta=0.75)

    def concat(self, xs: list[str], name: str) -> str:
        return self.layer("Concat", name, xs, name)

    def add(self, x: str, y: str, name: str, coefficient: float = 1) -> str:
        """Return x + coefficient * y."""
        param: dict[str, Value] = {} if coefficient == 1 else {"coeff": [1, coefficient]}
        return self.layer("Eltwise", name, [x, y], name, "eltwise_param", operation="SUM", **param)

    def inner(self, x: str, name: str, out: int) -> str:
        return self.layer("InnerProduct", name, [x], name, "inner_product_param", num_output=out)

    def inner_drop(self, x: str, number: int, out: int) -> str:
        """A hidden fully connected layer of AlexNet and VGG with its ReLU and dropout."""
        x = self.relu(self.inner(x, f"fc{number}", out), f"relu{number}")
        return self.dropout(x, f"drop{number}", 0.5)

    def dropout(self, x: str, name: str, ratio: float) -> str:
        return self.layer("Dropout", name, [x], x, "dropout_param", dropout_ratio=ratio)

    def softmax(self, x: str) -> str:
        return self.layer("Softmax", "prob", [x], "prob")


def entries(field: str, value: Value) -> list[str]:
    """Return a field's lines in protobuf text format; strings are enum names, which take no quotes."""
    if isinstance(value, list):
        return [line for item in value for line in entries(field, item)]
    return [f"{field}: {str(value).lower() if isinstance(value, bool) else value}"]


def spatial(square: str, stem: str, size: Size) -> dict[str, Value]:
    """Return a size as the field `square`, or as `stem`_h and `stem`_w where they differ; nothing where it is 0."""
    if isinstance(size, tuple):
        return {f"{stem}_h": size[0], f"{stem}_w": size[1]}
    return {square: size} if size else {}
