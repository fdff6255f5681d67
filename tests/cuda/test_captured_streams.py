"""Captured steps, streams and threads: what a graph works in is its own, and lives as long as the graph."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import portable_nn as pnn
from portable_nn import optim
from tests.cuda.steps import Model, assert_same, batches, everything, make_step, recordable_products
from tests.helpers import to_numpy


@pytest.fixture
def device(gpu: Any) -> Iterator[str]:
    with recordable_products():
        yield "cuda:0"


def training(seed: int, *, capture: bool) -> tuple[Any, Any, Any]:
    model = Model().initialize(seed).to("cuda:0")
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    step = make_step(model, optimizer)
    return model, optimizer, pnn.capture(step) if capture else step


def in_thread(function: Any) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
    gc.collect()


def test_replays_after_the_recording_thread_has_ended(device: str) -> None:
    given, found = list(batches(12)), []
    for capture in (False, True):
        model, optimizer, step = training(0, capture=capture)
        losses: list[float] = []

        def run(part: Any, step: Any = step, losses: list[float] = losses) -> None:
            losses.extend(to_numpy(step(x, y)).item() for x, y in part)

        in_thread(lambda run=run: run(given[:5]))
        in_thread(lambda run=run: run(given[5:9]))
        run(given[9:])
        found.append({**everything(model, optimizer), "losses": losses})
    assert step.recorded == 1
    assert_same(*found)


def test_warm_ups_of_one_thread_do_not_serve_another(device: str) -> None:
    """Handles of cuBLAS and plans of cuDNN belong to threads, and cannot be made while a step is recorded."""
    given, found = list(batches(5)), []
    for capture in (False, True):
        model, optimizer, step = training(0, capture=capture)
        for x, y in given:
            in_thread(lambda step=step, x=x, y=y: step(x, y))
        for x, y in given:
            step(x, y)
        found.append(everything(model, optimizer))
    assert step.recorded == 1
    assert_same(*found)


def test_two_steps_on_two_streams_of_one_thread(device: str) -> None:
    import cupy

    given, found = list(batches(12)), []
    for capture in (False, True):
        streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        cupy.cuda.Stream.null.synchronize()
        steps = []
        for seed, stream in enumerate(streams):
            with stream:
                steps.append(training(seed, capture=capture))
        for x, y in given:
            for stream, (_, _, step) in zip(streams, steps, strict=True):
                with stream:
                    step(x, y)
        for stream in streams:
            stream.synchronize()
        found.append([everything(model, optimizer) for model, optimizer, _ in steps])
    own = [next(iter(step._graphs.values()))._stream.workspace for _, _, step in steps]
    assert len({x.ptr for x in own}) == 2
    for pair in zip(*found, strict=True):
        assert_same(*pair)


def test_one_step_on_two_streams_in_turn(device: str) -> None:
    """The graphs of a step share memory, so a launch on another stream waits for the one before."""
    import cupy

    found = []
    for capture in (False, True):
        streams = [cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream.null]
        model, optimizer, step = training(0, capture=capture)
        cupy.cuda.Stream.null.synchronize()
        for i, (x, y) in enumerate(batches(12)):
            with streams[i % 2]:
                step(x, y)
            streams[i % 2].synchronize()
        found.append(everything(model, optimizer))
    assert_same(*found)


def test_products_of_two_streams_work_in_different_memory(device: str) -> None:
    import cupy

    from portable_nn.kernels.cupy import blas

    first = blas.handle().workspace
    with cupy.cuda.Stream(non_blocking=True):
        second = blas.handle().workspace
        assert second is blas.handle().workspace
    assert first is blas.handle().workspace and first.ptr != second.ptr
    per_thread: list[int] = []

    def look() -> None:
        with cupy.cuda.Stream.ptds:
            per_thread.append(blas.handle().workspace.ptr)

    look()
    in_thread(look)
    assert per_thread[0] != per_thread[1]
    for _ in range(2 * blas._workspaces.most):
        with cupy.cuda.Stream(non_blocking=True):
            assert blas.handle().workspace.ptr != first.ptr
    assert len(blas._workspaces.kept) <= blas._workspaces.most


def test_what_lasts_is_not_in_the_memory_of_graphs(device: str) -> None:
    """Graphs of other shapes write to what is free there; and all of it is given back with the last of them."""
    import cupy

    model, optimizer, step = training(0, capture=True)
    for x, y in batches(12):
        step(x, y)
    pool = next(iter(step._graphs.values()))._pool
    total = pool.total_bytes()
    made = optimizer.state_dict()
    optimizer.zero_grad()
    if hasattr(cupy, "is_stand_in"):
        kept = [*model.state_dict().values(), *(run.arrays[2] for run, _, _ in optimizer._runs)]
        assert all(x._piece.pool is not pool for x in kept)
    del step
    gc.collect()
    assert pool.total_bytes() < total
    for name, x in optimizer.state_dict()["state"][0].items():
        assert name == "step" or to_numpy(x).tolist() == to_numpy(made["state"][0][name]).tolist()
