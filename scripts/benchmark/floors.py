"""How fast this machine multiplies, and moves bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

#: Rows of the square matrices that are multiplied, and how long, seconds.
SIZES, LONG = {"cpu": 2048, "cuda": 8192}, 0.5


def best_time(run: Callable[[], Any], wait: Callable[[], Any], long: float = LONG) -> float:
    """The least seconds of a run, over runs for so long."""
    run()
    wait()
    times = []
    end = time.perf_counter() + long
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


def product_rate(library: Any, device: str, precision: str) -> float:
    """Operations a second of one large product, as a contender's module multiplies."""
    size = SIZES[device]
    values = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    run, wait = library.make_product(values, device, precision)
    return 2.0 * size**3 / best_time(run, wait)


def bandwidth(distinct: float, threads: int) -> float:
    """Bytes a second on the host, read and written in place over so many distinct ones, as optimisers do."""
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
