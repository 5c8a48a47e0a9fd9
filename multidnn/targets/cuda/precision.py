"""The arithmetic of an accelerator: which type holds its tensors, which units multiply, which layout they want."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# measured on an H100 (tests/targets/cuda/device_check.py): the tensor cores' convolutions are up to twice as fast on
# channels-last tensors, the fp32 units' a quarter slower
_CHANNELS_LAST = frozenset({"tf32", "fp16", "bf16"})
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
_RUNTIME = "torch-"
# largest deviation from fp32 outputs that is rounding, as a share of the largest output
_TOLERANCES = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Precision:
    """One of `PRECISIONS`, or fp64 for references on the CPU."""

    name: str

    @classmethod
    def of_runtime(cls, runtime: str) -> "Precision":
        """Return the precision that the runtime of this name computes in."""
        return cls(runtime.removeprefix(_RUNTIME))

    @property
    def runtime(self) -> str:
        """What torch in this precision is called where a file names a runtime."""
        return _RUNTIME + self.name

    @property
    def dtype(self) -> Any:
        """The torch type of tensors and weights."""
        import torch

        return {"fp16": torch.float16, "bf16": torch.bfloat16, "fp64": torch.float64}.get(self.name, torch.float32)

    @property
    def bytes(self) -> int:
        """The size of a number in memory."""
        return {"fp16": 2, "bf16": 2, "fp64": 8}.get(self.name, 4)

    @property
    def channels_last(self) -> bool:
        """Whether images are stored with their channels innermost."""
        return self.name in _CHANNELS_LAST

    def arranged(self, tensor: Any) -> Any:
        """Return `tensor` in this precision's type, and images and kernels in its layout; itself if it already is."""
        import torch

        layout = torch.channels_last if self.channels_last and tensor.dim() == 4 else torch.contiguous_format
        return tensor.to(dtype=self.dtype, memory_format=layout)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let torch use tf32 units within the block if this is tf32, and not otherwise; without gradients."""
        import torch

        before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.name == "tf32"
        try:
            with torch.no_grad():
                yield
        finally:
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def other_kernels() -> Iterator[None]:
    """Let cudnn choose among its deterministic kernels within the block, by trying them, instead of by heuristics."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True):
        yield


def tolerance(precisions: tuple[str, ...]) -> float:
    """Return how far outputs may deviate between accelerators of `precisions`, as a share of the largest output."""
    return max((_TOLERANCES[name] for name in precisions), default=_TOLERANCES["fp32"])
