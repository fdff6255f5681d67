"""`Optimizer`: options, groups, state and gradients that do not fit raise, and nothing has changed then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.backend.errors import ArgumentError, DataError, DeviceError, DTypeError, NonFiniteError, ShapeError
from portable_nn.layers import Parameter, initializers


def make(shape: tuple[int, ...] = (2,), name: str = "w") -> Parameter:
    parameter = Parameter(shape, initializers.zeros)
    parameter.data, parameter.name = np.ones(shape, dtype=np.float32), name
    return parameter


w = make()
BAD_OPTIONS = [
    (lambda: optim.SGD([]), "parameters to optimise; got none"),
    (lambda: optim.SGD(w), "a list of Parameters"),
    (lambda: optim.SGD(layers.Linear(2, 1)), "Pass model.parameters"),
    (lambda: optim.SGD([w.data]), "expected Parameters"),
    (lambda: optim.SGD([w, w]), "each parameter once"),
    (lambda: optim.SGD([{"params": [w]}, {"params": [w]}]), "each parameter once"),
    (lambda: optim.SGD([{"params": [w], "betas": (0, 0)}]), "group options among"),
    (lambda: optim.SGD([{"params": [w]}, make()]), "expected Parameters"),
    (lambda: optim.SGD([w], lr=-1), "lr of 0 or more"),
    (lambda: optim.SGD([w], lr=float("nan")), "lr of 0 or more"),
    (lambda: optim.SGD([w], lr=float("inf")), "lr of 0 or more"),
    (lambda: optim.SGD([{"params": w}]), "a list of Parameters"),
    (lambda: optim.SGD([{"params": None}]), "a list of Parameters"),
    (lambda: optim.SGD([w], clip_norm="1"), "clip_norm above 0"),
    (lambda: optim.Adam([w], betas=("a", 0.9)), "two betas"),
    (lambda: optim.clip_grad_norm([w], "1"), "max_norm above 0"),
    (lambda: optim.clip_grad_norm(layers.Linear(2, 1), 1.0), "Pass model.parameters"),
    (lambda: optim.clip_grad_norm([layers.Linear(2, 1)], 1.0), "expected Parameters"),
    (lambda: optim.Step(0.1, every="all"), "every of 1 or more updates"),
    (lambda: optim.Warmup(0.1, steps=1.5), "steps of 0 or more updates"),
    (lambda: optim.Cosine(0.1, steps=0), "steps of 1 or more updates"),
    (lambda: optim.SGD([w], lr="fast"), "lr of 0 or more"),
    (lambda: optim.SGD([w], momentum=-0.1), "momentum of 0 or more"),
    (lambda: optim.SGD([w], nesterov=True), "momentum and no dampening"),
    (lambda: optim.SGD([w], momentum=0.9, averaged=True, nesterov=True), "averaged=True without"),
    (lambda: optim.SGD([w], weight_decay=-1), "weight_decay of 0 or more"),
    (lambda: optim.SGD([w], clip_norm=0), "clip_norm above 0"),
    (lambda: optim.Adam([w], betas=(0.9, 1.0)), "two betas"),
    (lambda: optim.Adam([w], betas=(0.9,)), "two betas"),
    (lambda: optim.AdamW([w], eps=-1e-8), "eps of 0 or more"),
    (lambda: optim.clip_grad_norm([w], 0), "max_norm above 0"),
    (lambda: optim.Step(0.1, every=0), "every of 1 or more"),
    (lambda: optim.Warmup(0.1, steps=-1), "steps of 0 or more"),
    (lambda: optim.Cosine(0.1)(3, None), "a number of steps"),
]


@pytest.mark.parametrize(("call", "words"), BAD_OPTIONS)
def test_bad_options(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()


G = np.ones(2, dtype=np.float32)
BAD_GRADIENTS = [
    ([np.ones(3, dtype=np.float32)], ShapeError, r"gradient of shape \(2,\) for .*w"),
    ([np.ones(2)], DTypeError, "float64"),
    ([G, G], ArgumentError, "1 gradients, one per parameter; got 2"),
    ({"v": G}, ArgumentError, "gradients by the names"),
    ({"w": {"bias": G}}, ArgumentError, r"\['w.bias'\]"),
    (["x"], DTypeError, "gradients that are arrays"),
    ({"w": 1.0}, DTypeError, "gradients that are arrays"),
]


@pytest.mark.parametrize(("gradients", "error", "words"), BAD_GRADIENTS)
def test_bad_gradients(gradients: Any, error: type[Exception], words: str) -> None:
    parameter = make()
    optimizer = optim.Adam([parameter])
    with pytest.raises(error, match=words):
        optimizer.step(gradients)
    np.testing.assert_array_equal(parameter.data, 1)
    assert optimizer.steps == 0 and not optimizer.state_dict()["state"]


def test_a_gradient_of_another_library() -> None:
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(DeviceError, match="a gradient where Parameter"):
        optim.SGD([make()]).step([strict.ones(2, dtype=strict.float32)])


def test_names_of_two_models() -> None:
    optimizer = optim.SGD([make(), make()])
    with pytest.raises(ArgumentError, match="stand for one parameter each"):
        optimizer.step({"w": G})
    optimizer.step([G, G])


def test_values_not_drawn_yet() -> None:
    parameter = Parameter((2,), initializers.zeros)
    with pytest.raises(ArgumentError, match="not drawn yet"):
        optim.SGD([parameter]).step([G])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_non_finite_gradients_change_nothing(value: float, clip_norm: float | None) -> None:
    first, second = make(name="first"), make(name="second")
    optimizer = optim.Adam([first, second], lr=0.1, clip_norm=clip_norm)
    optimizer.step([G, G])
    before = [p.data.copy() for p in (first, second)]
    state = str(optimizer.state_dict())
    with pytest.raises(NonFiniteError, match="in the gradient of 'second'"):
        optimizer.step([G, np.asarray([1, value], dtype=np.float32)], check_finite=True)
    for parameter, x in zip((first, second), before, strict=True):
        np.testing.assert_array_equal(parameter.data, x)
    assert str(optimizer.state_dict()) == state and optimizer.steps == 1


def test_gradients_whose_squares_overflow_are_finite() -> None:
    parameter = make()
    optim.SGD([parameter], lr=1e-31).step([np.full(2, 1e30, dtype=np.float32)], check_finite=True)
    np.testing.assert_allclose(parameter.data, 0.9, rtol=1e-6)


def test_state_that_does_not_fit() -> None:
    optimizer = optim.Adam([make(), make((3,))])
    optimizer.step([G, np.ones(3, dtype=np.float32)])
    state = optimizer.state_dict()
    with pytest.raises(DataError, match=r"groups of \[1\] parameters; got groups of \[2\]"):
        optim.Adam([make()]).load_state_dict(state)
    with pytest.raises(DataError, match=r"exp_avg of shape \(3,\)"):
        optim.Adam([make(), make((4,))]).load_state_dict(state)
    with pytest.raises(DataError, match="no exp_avg; no exp_avg_sq"):
        optimizer.load_state_dict({**state, "state": {0: {"step": 1}}})
    with pytest.raises(DataError, match="a state dict"):
        optimizer.load_state_dict({"weights": 1})
    for wrong in ({"state": None}, {"state": {0: 3}}, {"param_groups": None}, {"param_groups": [3]},
                  {"param_groups": [{"params": 2}]}):
        with pytest.raises(DataError, match="a state dict"):
            optimizer.load_state_dict({**state, **wrong})
    with pytest.raises(DataError, match="no array exp_avg; no array exp_avg_sq"):
        optimizer.load_state_dict({**state, "state": {0: {"step": 1, "exp_avg": 1, "exp_avg_sq": [2]}}})
    with pytest.raises(ArgumentError, match="two betas"):
        optimizer.load_state_dict({**state, "param_groups": [{**state["param_groups"][0], "betas": 7}]})
    assert str(optimizer.state_dict()) == str(state)


def test_zero_grad_and_empty_steps() -> None:
    parameter = make()
    optimizer = optim.AdamW([parameter], lr=0.1)
    parameter.grad = G
    optimizer.zero_grad()
    assert parameter.grad is None
    optimizer.step()
    np.testing.assert_array_equal(parameter.data, 1)
    assert optimizer.steps == 1 and not optimizer.state_dict()["state"]
