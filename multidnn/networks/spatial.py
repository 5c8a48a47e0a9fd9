"""Reads kernel, stride, pad and dilation of convolutions and poolings by Caffe's rules."""

from multidnn.networks.prototxt import CaffeLayer


def pair(
    layer: CaffeLayer, message: str, name: str, prefix: str, default: int | None, otherwise: str = ""
) -> tuple[int, int]:
    """Return (height, width) of what `message` of `layer` gives as `name`, or as `prefix`_h and `prefix`_w.

    Args:
        layer: the layer; its prototxt fields are read.
        message: the parameters' field, for example ``convolution_param``.
        name: the field with one value for both axes (or, if it is repeated, one per axis).
        prefix: of the fields with one axis each; empty where there are none.
        default: for both axes; None where the file has to say.
        otherwise: ends the message on a missing value.

    Raises:
        InputError: both forms, one axis alone, more than two values, or neither form and no default.
    """
    param = getattr(layer.proto, message)
    found = getattr(param, name)
    values = list(found) if not isinstance(found, int) else [found] if param.HasField(name) else []
    sides = [side for side in (f"{prefix}_h", f"{prefix}_w") if prefix and param.HasField(side)]
    if values and sides:
        raise layer.error(f"found both {name} and {sides[0]}, expected one of them", f"{message}.{sides[0]}")
    if len(sides) == 1:
        raise layer.error(f"found {sides[0]} alone, expected {prefix}_h and {prefix}_w", f"{message}.{sides[0]}")
    if sides:
        return getattr(param, sides[0]), getattr(param, sides[1])
    if len(values) > 2:
        raise layer.error(
            f"found {len(values)} values of {name}, expected one, or one per spatial axis (2)", f"{message}.{name}"
        )
    if values:
        return values[0], values[-1]
    if default is None:
        raise layer.error(f"has no {name} (or {prefix}_h and {prefix}_w){otherwise}", message)
    return default, default
