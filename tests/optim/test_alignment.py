"""Parameters of odd sizes: each begins at a multiple of 16 bytes, and what lies between them is always zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from tests.helpers import Backend, dtype_name, to_numpy
from tests.optim.specs import CASES, Case


def make_model(backend: Backend, dtype: Any) -> Any:
    model = layers.Sequential(layers.Linear(13, 10), layers.Tanh(), layers.Linear(10, 7), layers.Tanh(),
                              layers.Linear(7, 3))
    return model.to(backend.device, xp=backend.xp, dtype=dtype_name(dtype)).initialize(0)


def address(x: Any) -> int:
    if hasattr(x, "_array"):
        x = x._array
    return x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr


def learn(model: Any, optimizer: Any, backend: Backend, dtype: Any, seed: int) -> None:
    optimizer.zero_grad()
    x = np.random.default_rng(seed).normal(size=(5, 13))
    (model(Tensor(backend.asarray(x, dtype))) ** 2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("double", [False, True])
def test_addresses(backend: Backend, double: bool) -> None:
    dtype = backend.float_dtypes[-1 if double else 0]
    model = make_model(backend, dtype)
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    learn(model, optimizer, backend, dtype, 0)
    arrays = [x for p in model.parameters() for x in (p.data, p.grad)]
    for run, *_ in optimizer._runs:
        arrays += [run._view(x, i) for x in run.arrays if x.shape[0] for i in range(len(run.parameters))]
    assert len(arrays) >= 4 * 6
    assert [address(x) % 16 for x in arrays] == [0] * len(arrays)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_gaps_stay_zero(backend: Backend, case: Case, clip: float | None) -> None:
    dtype = backend.float_dtype
    model = make_model(backend, dtype)
    optimizer = case.kind(model.parameters(), clip_norm=clip, **case.options)
    for seed in range(4):
        learn(model, optimizer, backend, dtype, seed)
    [(run, *_)] = optimizer._runs
    gaps = np.ones(run.offsets[-1], dtype=bool)
    for offset, parameter in zip(run.offsets, run.parameters):
        gaps[offset:offset + parameter.size] = False
    assert np.sum(gaps)
    for x in run.arrays:
        if x.shape[0]:
            assert np.all(to_numpy(x)[gaps] == 0) and np.any(to_numpy(x)[~gaps])


@pytest.mark.parametrize("kind", [optim.Adam, optim.RMSprop])
def test_an_eps_of_0_divides_no_gap_by_zero(kind: Any) -> None:
    members = [layers.Parameter((3,), layers.initializers.ones, "float32") for _ in range(3)]
    for parameter in members:
        parameter.data = np.ones(3, dtype=np.float32)
    optimizer = kind(members, lr=0.25, eps=0.0)
    optimizer.step([np.full(3, 2.0, dtype=np.float32), None, np.full(3, -1.0, dtype=np.float32)])
    optimizer.step([np.full(3, 2.0, dtype=np.float32)] * 3)
    for array in optimizer._runs[0][0].arrays:
        assert np.all(np.isfinite(array)) and np.all(array[[3, 7]] == 0)


def test_parameters_of_integers_have_a_place() -> None:
    members = [layers.Parameter((3,), layers.initializers.ones, dtype) for dtype in ("int8", "int32", "float32")]
    for parameter in members:
        parameter.data = np.ones(3, dtype=parameter.dtype_name)
    optim.SGD(members, lr=0.5).step([None, None, np.ones(3, dtype=np.float32)])
    assert [list(p.data) for p in members] == [[1, 1, 1], [1, 1, 1], [0.5, 0.5, 0.5]]


def test_the_parameter_at_fault_is_named(backend: Backend) -> None:
    dtype = backend.float_dtype
    for bad in range(6):
        model = make_model(backend, dtype)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        latch = optimizer.make_latch()
        for number, parameter in enumerate(model.parameters()):
            g = np.zeros(parameter.shape)
            if number >= bad:
                g[..., -1] = np.nan
            parameter.grad = backend.asarray(g, dtype)
        optimizer.step(latch=latch)
        assert latch.report().parameter == bad
