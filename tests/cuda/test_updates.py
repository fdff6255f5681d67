"""Optimiser updates on CuPy against those on NumPy: every rule, missing gradients, rows, clipping, latches, scales."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from portable_nn import ArgumentError, NonFiniteError, layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.autodiff.row_sparse import RowSparse
from tests.helpers import to_numpy

RULES: dict[str, Any] = {
    "adam": lambda p, **o: optim.Adam(p, lr=0.01, **o),
    "adam decayed": lambda p, **o: optim.Adam(p, lr=0.01, weight_decay=0.1, **o),
    "amsgrad": lambda p, **o: optim.AdamW(p, lr=0.01, amsgrad=True, **o),
    "sgd": lambda p, **o: optim.SGD(p, lr=0.1, weight_decay=0.1, **o),
    "momentum": lambda p, **o: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, **o),
    "averaged": lambda p, **o: optim.SGD(p, lr=0.1, momentum=0.9, averaged=True, **o),
    "nesterov": lambda p, **o: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, **o),
    "rmsprop": lambda p, **o: optim.RMSprop(p, lr=0.01, weight_decay=0.1, **o),
    "rmsprop momentum": lambda p, **o: optim.RMSprop(p, lr=0.01, momentum=0.5, **o),
    "rmsprop centered": lambda p, **o: optim.RMSprop(p, lr=0.01, centered=True, **o),
    "rmsprop both": lambda p, **o: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5, **o),
    "lion": lambda p, **o: optim.Lion(p, lr=0.01, weight_decay=0.1, **o),
}
#: A scalar, one element, less and more than a block's chunk, none.
SHAPES = ((), (1,), (3, 7), (2049,), (41, 130), (0, 4), (5,))


def parameters(device: str, dtype: str, shapes: Any = SHAPES) -> list[layers.Parameter]:
    found = []
    for number, shape in enumerate(shapes):
        parameter = layers.Parameter(shape, layers.initializers.zeros, dtype)
        parameter.data = moved(np.random.default_rng(number).normal(size=shape).astype(dtype), device)
        parameter.name = f"p{number}"
        found.append(parameter)
    return found


def moved(x: np.ndarray, device: str) -> Any:
    if device == "cpu":
        return x
    import cupy

    return cupy.asarray(x)


def train(device: str, rule: str, dtype: str, steps: int = 4, latched: bool = False, **options: Any) -> Any:
    members = parameters(device, dtype)
    optimizer = RULES[rule](members, **options)
    latch = optimizer.make_latch() if latched else None
    rng = np.random.default_rng(1)
    for step in range(steps):
        gradients = [moved(np.asarray(rng.normal(size=p.shape), dtype=dtype), device) for p in members]
        if step == 1:  # from here on one of them is a step behind
            gradients[2] = None
        if step == 2 and device != "cpu":  # not in a row of memory
            gradients[4] = moved(np.ascontiguousarray(to_numpy(gradients[4]).T), device).T
        optimizer.step(gradients, latch=latch)
    assert (optimizer._device is not None) == (device != "cpu")
    state = optimizer.state_dict()["state"]
    moments = [to_numpy(x) for kept in state.values() for name, x in kept.items() if name != "step"]
    return [to_numpy(p.data) for p in members] + moments


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("rule", RULES)
def test_as_on_numpy(gpu: Any, rule: str, clip: float | None, dtype: str) -> None:
    expected = train("cpu", rule, dtype, clip_norm=clip)
    for latched in (False, True):
        found = train("cuda:0", rule, dtype, clip_norm=clip, latched=latched)
        for x, y in zip(found, expected, strict=True):
            assert x.dtype == y.dtype
            unit = 1e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(x, y, rtol=20 * unit, atol=unit * max(1.0, np.max(np.abs(y), initial=0.0)))


def test_any_order_of_threads(gpu: Any, order: int) -> None:
    expected = train("cpu", "amsgrad", "float32", clip_norm=0.5)
    for x, y in zip(train("cuda:0", "amsgrad", "float32", clip_norm=0.5, latched=True), expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
    test_rows(gpu, "SparseAdam", 0.5)


def test_more_parameters_than_one_table_takes(gpu: Any) -> None:
    found = []
    for device in ("cpu", "cuda:0"):
        members = parameters(device, "float32", [(3,)] * 230)
        optimizer = optim.AdamW(members, lr=0.1, clip_norm=0.1)
        for step in range(2):
            optimizer.step([moved(np.full(3, i + step + 1, dtype=np.float32), device) for i in range(230)])
        found.append(np.concatenate([to_numpy(p.data) for p in members]))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("kind", ["SGD", "SparseAdam"])
def test_many_rows(gpu: Any, kind: str, clip: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if they were too many to be sorted by one block."""
    from portable_nn.kernels.cupy import scatter

    monkeypatch.setattr(scatter, "FEW", 5)
    test_rows(gpu, kind, clip)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("kind", ["SGD", "SparseAdam"])
def test_rows(gpu: Any, kind: str, clip: float | None) -> None:
    """Row-sparse gradients with repeated rows, beside a dense parameter, and a dense gradient for the table."""
    found = []
    for device in ("cpu", "cuda:0"):
        rng = np.random.default_rng(0)
        table, dense = parameters(device, "float32", [(11, 300), (4, 5)])
        table.row_sparse = True
        optimizer = getattr(optim, kind)([table, dense], lr=0.1, clip_norm=clip)
        for count in (7, 300, 1, 0, None):
            if count is None:
                g = moved(rng.normal(size=(11, 300)).astype(np.float32), device)
            else:
                g = RowSparse(moved(rng.integers(0, 11, count), device),
                              moved(rng.normal(size=(count, 300)).astype(np.float32), device), (11, 300))
            optimizer.step([g, moved(rng.normal(size=(4, 5)).astype(np.float32), device)])
        found.append([to_numpy(table.data), to_numpy(dense.data)])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["SGD", "SparseAdam"])
def test_rows_of_several_tables(gpu: Any, kind: str, order: int) -> None:
    """Of many tables of several widths, in one launch; some without a gradient, or with a dense one, some behind."""
    shapes = [(9, 4), (7, 5), (1, 1), (30, 260), (0, 3), *((6, 3 + i) for i in range(6))]
    found = []
    for device in ("cpu", "cuda:0"):
        rng = np.random.default_rng(0)
        tables = parameters(device, "float32", shapes)
        for table in tables:
            table.row_sparse = True
        optimizer = getattr(optim, kind)(tables, lr=0.1)
        for step in range(3):
            gradients: list[Any] = []
            for number, shape in enumerate(shapes):
                count = int(rng.integers(1, 40)) if shape[0] else 0
                indices, rows = rng.integers(0, max(shape[0], 1), count), rng.normal(size=(count, shape[1]))
                g = moved(rng.normal(size=shape).astype(np.float32), device) if number == step + 5 else RowSparse(
                    moved(indices, device), moved(rows.astype(np.float32), device), shape)
                gradients.append(None if (number + step) % 4 == 3 else g)
            optimizer.step(gradients)
        found.append([to_numpy(table.data) for table in tables])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5)


def test_the_table_at_fault_is_named(gpu: Any) -> None:
    tables = parameters("cuda:0", "float32", [(3, 4), (5, 4)])
    for table in tables:
        table.row_sparse = True
    optimizer = optim.SGD(tables, lr=0.1)
    latch = optimizer.make_latch()
    rows = np.zeros((40, 4), dtype=np.float32)
    bad = rows.copy()
    bad[3, 1] = np.nan
    indices = moved(np.arange(40) % 3, "cuda:0")
    optimizer.step([RowSparse(indices, moved(rows, "cuda:0"), (3, 4)),
                    RowSparse(indices, moved(bad, "cuda:0"), (5, 4))], latch=latch)
    assert latch.report()[2] == 1


def test_the_latch_over_two_dtypes_and_missing_gradients(gpu: Any) -> None:
    import cupy

    for bad in range(5):
        members = [parameters("cuda:0", ("float32", "float64")[number % 2], [(number + 1,)])[0] for number in range(5)]
        for number, parameter in enumerate(members):
            parameter.data, parameter.name = cupy.zeros(number + 1, dtype=parameter.dtype_name), f"p{number}"
        optimizer = optim.SGD(members, lr=1.0)
        latch = optimizer.make_latch()
        for step in range(3):
            for number, parameter in enumerate(members):
                g = np.zeros(parameter.shape, dtype=parameter.dtype_name)
                if step == 2 or step == 1 and number == bad:
                    g[-1] = np.inf
                parameter.grad = None if number == (bad + 1) % 5 else cupy.asarray(g)
            latch.see_loss(cupy.asarray(0.5, dtype=cupy.float32))
            optimizer.step(latch=latch)
        assert latch.report() == (2, 0.5, bad)
        assert all(np.all(to_numpy(p.data) == 0) for p in members)
        optimizer.release()


def test_bad_gradients_are_refused_before_anything_changes(gpu: Any) -> None:
    members = parameters("cuda:0", "float32")
    optimizer = optim.AdamW(members)
    gradients = [moved(np.zeros(p.shape, dtype=np.float32), "cuda:0") for p in members]
    optimizer.step(gradients)
    before = [to_numpy(p.data).copy() for p in members]
    gradients[2][1, 3] = np.nan
    with pytest.raises(NonFiniteError, match="p2"):
        optimizer.step(gradients, check_finite=True)
    for x, p in zip(before, members, strict=True):
        np.testing.assert_array_equal(x, to_numpy(p.data))


def test_loss_scaling(gpu: Any) -> None:
    """Overflows are passed over and halve the scale; finite steps double it; results are those without a scale."""
    import cupy

    expected = train("cpu", "adam", "float32", clip_norm=0.5)
    members = parameters("cuda:0", "float32")
    optimizer = RULES["adam"](members, clip_norm=0.5)
    scaler = optim.LossScaler(optimizer, 1024.0, interval=2)
    scales, rng = [], np.random.default_rng(1)
    for step in range(4):
        gradients = [np.asarray(rng.normal(size=p.shape), dtype=np.float32) for p in members]
        if step == 1:
            gradients[2] = None
        scale = to_numpy(scaler.scale(Tensor(cupy.asarray(1.0, dtype=cupy.float32)))).item()
        scales.append(scale)
        optimizer.step([None if g is None else moved(g * np.float32(scale), "cuda:0") for g in gradients])
    for x, p in zip(expected, members, strict=False):
        np.testing.assert_allclose(to_numpy(p.data), x, rtol=1e-4, atol=1e-6)
    assert scales == [1024, 1024, 2048, 2048]
    before = to_numpy(members[0].data).copy()
    optimizer.step([moved(np.full(p.shape, np.inf, dtype=np.float32), "cuda:0") for p in members])
    np.testing.assert_array_equal(to_numpy(members[0].data), before)
    assert to_numpy(scaler.scale(Tensor(cupy.asarray(1.0, dtype=cupy.float32)))).item() == 2048


def test_a_copy_does_not_count_what_was_passed_over(gpu: Any) -> None:
    model = layers.Linear(4, 3).initialize(0).to("cuda:0")
    optimizer = optim.Adam(model.parameters())
    optim.LossScaler(optimizer)
    for factor in (1.0, math.inf):
        for p in model.parameters():
            p.grad = p.data * np.float32(factor)
        optimizer.step()
    assert copy.deepcopy(optimizer).steps == 1 == optimizer.steps


def test_a_loss_scaler_is_for_gpus() -> None:
    with pytest.raises(ArgumentError, match="on one GPU"):
        optim.LossScaler(optim.SGD(parameters("cpu", "float32")))


def test_definitions_in_place_of_kernels(gpu: Any) -> None:
    """An optimiser goes over to the definitions, and back, with its moments."""
    from portable_nn import kernels

    found = []
    for disabled in (False, True):
        members = parameters("cuda:0", "float32")
        optimizer, rng = RULES["adam"](members), np.random.default_rng(1)
        for step in range(4):
            gradients = [moved(np.asarray(rng.normal(size=p.shape), dtype=np.float32), "cuda:0") for p in members]
            if disabled and step == 2:
                with kernels.disabled():
                    optimizer.step(gradients)
            else:
                optimizer.step(gradients)
        found.append(np.concatenate([to_numpy(p.data).ravel() for p in members]))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
