"""Padding of convolutions and pools: ONNX pads each side by its own amount, torch both sides of an axis alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from multidnn.errors import InputError
from multidnn.targets.cuda.model import Node


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes; `before` and `after` are the pads of each axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, size: Sequence[int], kernel: Sequence[int]) -> "Window":
        """Return the window of `node` over an image of spatial `size`.

        Raises:
            InputError: an `auto_pad` that ONNX does not know.
        """
        rank = len(size)
        attributes = node.attributes
        strides = tuple(attributes.get("strides") or [1] * rank)
        dilations = tuple(attributes.get("dilations") or [1] * rank)
        mode = attributes.get("auto_pad", "NOTSET")
        pads = list(attributes.get("pads") or [0] * 2 * rank)
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            total = [
                max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
                for n, s, d, k in zip(size, strides, dilations, kernel, strict=True)
            ]
            small, large = [t // 2 for t in total], [t - t // 2 for t in total]
            pads = small + large if mode == "SAME_UPPER" else large + small
        elif mode == "VALID":
            pads = [0] * 2 * rank
        elif mode != "NOTSET":
            raise InputError(f"node {node}: auto_pad {mode!r} is not supported")
        return cls(tuple(kernel), strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]))

    @property
    def symmetric(self) -> bool:
        """Whether both sides of every axis are padded alike."""
        return self.before == self.after

    def explicit_pads(self) -> list[int]:
        """Return the pads in the order that torch's `pad` wants: last axis first, before and after."""
        return [pad for axis in reversed(range(len(self.kernel))) for pad in (self.before[axis], self.after[axis])]

    def lengths(self, size: Sequence[int], ceil: bool) -> list[int]:
        """Return how many windows fit on each axis of `size`, as ONNX counts."""
        divide = math.ceil if ceil else math.floor
        return [
            divide((n + b + a - d * (k - 1) - 1) / s) + 1
            for n, b, a, d, k, s in zip(
                size, self.before, self.after, self.dilations, self.kernel, self.strides, strict=True
            )
        ]

    def torch_ceil_mode(self, size: Sequence[int], ceil: bool) -> bool | None:
        """Return the `ceil_mode` with which a torch pool padded by `before` on both sides makes this window's pool.

        A pad behind an image is mostly there for a last window that is not full, which torch calls ceil mode; that
        spares a copy of the image. None where neither mode gives the same windows.
        """
        wanted = self.lengths(size, ceil)
        for mode in (False, True):
            if self._torch_lengths(size, mode) == wanted and all(
                # torch allows at most half a window of padding
                2 * b <= d * (k - 1) + 1
                for b, d, k in zip(self.before, self.dilations, self.kernel, strict=True)
            ):
                return mode
        return None

    def _torch_lengths(self, size: Sequence[int], ceil: bool) -> list[int]:
        divide = math.ceil if ceil else math.floor
        lengths = []
        for n, b, d, k, s in zip(size, self.before, self.dilations, self.kernel, self.strides, strict=True):
            length = divide((n + 2 * b - d * (k - 1) - 1) / s) + 1
            # torch drops a last window that would start behind the image
            lengths.append(length - 1 if ceil and (length - 1) * s >= n + b else length)
        return lengths
