"""Rows added to tables in place."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from portable_nn.kernels.numpy import rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_public_functions_of_scipy_alone(dtype, monkeypatch, request):
    request.addfinalizer(rows._sparse_loop.cache_clear)
    rng = np.random.default_rng(0)
    table, indices = rng.standard_normal((9, 4)).astype(dtype), rng.integers(0, 9, 15).astype(np.uint8)
    coefficients, vectors = rng.standard_normal((5, 3)).astype(dtype), rng.standard_normal((5, 4)).astype(dtype)
    expected = table.copy()
    np.add.at(expected, indices, -0.5 * (coefficients[:, :, None] * vectors[:, None]).reshape(15, 4))
    for hidden in (False, True):
        rows._sparse_loop.cache_clear()
        if hidden:
            monkeypatch.setitem(sys.modules, "scipy.sparse._sparsetools", None)
        assert (rows._sparse_loop() is None) is hidden
        found = table.copy()
        rows.add_rows(found, indices, coefficients, vectors, factor=-0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
