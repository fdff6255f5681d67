"""The multi-layer perceptron: its formula, what it refuses, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import Tensor, array_namespace
from portable_nn.backend.errors import ArgumentError
from portable_nn.models import MLP
from tests.helpers import to_numpy


def test_the_formula(backend, rng):
    model = MLP([4, 6, 5, 2], activation="tanh").initialize(3)
    state = model.state_dict()
    x = rng.normal(size=(3, 4)).astype(np.float32)
    expected = x
    for i in (0, 3, 6):  # linear, activation, dropout, linear, …
        expected = expected @ state[f"steps.{i}.weight"].T + state[f"steps.{i}.bias"]
        expected = expected if i == 6 else np.tanh(expected)
    model.to(backend.device, xp=backend.xp)
    backend.assert_close(model(backend.asarray(x)), expected, rtol=1e-5)


def test_intermediates_on_request(backend, rng):
    model = MLP([4, 6, 5, 2], activation="relu", dropout=0.5).initialize(3).eval()
    model.to(backend.device, xp=backend.xp)
    x = backend.asarray(rng.normal(size=(3, 4)).astype(np.float32))
    y, steps = model(x, intermediates=True)
    backend.assert_close(y, model(x), rtol=0, atol=0)
    assert [tuple(step.output.shape) for step in steps] == [(3, 6), (3, 5), (3, 2)]
    for step in steps[:-1]:
        backend.assert_close(step.output, np.maximum(to_numpy(step.affine), 0), rtol=0, atol=0)
    assert steps[-1].output is steps[-1].affine
    out, _ = model.train()(Tensor(x), intermediates=True)                     # recorded as a plain call is
    array_namespace(out).sum(out * out).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_parameter_gets_a_gradient():
    model = MLP([3, 8, 2], activation="gelu", dropout=0.25)
    out = model(Tensor(np.ones((5, 3), dtype=np.float32)))
    array_namespace(out).sum(out * out).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_config_builds_the_same():
    model = MLP((3, 4, 2), activation="sigmoid", dropout=0.5)
    assert repr(MLP(**model.config())) == repr(model)


@pytest.mark.parametrize("arguments", [
    {"sizes": [3]}, {"sizes": "34"}, {"sizes": [3, 0]}, {"sizes": [3, 2.0]}, {"sizes": 3}, {"sizes": [True, 2]},
    {"sizes": [3, 4, 2], "activation": "swish"}, {"sizes": [3, 4, 2], "dropout": 2.0},
])
def test_what_it_refuses(arguments):
    with pytest.raises(ArgumentError, match="expected"):
        MLP(**arguments)
