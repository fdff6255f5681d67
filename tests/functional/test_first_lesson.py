"""The numbers that a first course on networks works out by hand."""

from __future__ import annotations

import numpy as np

from portable_nn import functional
from portable_nn.autodiff import elementwise_grad
from tests.helpers import Backend, to_numpy


def test_activations_and_their_slopes(backend: Backend) -> None:
    x = backend.asarray(np.asarray([-2.0, -1.0, 0.0, 1.0, 2.0]), "float32")
    np.testing.assert_array_equal(to_numpy(functional.relu(x)), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(to_numpy(elementwise_grad(functional.relu)(x)), [0, 0, 0, 1, 1])
    np.testing.assert_allclose(to_numpy(elementwise_grad(functional.tanh)(x)), [0.0707, 0.42, 1, 0.42, 0.0707],
                               atol=5e-5)
