"""The tile that tensor cores multiply: who has what, by the tables of the PTX ISA (mma.m16n8k8, mma.m16n8k16)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn.kernels import available

_KERNEL = """
KERNEL multiply(const unsigned* a, const unsigned* b, float* d) {
    unsigned own[4];
    float sums[4];
    for (int i = 0; i < 4; i++) own[i] = a[threadIdx.x * 4 + i];
    for (int i = 0; i < 4; i++) sums[i] = d[threadIdx.x * 4 + i];
    multiply_tile(sums, own, b[threadIdx.x * 2], b[threadIdx.x * 2 + 1]);
    for (int i = 0; i < 4; i++) d[threadIdx.x * 4 + i] = sums[i];
}
"""


def words(x: np.ndarray, precision: int) -> np.ndarray:
    """The words of a matrix whose last axis is K; x has few bits, so that nothing is rounded."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return bits if precision == 1 else bits[:, ::2] >> 16 | bits[:, 1::2]


@pytest.mark.parametrize("precision", [1, 2])
def test_tile(gpu: Any, precision: int) -> None:
    import cupy

    available("cupy")
    from portable_nn.kernels.cupy.launch import source

    if not hasattr(cupy, "is_stand_in") and int(cupy.cuda.Device().compute_capability) < 80:
        pytest.skip("these tiles are of Ampere and later")
    rng, depth = np.random.default_rng(0), 8 * precision
    a, b, c = (rng.integers(-99, 99, size).astype(np.float32) for size in ((16, depth), (8, depth), (16, 8)))
    in_words, lane, i = (words(a, precision), words(b, precision)), np.arange(32)[:, None], np.arange(4)
    of_a = in_words[0][lane // 4 + 8 * (i % 2), lane % 4 + 4 * (i // 2)]
    of_b = in_words[1][lane // 4, lane % 4 + 4 * i[:2]]
    of_d = lane // 4 + 8 * (i // 2), 2 * (lane % 4) + i % 2
    options = ("-std=c++17", f"-DPRECISION={precision}")
    kernel = cupy.RawModule(code=source("tensor_cores.cuh") + _KERNEL, options=options).get_function("multiply")
    d = cupy.asarray(c[of_d])
    kernel((1,), (32,), (cupy.asarray(of_a), cupy.asarray(of_b), d))
    np.testing.assert_array_equal(d.get(), (c + a @ b.T)[of_d])
