"""The scaler: NumPy's mean and deviation, undone exactly enough, on every backend."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, FileError, ShapeError
from portable_nn.data import Scaler


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=8),
                  elements=st.floats(-1e6, 1e6).map(lambda v: round(v, 3))))
def test_standardises_and_undoes(x):
    scaler = Scaler().fit(x)
    z = scaler.transform(x)
    scale = 1 + np.abs(x).max()
    np.testing.assert_allclose(scaler.inverse(z), x, atol=1e-12 * scale)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-3)  # 1e-12 · 1e6 of rounding, over a deviation of 1e-3
    varies = np.atleast_1d(x.max(axis=0) > x.min(axis=0))
    np.testing.assert_allclose(np.atleast_1d(z.std(axis=0))[varies], 1, rtol=1e-4)
    assert scaler.constant_columns == list(np.flatnonzero(~varies))


def test_on_every_backend(backend):
    x = np.random.default_rng(0).normal(3, 5, size=(50, 2))
    scaler = Scaler().fit(x)
    wide = backend.asarray(x[:6].reshape(3, 2, 2), "float32")
    want = ((x[:6] - x.mean(axis=0)) / x.std(axis=0)).reshape(3, 2, 2).astype(np.float32)
    backend.assert_close(scaler.transform(wide), want)
    backend.assert_close(scaler.inverse(scaler.transform(wide)), x[:6].reshape(3, 2, 2).astype(np.float32))
    column = scaler.column(1)
    backend.assert_close(column.inverse(backend.asarray(want[..., 1])), x[:6, 1].reshape(3, 2).astype(np.float32))
    integers = scaler.transform(backend.asarray(np.asarray([[1, 2]])))
    assert backend.xp.isdtype(integers.dtype, "real floating")


def test_a_constant_column_is_only_centred():
    x = np.full((7, 2), 0.1)
    x[:, 1] = np.arange(7)
    scaler = Scaler().fit(x)
    assert scaler.constant_columns == [0] and scaler.deviation[0] == 0
    np.testing.assert_allclose(scaler.transform(np.asarray([[0.1, 3.0], [1.1, 3.0]])), [[0, 0], [1, 0]], atol=1e-15)


def test_state_round_trip():
    for x in (np.arange(5.0), np.arange(10.0).reshape(5, 2)):
        scaler = Scaler().fit(x)
        config, arrays = scaler.state()
        again = Scaler.from_state(json.loads(json.dumps(config)), {k: v.copy() for k, v in arrays.items()})
        np.testing.assert_array_equal(again.transform(x), scaler.transform(x))
    assert repr(Scaler()) == "Scaler()" and "mean" in repr(scaler)


@pytest.mark.parametrize("arrays", [
    {}, {"mean": np.zeros(2)}, {"mean": np.zeros(2), "deviation": np.ones(3)},
    {"mean": np.asarray([np.nan]), "deviation": np.ones(1)}, {"mean": np.zeros(1), "deviation": -np.ones(1)},
])
def test_damaged_state(arrays):
    with pytest.raises(FileError, match="mean and deviation"):
        Scaler.from_state({}, arrays)


def test_bad_input():
    x = np.zeros((4, 3))
    x[2, 1] = np.nan
    with pytest.raises(DataError, match="nan in x at row 2, column 1"):
        Scaler().fit(x)
    with pytest.raises(DataError, match="at least one training row"):
        Scaler().fit(x[:0])
    with pytest.raises(DTypeError, match="list"):
        Scaler().fit([1.0])
    with pytest.raises(ShapeError, match=r"\(2, 2, 2\)"):
        Scaler().fit(np.zeros((2, 2, 2)))
    with pytest.raises(ArgumentError, match="Call fit"):
        Scaler().transform(x)
    scaler = Scaler().fit(np.zeros((4, 3)))
    with pytest.raises(ShapeError, match=r"\(\.\.\., 3\).*got \(4, 2\)"):
        scaler.transform(np.zeros((4, 2)))
    with pytest.raises(ArgumentError, match="column 3"):
        scaler.column(3)
