"""STAND-IN for pycuda.driver. Device memory is host memory; an address that was not allocated or registered is refused."""

import ctypes
import enum
import os
import sys
from typing import Any as _Any

import numpy as np
from standin_board.boards import board as _board
from standin_board.device import COPY_GB_S as _COPY_GB_S
from standin_board.device import DEVICE as _DEVICE
from standin_board.device import Event as _Event
from standin_board.device import Stream as _Stream
from standin_board.device import Work as _Work
from standin_board.settings import settings as _settings


class Error(Exception):
    """Base of pycuda's errors."""


class LogicError(Error):
    """A call that could not work."""


class RuntimeError(Error):
    """A call that failed."""


class MemoryError(Error):
    """No memory is left."""


class LaunchError(Error):
    """Work that failed on the device."""


class ctx_flags(enum.IntFlag):  # noqa: N801
    SCHED_AUTO = 0
    SCHED_SPIN = 1
    SCHED_YIELD = 2
    SCHED_BLOCKING_SYNC = 4
    MAP_HOST = 8


class event_flags(enum.IntFlag):  # noqa: N801
    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2


class host_alloc_flags(enum.IntFlag):  # noqa: N801
    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class mem_host_register_flags(enum.IntFlag):  # noqa: N801
    PORTABLE = 1
    DEVICEMAP = 2


class device_attribute(enum.IntEnum):  # noqa: N801
    CAN_MAP_HOST_MEMORY = 19
    INTEGRATED = 18
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76
    CLOCK_RATE = 13
    MULTIPROCESSOR_COUNT = 16


def _need_init(what: str) -> None:
    if _DEVICE.pid is None:
        raise LogicError(f"{what} failed: initialization error (cuInit was not called)")
    if _DEVICE.pid != os.getpid():
        raise LogicError(f"{what} failed: initialization error (CUDA does not survive a fork)")


def _need_context(what: str) -> None:
    _need_init(what)
    if _DEVICE.contexts < 1:
        raise LogicError(f"{what} failed: invalid device context")
    if _DEVICE.fault is not None:
        raise LogicError(f"{what} failed: {_DEVICE.fault}")


def init(flags: int = 0) -> None:
    if _DEVICE.pid is not None and _DEVICE.pid != os.getpid():
        raise LogicError("cuInit failed: initialization error (CUDA does not survive a fork)")
    _DEVICE.pid = os.getpid()


def get_version() -> tuple[int, int, int]:
    return {8: (11, 4, 0), 10: (12, 6, 0)}.get(int(_settings().tensorrt.split(".")[0]), (13, 0, 0))


def get_driver_version() -> int:
    major, minor, _ = get_version()
    return 1000 * major + 10 * minor


def mem_get_info() -> tuple[int, int]:
    _need_context("cuMemGetInfo")
    total = _board().memory_mb << 20
    return total * 3 // 4, total


class Context:
    def __init__(self) -> None:
        _DEVICE.contexts += 1

    @staticmethod
    def synchronize() -> None:
        _need_context("cuCtxSynchronize")
        for stream in _DEVICE.streams.values():
            stream.synchronize()

    @staticmethod
    def pop() -> None:
        if _DEVICE.contexts < 1:
            raise LogicError("cuCtxPopCurrent failed: invalid device context")
        _DEVICE.contexts -= 1

    def push(self) -> None:
        _DEVICE.contexts += 1

    def detach(self) -> None:
        _DEVICE.contexts = max(0, _DEVICE.contexts - 1)

    @staticmethod
    def get_device() -> "Device":
        _need_context("cuCtxGetDevice")
        return Device(0)


class Device:
    def __init__(self, number: int) -> None:
        _need_init("cuDeviceGet")
        if number != 0:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    @staticmethod
    def count() -> int:
        _need_init("cuDeviceGetCount")
        return 1

    def make_context(self, flags: int = 0) -> Context:
        return Context()

    def retain_primary_context(self) -> Context:
        context = Context()
        _DEVICE.contexts -= 1  # retained, but not current until it is pushed
        return context

    def name(self) -> str:
        return f"{_board().gpu} (STAND-IN)"

    def compute_capability(self) -> tuple[int, int]:
        return _board().compute_capability

    def total_memory(self) -> int:
        return _board().memory_mb << 20

    def get_attribute(self, attribute: device_attribute) -> int:
        return self.get_attributes()[attribute]

    def get_attributes(self) -> dict[device_attribute, int]:
        major, minor = _board().compute_capability
        return {
            device_attribute.CAN_MAP_HOST_MEMORY: 1,
            device_attribute.INTEGRATED: 1,
            device_attribute.COMPUTE_CAPABILITY_MAJOR: major,
            device_attribute.COMPUTE_CAPABILITY_MINOR: minor,
            device_attribute.CLOCK_RATE: _board().gpu_mhz * 1000,
            device_attribute.MULTIPROCESSOR_COUNT: 16,
        }


class Stream:
    def __init__(self, flags: int = 0) -> None:
        _need_context("cuStreamCreate")
        self._stream = _DEVICE.new_stream()

    @property
    def handle(self) -> int:
        return self._stream.handle

    def synchronize(self) -> None:
        _need_context("cuStreamSynchronize")
        self._stream.synchronize()
        _need_context("cuStreamSynchronize")

    def is_done(self) -> bool:
        _need_context("cuStreamQuery")
        return self._stream.done()

    def wait_for_event(self, event: "Event") -> None:
        _need_context("cuStreamWaitEvent")
        self._stream.enqueue(("wait", event._event))


def _of(stream: "Stream | None") -> _Stream:
    return _DEVICE.streams[0] if stream is None else stream._stream


class Event:
    def __init__(self, flags: int = 0) -> None:
        _need_context("cuEventCreate")
        self._event = _Event()

    def record(self, stream: "Stream | None" = None) -> "Event":
        _need_context("cuEventRecord")
        # an event that is recorded again starts anew; what waits for the old one keeps it
        self._event = _Event()
        self._event.recorded, self._event.stream = True, _of(stream)
        _of(stream).enqueue(self._event)
        return self

    def synchronize(self) -> "Event":
        _need_context("cuEventSynchronize")
        if self._event.stream is not None:
            self._event.stream.synchronize(self._event)
        _need_context("cuEventSynchronize")
        return self

    def query(self) -> bool:
        _need_context("cuEventQuery")
        if self._event.stream is not None:
            self._event.stream.done()
        return self._event.moment is not None

    def time_since(self, event: "Event") -> float:
        return _elapsed(event._event, self._event)

    def time_till(self, event: "Event") -> float:
        return _elapsed(self._event, event._event)


def _elapsed(begin: _Event, end: _Event) -> float:
    _need_context("cuEventElapsedTime")
    if not (begin.recorded and end.recorded):
        raise LogicError("cuEventElapsedTime failed: invalid resource handle")
    if begin.moment is None or end.moment is None:
        raise RuntimeError("cuEventElapsedTime failed: device not ready")
    return (end.moment - begin.moment) / 1e6


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        self._memory = np.zeros(size, dtype=np.uint8)
        self._size = size
        _DEVICE.memory.add(int(self), size)

    def __int__(self) -> int:
        return int(self._memory.ctypes.data)

    __index__ = __int__

    def free(self) -> None:
        if self._size:
            _DEVICE.memory.remove(int(self))
            self._size = 0

    def __del__(self) -> None:
        if getattr(self, "_size", 0) and not sys.is_finalizing():
            self.free()


def mem_alloc(bytes: int) -> DeviceAllocation:
    _need_context("cuMemAlloc")
    if bytes < 1:
        raise LogicError("cuMemAlloc failed: invalid argument")
    if bytes > _board().memory_mb << 20:
        raise MemoryError("cuMemAlloc failed: out of memory")
    return DeviceAllocation(int(bytes))


class HostAllocation:
    def __init__(self, address: int) -> None:
        self._address = address

    def get_device_pointer(self) -> int:
        return self._address


def pagelocked_empty(shape: _Any, dtype: _Any, order: str = "C", mem_flags: int = 0) -> _Any:
    _need_context("cuMemHostAlloc")
    array = np.empty(shape, dtype, order=order)  # type: ignore[call-overload]
    if mem_flags & host_alloc_flags.DEVICEMAP:
        _DEVICE.memory.add(int(array.ctypes.data), array.nbytes)
        _KEPT.append(array)
    return array


_KEPT: list[_Any] = []


def _checked(address: int, size: int, what: str) -> None:
    if not _DEVICE.memory.holds(address, size):
        raise LogicError(f"{what} failed: invalid argument (no device memory of {size} bytes at {address:#x})")


def _host(array: _Any, what: str) -> _Any:
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        raise TypeError(f"{what}: expected a contiguous array, found {type(array).__name__}")
    return array


def _copy(destination: int, source: int, size: int, stream: _Stream | None, keep: _Any) -> None:
    def move(kept: _Any = keep) -> None:
        ctypes.memmove(destination, source, size)

    if stream is None:
        for other in list(_DEVICE.streams.values()):
            other.synchronize()
        move()
        return
    stream.enqueue(_Work(None, [(size / _COPY_GB_S, 0.0, 0)], on_end=move))


def memcpy_htod(dest: _Any, src: _Any) -> None:
    _need_context("cuMemcpyHtoD")
    src = _host(src, "memcpy_htod")
    _checked(int(dest), src.nbytes, "cuMemcpyHtoD")
    _copy(int(dest), src.ctypes.data, src.nbytes, None, src)


def memcpy_dtoh(dest: _Any, src: _Any) -> None:
    _need_context("cuMemcpyDtoH")
    dest = _host(dest, "memcpy_dtoh")
    _checked(int(src), dest.nbytes, "cuMemcpyDtoH")
    _copy(dest.ctypes.data, int(src), dest.nbytes, None, dest)


def memcpy_htod_async(dest: _Any, src: _Any, stream: Stream | None = None) -> None:
    _need_context("cuMemcpyHtoDAsync")
    src = _host(src, "memcpy_htod_async")
    _checked(int(dest), src.nbytes, "cuMemcpyHtoDAsync")
    _copy(int(dest), src.ctypes.data, src.nbytes, _of(stream), src)


def memcpy_dtoh_async(dest: _Any, src: _Any, stream: Stream | None = None) -> None:
    _need_context("cuMemcpyDtoHAsync")
    dest = _host(dest, "memcpy_dtoh_async")
    _checked(int(src), dest.nbytes, "cuMemcpyDtoHAsync")
    _copy(dest.ctypes.data, int(src), dest.nbytes, _of(stream), dest)


def memset_d8(dest: _Any, data: int, count: int) -> None:
    _need_context("cuMemsetD8")
    _checked(int(dest), count, "cuMemsetD8")
    ctypes.memset(int(dest), data, count)
