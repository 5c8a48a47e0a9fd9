"""The max pool of our kernels, compiled as C++ and run thread after thread on the CPU."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from multidnn.targets.cuda.kernels import SOURCE

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")

SHIM = r"""
#define __global__
#define __device__
#define __forceinline__ inline
struct Index { unsigned x; };
static Index blockIdx, blockDim, threadIdx;
typedef unsigned long long u64;
%s
template <typename F> void each(u64 outputs, F f) {
    blockDim.x = 32;
    for (blockIdx.x = 0; blockIdx.x * 32ull < outputs; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < 32; threadIdx.x++) f();
}
extern "C" void run32(const unsigned* x, unsigned* y, u64 n, const int* p) {
    each(n, [&] { max_pool_32(x, y, n, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12],
                              p[13]); });
}
extern "C" void run16(const unsigned short* x, unsigned short* y, u64 n, const int* p) {
    each(n, [&] { max_pool_16(x, y, n, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12],
                              p[13]); });
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels as a shared library."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    source = folder / "kernels.cpp"
    source.write_text(SHIM % SOURCE[SOURCE.index("// max pool") :], encoding="utf-8")
    subprocess.run(
        ["g++", "-O1", "-fno-strict-aliasing", "-shared", "-fPIC", "-o", str(folder / "k.so"), str(source)], check=True
    )
    return ctypes.CDLL(str(folder / "k.so"))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("pads", [(0, 0), (1, 1), (1, 0)])
def test_max_pool(library: ctypes.CDLL, kind: type, pads: tuple[int, int]) -> None:
    n, c, h, w, k, s = 2, 5, 7, 8, 3, 2
    top, bottom = pads
    lengths = [(size + top + bottom - k) // s + 1 for size in (h, w)]
    image = np.random.default_rng(1).standard_normal((n, h, w, c)).astype(kind)
    image[0, 3, 3, 2] = np.nan
    padded = np.full((n, h + top + bottom, w + top + bottom, c), -np.inf, dtype=kind)
    padded[:, top : top + h, top : top + w] = image
    expected = np.stack(
        [
            np.stack([padded[:, i * s : i * s + k, j * s : j * s + k].max((1, 2)) for j in range(lengths[1])], 1)
            for i in range(lengths[0])
        ],
        1,
    )
    result = np.zeros((n, *lengths, c), dtype=kind)
    lowest = 0xFF800000 - (1 << 32) if kind is np.float32 else 0xFC00
    numbers = (ctypes.c_int * 14)(c, h, w, *lengths, k, k, s, s, 1, 1, top, top, lowest)
    run = library.run32 if kind is np.float32 else library.run16
    run(
        image.ctypes.data_as(ctypes.c_void_p),
        result.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_ulonglong(result.size),
        numbers,
    )
    np.testing.assert_array_equal(result, expected)
