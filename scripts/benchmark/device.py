"""Our side's questions to the machine: how fast it multiplies and moves bytes, and the memory of a GPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

#: Rows of the square matrices that are multiplied, and how long, seconds.
SIZES, LONG = {"cpu": 2048, "cuda": 8192}, 0.5
#: Bytes that are too many for a GPU's cache.
_MANY = 1 << 29


def best_time(run: Callable[[], Any], wait: Callable[[], Any], long: float = LONG) -> float:
    """The least seconds of a run, over runs for so long."""
    run()
    wait()
    times: list[float] = []
    end = time.perf_counter() + long
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


def product_rate(device: str, precision: str) -> float:
    """Operations a second of one large product; for tf32 CuPy reads CUPY_TF32, which `comparing` sets."""
    size, wait = SIZES[device], lambda: None
    x = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    if device == "cuda":
        import cupy

        x, wait = cupy.asarray(x), cupy.cuda.runtime.deviceSynchronize
        if precision == "bfloat16":
            import ml_dtypes

            x = x.astype(ml_dtypes.bfloat16)
    return 2.0 * size**3 / best_time(lambda: x @ x, wait)


def bandwidth(device: str, distinct: float, threads: int) -> float:
    """Bytes a second, read and written in place over so many distinct ones, as optimisers do.

    On a GPU they are always more than its cache holds.
    """
    if device == "cuda":
        import cupy

        x = cupy.ones(_MANY // 4, dtype=cupy.float32)
        return 2.0 * _MANY / best_time(lambda: cupy.multiply(x, cupy.float32(1), out=x),
                                       cupy.cuda.runtime.deviceSynchronize)
    count = max(int(distinct) // 4 // threads, 1024)
    parts = [np.ones(count, dtype=np.float32) for _ in range(threads)]
    rounds = max(1, (1 << 20) // count)  # short runs would time the threads' start

    def work(part: np.ndarray) -> None:
        for _ in range(rounds):
            np.multiply(part, np.float32(1), out=part)

    with ThreadPoolExecutor(threads) as pool:
        run = (lambda: list(pool.map(work, parts))) if threads > 1 else (lambda: work(parts[0]))
        seconds = best_time(run, lambda: None, LONG / 2)
    return 2.0 * 4 * count * rounds * threads / seconds


def release() -> None:
    """Give back the memory that is kept to be used again, on the host and on a GPU."""
    import sys

    from portable_nn.kernels.numpy import buffers

    gc.collect()
    buffers.clear()
    if "cupy" in sys.modules:
        import cupy

        cupy.get_default_memory_pool().free_all_blocks()


def level() -> float:
    """Bytes of the GPU that this process holds; nothing else runs on it then."""
    import cupy

    cupy.cuda.runtime.deviceSynchronize()
    free, total = cupy.cuda.runtime.memGetInfo()
    return float(total - free)


def forget_peak() -> None:
    """What a pool was given it keeps, so the level is the peak."""


peak = level
