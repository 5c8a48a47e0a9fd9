"""The functions of libcuda.so.1 that are called through ctypes, with CUDA's status numbers."""

from typing import Any

from standin_board.device import DEVICE

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, INVALID_CONTEXT, ALREADY_REGISTERED, NOT_SUPPORTED = 0, 1, 3, 201, 712, 801
_HOST_REGISTER_SUPPORTED = 99


class Library:
    """What ctypes.CDLL("libcuda.so.1") gives; unknown functions are AttributeErrors, as they are there."""

    def cuInit(self, flags: Any) -> int:  # noqa: N802
        return SUCCESS

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        import pycuda.driver as cuda

        version._obj.value = cuda.get_driver_version()
        return SUCCESS

    def cuCtxGetDevice(self, device: Any) -> int:  # noqa: N802
        if not DEVICE.usable():
            return INVALID_CONTEXT
        device._obj.value = 0
        return SUCCESS

    def cuDeviceGetAttribute(self, value: Any, attribute: Any, device: Any) -> int:  # noqa: N802
        if DEVICE.pid is None:
            return NOT_INITIALIZED
        if _number(attribute) != _HOST_REGISTER_SUPPORTED:
            return INVALID_VALUE
        value._obj.value = 1
        return SUCCESS

    def cuMemHostRegister_v2(self, address: Any, size: Any, flags: Any) -> int:  # noqa: N802
        if not DEVICE.usable():
            return INVALID_CONTEXT
        try:
            DEVICE.memory.add(_number(address), _number(size))
        except ValueError:
            return ALREADY_REGISTERED
        return SUCCESS

    def cuMemHostUnregister(self, address: Any) -> int:  # noqa: N802
        try:
            DEVICE.memory.remove(_number(address))
        except KeyError:
            return INVALID_VALUE
        return SUCCESS

    def cuMemHostGetDevicePointer_v2(self, pointer: Any, address: Any, flags: Any) -> int:  # noqa: N802
        if not DEVICE.memory.holds(_number(address), 1):
            return INVALID_VALUE
        pointer._obj.value = _number(address)
        return SUCCESS


def _number(value: Any) -> int:
    return int(value.value) if hasattr(value, "value") else int(value)
