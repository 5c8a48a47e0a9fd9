"""CUDA in this process: its context, and host memory that the GPU reads in place.

Host memory is registered through the driver library itself: `pycuda.driver.register_host_memory` of 2024.1 and later
fails for every array that does not own its memory, and frees what it registered twice when it does (pycuda issue 459).
CUDA for Tegra supports registering from compute capability 7.2 on (Xavier, Orin), where the caches of CPU and GPU agree.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

# cuda.h: CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP
_HOST_REGISTER_SUPPORTED = 99
_PORTABLE_AND_MAPPED = 1 | 2


class NotRegisteredError(Exception):
    """The device does not read this host memory in place; the text says why."""


@functools.lru_cache(maxsize=None)
def _library() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def start_cuda() -> Any:
    """Make this process's CUDA context on device 0 and return the device.

    The context is never taken down: TensorRT's objects must go before it, and the process ends by `os._exit`.
    """
    import pycuda.driver as cuda

    cuda.init()
    device = cuda.Device(0)
    # a waiting thread spins: a sleeping one wakes tens of microseconds late
    device.make_context(cuda.ctx_flags.SCHED_SPIN | cuda.ctx_flags.MAP_HOST)
    return device


def host_register_supported() -> bool:
    """Return whether the device of the current context maps registered host memory."""
    try:
        library = _library()
    except OSError:
        return False
    device, value = ctypes.c_int(), ctypes.c_int()
    if library.cuCtxGetDevice(ctypes.byref(device)) != 0:
        return False
    status = library.cuDeviceGetAttribute(ctypes.byref(value), _HOST_REGISTER_SUPPORTED, device)
    return status == 0 and value.value == 1


def register(address: int, size: int) -> int:
    """Page-lock host memory for the current context and return the device address under which the GPU reads it.

    Raises:
        NotRegisteredError: the driver is not there or does not do it.
    """
    try:
        library = _library()
    except OSError as error:
        raise NotRegisteredError(f"the driver library cannot be loaded: {error}") from None
    if not host_register_supported():
        raise NotRegisteredError("the device does not support registering host memory")
    status = library.cuMemHostRegister_v2(
        ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_uint(_PORTABLE_AND_MAPPED)
    )
    if status != 0:
        raise NotRegisteredError(f"cuMemHostRegister answers with error {status}")
    found = ctypes.c_uint64()
    status = library.cuMemHostGetDevicePointer_v2(ctypes.byref(found), ctypes.c_void_p(address), ctypes.c_uint(0))
    if status != 0:
        raise NotRegisteredError(f"cuMemHostGetDevicePointer answers with error {status}")
    return int(found.value)


def unregister(address: int) -> None:
    """Give back what `register` took; to be done before the memory itself goes."""
    _library().cuMemHostUnregister(ctypes.c_void_p(address))
