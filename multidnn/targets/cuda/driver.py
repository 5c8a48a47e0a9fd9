"""The CUDA driver through cuda-bindings, and what it says when something is wrong; imported only by what needs a GPU."""

import os
from typing import Any

from multidnn.errors import InputError

# as many hardware queues as streams, so that no stream waits behind another's kernel that does not end
_QUEUES = ("CUDA_DEVICE_MAX_CONNECTIONS", "32")


def require_gpu(index: int) -> None:
    """Make torch, cuda-bindings and device `index` ready for this process.

    Raises:
        InputError: torch or cuda-bindings is not installed, there is no NVIDIA GPU, or not so many.
    """
    os.environ.setdefault(*_QUEUES)
    try:
        import torch
        from cuda.bindings import driver, nvrtc  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the cuda target needs PyTorch and cuda-bindings ({error}); install them with: uv sync --extra cuda"
        ) from None
    if not torch.cuda.is_available():
        raise InputError(
            f"the cuda target needs an NVIDIA GPU and a PyTorch built for it: torch {torch.__version__} sees none here"
        )
    if index >= torch.cuda.device_count():
        raise InputError(f"there is no CUDA device {index}; this machine has {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    torch.zeros(1, device="cuda")


def check(result: tuple[Any, ...], what: str) -> Any:
    """Return what a driver call gave besides its status: nothing, one value, or a tuple.

    Raises:
        InputError: the status is an error; `what` says what was being done.
    """
    from cuda.bindings import driver

    status = result[0]
    if int(status) != 0:
        name = getattr(status, "name", str(status))
        text = ""
        if isinstance(status, driver.CUresult):
            found = driver.cuGetErrorString(status)[1]
            text = f" ({found.decode()})" if found else ""
        raise InputError(f"the GPU's driver reports {name}{text} while {what}")
    return result[1] if len(result) == 2 else result[1:]
