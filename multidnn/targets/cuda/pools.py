"""Max pools of channels-last images with a kernel of our own: torch's takes several times as long on small images."""

from typing import Any

from multidnn.targets.cuda.kernels import integer, kernels_of, pointer, unsigned
from multidnn.targets.cuda.windows import Window

_THREADS = 256
# the bits of minus infinity, as a signed number of the argument's width
_LOWEST = {"float32": 0xFF800000 - (1 << 32), "float16": 0xFC00, "bfloat16": 0xFF80}


def takes(x: Any) -> bool:
    """Return whether `max_pool` can be used for `x`: channels-last images on a GPU, of 16 or 32 bits."""
    import torch

    return (
        x.is_cuda
        and x.dim() == 4
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
    )


def max_pool(x: Any, window: Window, lengths: list[int]) -> Any:
    """Return the max pool of `x` with `lengths` windows per axis, enqueued on torch's current stream."""
    import torch

    n, c, h, w = x.shape
    result = torch.empty((n, c, *lengths), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    numbers = (c, h, w, *lengths, *window.kernel, *window.strides, *window.dilations, *window.before)
    kernels_of(x.device.index).launch(
        "max_pool_32" if x.dtype == torch.float32 else "max_pool_16",
        -(-result.numel() // _THREADS),
        _THREADS,
        int(torch.cuda.current_stream().cuda_stream),
        [
            pointer(x.data_ptr()),
            pointer(result.data_ptr()),
            unsigned(result.numel()),
            *(integer(number) for number in numbers),
            integer(_LOWEST[str(x.dtype).removeprefix("torch.")]),
        ],
    )
    return result
