"""Kernels of our own, compiled when a device is opened: time stamps, the start gate, the traffic generator, max pools."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.cuda.driver import check

# bytes that a block of the traffic generator copies before it looks at the time
CHUNK_BYTES = 1 << 16
TRAFFIC_THREADS = 512
BLOCKS_PER_SM = 2
# counters of a traffic kernel: chunks copied, first start, last end
TRAFFIC_COUNTERS = 3

SOURCE = r"""
typedef unsigned long long u64;

__device__ __forceinline__ u64 now() {  // ns; the same clock on every multiprocessor
    u64 t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}

extern "C" __global__ void stamp(u64* time) { *time = now(); }

// holds everything behind it back until the host has enqueued it all; gives up after limit_ns
extern "C" __global__ void gate(volatile int* open, u64* time, u64 limit_ns) {
    u64 begin = now();
    while (!*open && now() - begin < limit_ns) { }
    *time = now();
}

// the clock, as often as `count` says: how finely it ticks
extern "C" __global__ void ticks(u64* times, int count) {
    for (int i = 0; i < count; i++) times[i] = now();
}

// which multiprocessors its blocks ran on
extern "C" __global__ void where(int* blocks_on, u64 ns) {
    u64 begin = now();
    unsigned sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    if (threadIdx.x == 0) atomicAdd(blocks_on + sm, 1);
    while (now() - begin < ns) { }
}

// copies chunks of `from` to `to` over and over until *stop; a block begins one every period_ns, or as soon as it can.
// Each block has a range of its own: blocks that shared one would catch up with each other, as what the first of them
// has read is in the L2 cache for those behind, and from then on copy from there
extern "C" __global__ void traffic(const float4* from, float4* to, u64 chunks, int vectors, u64 period_ns,
                                   volatile int* stop, volatile int* stopped, u64* counters, u64 limit_ns) {
    __shared__ int ended;
    u64 begin = now(), copied = 0;
    for (;;) {
        u64 start = now(), chunk = chunks * blockIdx.x + copied % chunks;
        const float4* a = from + chunk * vectors;
        float4* b = to + chunk * vectors;
        for (int i = threadIdx.x; i < vectors; i += 4 * blockDim.x) {
            float4 v[4];
            #pragma unroll
            for (int k = 0; k < 4; k++) if (i + k * blockDim.x < vectors) v[k] = a[i + k * blockDim.x];
            #pragma unroll
            for (int k = 0; k < 4; k++) if (i + k * blockDim.x < vectors) b[i + k * blockDim.x] = v[k];
        }
        copied++;
        __syncthreads();
        if (threadIdx.x == 0) {
            // the flag lies in the host's memory, and all blocks looking there would leave no room for launches
            if (blockIdx.x == 0 && copied % 4 == 0 && (*stop || now() - begin > limit_ns)) *stopped = 1;
            ended = *stopped;
            while (!ended && now() < start + period_ns) __nanosleep(100);
        }
        __syncthreads();
        if (ended) break;
    }
    if (threadIdx.x == 0) {
        atomicAdd(counters, copied);
        atomicMin(counters + 1, begin);
        atomicMax(counters + 2, now());
    }
}

// max pool of channels-last images, an output value per thread; T are the bits of a float type whose order `key` gives
template <typename T, typename Key>
__device__ __forceinline__ void max_pool(const T* x, T* y, u64 outputs, int c, int h, int w, int oh, int ow, int kh,
                                         int kw, int sh, int sw, int dh, int dw, int top, int left, T lowest, Key key) {
    u64 out = blockIdx.x * (u64)blockDim.x + threadIdx.x;
    if (out >= outputs) return;
    int channel = (int)(out % c), column = (int)(out / c % ow), row = (int)(out / c / ow % oh);
    const T* image = x + out / c / ow / oh * h * w * c + channel;
    T best = lowest;
    for (int i = 0; i < kh; i++) {
        int line = row * sh - top + i * dh;
        if (line < 0 || line >= h) continue;
        for (int j = 0; j < kw; j++) {
            int place = column * sw - left + j * dw;
            if (place < 0 || place >= w) continue;
            T value = image[((u64)line * w + place) * c];
            if (key(value) > key(best)) best = value;
        }
    }
    y[out] = best;
}

// floats are ordered like their bits, once those of negative ones are turned over; NaN is the largest
struct Key32 { __device__ unsigned operator()(unsigned v) const { return v & 0x80000000u ? ~v : v | 0x80000000u; } };
struct Key16 {
    __device__ unsigned operator()(unsigned short v) const { return v & 0x8000u ? 0xffffu & ~v : v | 0x8000u; }
};

extern "C" __global__ void max_pool_32(const unsigned* x, unsigned* y, u64 outputs, int c, int h, int w, int oh, int ow,
                                       int kh, int kw, int sh, int sw, int dh, int dw, int top, int left, int lowest) {
    max_pool(x, y, outputs, c, h, w, oh, ow, kh, kw, sh, sw, dh, dw, top, left, (unsigned)lowest, Key32());
}

extern "C" __global__ void max_pool_16(const unsigned short* x, unsigned short* y, u64 outputs, int c, int h, int w,
                                       int oh, int ow, int kh, int kw, int sh, int sw, int dh, int dw, int top,
                                       int left, int lowest) {
    max_pool(x, y, outputs, c, h, w, oh, ow, kh, kw, sh, sw, dh, dw, top, left, (unsigned short)lowest, Key16());
}
"""

_NAMES = ("stamp", "gate", "ticks", "where", "traffic", "max_pool_32", "max_pool_16")
Argument = tuple[Any, Any]


def pointer(address: int) -> Argument:
    """Return a kernel argument that is an address on the device."""
    return address, ctypes.c_void_p


def unsigned(value: int) -> Argument:
    """Return a kernel argument of 64 bits."""
    return value, ctypes.c_ulonglong


def integer(value: int) -> Argument:
    """Return a kernel argument of 32 bits."""
    return value, ctypes.c_int


def packed(arguments: Sequence[Argument]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return arguments as cuda-bindings wants them."""
    return tuple(value for value, _ in arguments), tuple(kind for _, kind in arguments)


@cache
def kernels_of(device: int) -> "Kernels":
    """Return the kernels compiled for `device`, which must be the current one."""
    return Kernels()


class Kernels:
    """The kernels compiled for the current device; they run in whichever context they are launched into.

    Raises:
        InputError: the run-time compiler is missing or refuses the source.
    """

    def __init__(self) -> None:
        from cuda.bindings import driver

        binary = _compiled()
        # kept: the kernels live in it
        self._library = check(
            driver.cuLibraryLoadData(binary, None, None, 0, None, None, 0), "loading the cuda target's kernels"
        )
        self._kernels = {
            name: check(driver.cuLibraryGetKernel(self._library, name.encode()), f"looking up kernel {name}")
            for name in _NAMES
        }

    def handle(self, name: str) -> Any:
        """Return the driver's handle of a kernel."""
        return self._kernels[name]

    def launch(self, name: str, grid: int, block: int, stream: int, arguments: Sequence[Argument]) -> None:
        """Enqueue a kernel on `stream` (its address), in the context that the stream belongs to."""
        from cuda.bindings import driver

        function = driver.CUfunction(int(self._kernels[name]))
        check(
            driver.cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, driver.CUstream(stream), packed(arguments), 0),
            f"launching kernel {name}",
        )


def _compiled() -> bytes:
    import torch
    from cuda.bindings import nvrtc

    program = check(nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"multidnn.cu", 0, [], []), "preparing kernels")
    major, minor = torch.cuda.get_device_capability()
    options = [f"--gpu-architecture=sm_{major}{minor}".encode()]
    status = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(status[0]) != 0:
        log = b" " * check(nvrtc.nvrtcGetProgramLogSize(program), "reading the compiler's log")
        nvrtc.nvrtcGetProgramLog(program, log)
        raise InputError(f"the cuda target's kernels cannot be compiled: {log.decode().strip()}")
    binary: bytes = b" " * check(nvrtc.nvrtcGetCUBINSize(program), "reading the compiled kernels")
    check(nvrtc.nvrtcGetCUBIN(program, binary), "reading the compiled kernels")
    return binary
