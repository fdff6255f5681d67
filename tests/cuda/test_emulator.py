"""The emulator itself: it must refuse what would fail on a GPU, or nothing that passes in it means anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn.kernels import available

SOURCE = r"""
extern "C" __global__ void diverge(float* x) { if (threadIdx.x < 3) __syncthreads(); }
extern "C" __global__ void two_places(float* x) {
    if (threadIdx.x < 3) __syncthreads();
    else __syncthreads(); x[0] = 1;
}
extern "C" __global__ void lost_lane(float* x) {
    if (threadIdx.x == 5) return;
    x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
extern "C" __global__ void other_mask(float* x) {
    x[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u, 1.0f, 1);
}
extern "C" __global__ void beyond(float* x, long long count) { x[count] = 1; }
extern "C" __global__ void before(float* x) { x[-1] = 1; }
extern "C" __global__ void past_shared(float* x) {
    extern __shared__ float memory[];
    memory[16] = 1;
}
extern "C" __global__ void unwritten(float* x) {
    __shared__ float memory[32];
    x[threadIdx.x] = memory[threadIdx.x];
    __syncthreads();
    memory[threadIdx.x] = 1;
}
extern "C" __global__ void racing(float* x) {
    __shared__ float memory[64];
    memory[threadIdx.x] = threadIdx.x;
    x[threadIdx.x] = memory[63 - threadIdx.x];  // without a barrier
}
extern "C" __global__ void unsynchronised_warp(float* x) {
    __shared__ float memory[32];
    memory[threadIdx.x] = threadIdx.x;
    x[threadIdx.x] = memory[31 - threadIdx.x];  // threads of a warp need not move in step
}
extern "C" __global__ void votes(int* x) {
    unsigned even = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 0);
    unsigned same = __match_any_sync(0xffffffffu, threadIdx.x / 3);
    x[threadIdx.x] = __popc(even) + 100 * __popc(same) + 10000 * __any_sync(0xffffffffu, threadIdx.x == 9)
        + 100000 * __all_sync(0xffffffffu, threadIdx.x < 31) + 1000000 * __shfl_sync(0xffffffffu, threadIdx.x, 3);
}
"""


@pytest.fixture
def kernel(gpu: Any) -> Any:
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("a GPU is here")
    code = SOURCE.replace("extern __shared__ float memory[];", "DYNAMIC_SHARED(float, memory);")
    return cupy.RawModule(code=code).get_function


def launch(kernel: Any, name: str, *others: Any, size: int = 64, dtype: str = "f", shared: int = 0,
           block: int = 64) -> np.ndarray:
    import cupy

    x = cupy.zeros(size, dtype)
    kernel(name)((1,), (block,), (x, *others), shared_mem=shared)
    return x.get()


@pytest.mark.parametrize(("name", "others", "words"), [
    ("diverge", (), "do not meet: thread 0 waits at __syncthreads of line 2, thread 3 has ended"),
    ("two_places", (), "thread 0 waits at __syncthreads of line 4, thread 3 waits at __syncthreads of line 5"),
    ("lost_lane", (), "waits at __shfl_xor_sync"), ("other_mask", (), "waits at __shfl_xor_sync"),
    ("beyond", (64,), r"wrote outside of its argument 0, an array \(64,\) float32"), ("before", (), "wrote outside"),
    ("past_shared", (), "past the 64 bytes of dynamic shared memory"),
    ("beyond", (64.0,), r"beyond takes \*f q, but was given \*f d"), ("beyond", (), r"takes \*f q"),
    ("beyond", (np.int32(3),), r"given \*f i")])
def test_what_would_fail_on_a_gpu_fails(kernel: Any, name: str, others: tuple, words: str) -> None:
    from tests.cuda.emulation.build import EmulationError

    with pytest.raises(EmulationError, match=words):
        launch(kernel, name, *others, shared=64)


@pytest.mark.parametrize(("bad", "error"), [(None, TypeError), (True, TypeError), (np.zeros(3), TypeError)])
def test_arguments_that_cupy_does_not_pass(kernel: Any, bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        launch(kernel, "beyond", bad)


def test_memory_holds_nothing_sensible(kernel: Any) -> None:
    import cupy

    assert np.isnan(launch(kernel, "unwritten", size=32, block=32)).all()
    assert np.isnan(launch(kernel, "unwritten", size=32, block=32)).all()
    assert np.isnan(cupy.empty(9, "f").get()).all()


@pytest.mark.parametrize("name", ["racing", "unsynchronised_warp"])
def test_a_race_shows_in_another_order(kernel: Any, name: str) -> None:
    import cupy._raw

    size = 64 if name == "racing" else 32
    found = []
    for order in (0, 1):
        cupy._raw.order = order
        found.append(launch(kernel, name, size=size, block=size))
    cupy._raw.order = 0
    assert not np.array_equal(found[0], found[1], equal_nan=True)


def test_votes(kernel: Any) -> None:
    got = launch(kernel, "votes", size=32, dtype="i", block=32)
    np.testing.assert_array_equal(got, 16 + 100 * np.array([3] * 30 + [2] * 2) + 10_000 + 3_000_000)


def test_launches_that_cuda_refuses(kernel: Any) -> None:
    import cupy
    from cupy._device import CUDARuntimeError

    from tests.cuda.emulation.build import EmulationError

    with pytest.raises(EmulationError, match="257 threads in a block, and it is compiled for 256"):
        launch(kernel, "before", block=257)
    with pytest.raises(CUDARuntimeError, match="InvalidConfiguration"):
        kernel("before")((1, 70_000), (1,), (cupy.zeros(1, "f"),))
    with pytest.raises(CUDARuntimeError, match="49152"):
        launch(kernel, "past_shared", shared=50_000)


def test_half_precision_is_numpys(gpu: Any) -> None:
    """Every float16 comes back as it is, and float32 numbers are rounded as NumPy rounds them."""
    import cupy

    relu = next(k for k in available("cupy") if k.operation == "leaky_relu")
    every = np.arange(65_536, dtype=np.uint16).view(np.float16)
    every = every[~np.isnan(every)]
    out = relu.forward(cupy.asarray(every), negative_slope=1.0)[0].get()
    np.testing.assert_array_equal(out, every)
    third = relu.forward(cupy.asarray(every), negative_slope=1 / 3)[0].get()
    negative = every < 0
    expected = (every[negative].astype(np.float32) * np.float32(1 / 3)).astype(np.float16)
    np.testing.assert_array_equal(third[negative], expected)
