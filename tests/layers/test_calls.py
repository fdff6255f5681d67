"""What a call leaves behind: frames, buffers, random positions, notes on errors; threads; functional calls."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor, grad, no_grad, value_and_grad
from portable_nn.autodiff.checkpoint import checkpoint
from portable_nn.autodiff.frame import current_frame
from portable_nn.backend.errors import ArgumentError, DTypeError, GradientError, ShapeError
from portable_nn.layers import initializers
from tests.helpers import Backend, assert_close, to_numpy
from tests.layers.models import Counting, Tied, Twice, mlp

X = np.linspace(-1.0, 1.0, 15, dtype=np.float32).reshape(5, 3)


class Nested(layers.Module):
    """Takes and gives trees of arrays, and things that are no arrays."""

    def forward(self, batch: dict, *, scale: Any) -> Any:
        return {"out": (batch["a"][0] * scale, [batch["b"]]), "name": "x", "count": 3, "none": None}


class Writing(layers.Module):
    """Writes whatever it is given into its buffer."""

    def __init__(self) -> None:
        self.register_buffer("mean", (3,), initializers.zeros)

    def forward(self, x: Any, name: str = "mean") -> Any:
        self.update_buffer(name, x)
        return x


def test_trees_record_as_arrays_do() -> None:
    a, b = np.ones(3), np.zeros(2)
    raw = Nested()({"a": (a,), "b": b}, scale=2.0)
    assert type(raw["out"][0]) is np.ndarray
    nested = Nested()({"a": (Tensor(a, requires_grad=True),), "b": b}, scale=2.0)
    assert nested["out"][0].requires_grad
    by_name = Nested()({"a": (a,), "b": b}, scale=Tensor(np.asarray(2.0), requires_grad=True))
    assert by_name["out"][0].requires_grad
    with no_grad():
        constant = Nested()({"a": (Tensor(a),), "b": b}, scale=2.0)
    assert isinstance(constant["out"][1][0], Tensor)
    assert (constant["name"], constant["count"], constant["none"]) == ("x", 3, None)


def test_buffers_are_written_once_at_the_end() -> None:
    model = Counting(times=2)
    out = model(X)
    assert model.count.data == 2
    assert isinstance(model.count.data, np.ndarray)
    np.testing.assert_allclose(out, model.linear(X) + 2)
    with pytest.raises(ShapeError):
        model(X[:, :2])
    assert model.count.data == 2
    outer = layers.Sequential(model, model)
    np.testing.assert_allclose(outer(X).shape, (5, 3))
    assert model.count.data == 6
    (model(Tensor(X)) ** 2).sum().backward()
    assert model.count.data == 8
    assert type(model.count.data) is np.ndarray


def test_a_checkpoint_writes_buffers_once_and_repeats_its_draws() -> None:
    model = layers.Sequential(layers.Linear(3, 3), Counting(), layers.Dropout(0.5)).initialize(4)
    plain, again = (model.initialize(4), layers.Sequential(*model))
    x = Tensor(X, requires_grad=True)
    (plain(x) ** 2).sum().backward()
    expected, x.grad = x.grad, None
    counted = float(model[1].count.data)
    again.initialize(4)
    (checkpoint(again, x) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad, expected, rtol=1e-6)
    assert float(model[1].count.data) == counted  # initialize set it back to 0, and it was counted once
    assert again.random_position == (4, 1)


def test_a_checkpoint_that_is_gone_through_twice_repeats_the_same_draws() -> None:
    """Once for the gradient that is part of the loss, and once for the loss."""
    found = []
    for run in (checkpoint, lambda f, x: f(x)):
        class Noisy(layers.Module):
            def __init__(self) -> None:
                self.inner = layers.Sequential(layers.Dropout(0.5), layers.Linear(3, 3), layers.Dropout(0.5))

            def forward(self, x: Any, run: Any = run) -> Any:
                return run(self.inner, x)

        model = Noisy().initialize(3)

        def loss(x: Any, model: Any = model) -> Any:
            value, g = value_and_grad(lambda z: (model(z) ** 2).sum())(x)
            return value + (g * g).sum()

        found.append(grad(loss)(X))
    np.testing.assert_array_equal(*found)


def test_buffers_refuse_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="mean"):
        Writing()(np.ones(2, dtype=np.float32))
    with pytest.raises(DTypeError, match="mean"):
        Writing()(np.ones(3))
    with pytest.raises(ArgumentError, match="register_buffer"):
        Writing()(np.ones(3, dtype=np.float32), "median")
    with pytest.raises(ArgumentError, match="inside forward"):
        Writing().update_buffer("mean", np.ones(3))
    with pytest.raises(ArgumentError, match="inside forward"):
        Writing().next_stream()


def test_an_error_leaves_no_frame_and_names_the_module() -> None:
    model = layers.Sequential(layers.Linear(3, 4), layers.Sequential(layers.ReLU(), layers.Linear(3, 2)))
    with pytest.raises(ShapeError) as caught:
        model(X)
    assert current_frame() is None
    assert caught.value.__notes__ == ["in 1.1: Linear(in_features=3, out_features=2, bias=True)", "in 1: Sequential()",
                                      "in Sequential()"]
    before = model.random_position
    with pytest.raises(ShapeError):
        model(Tensor(X))
    assert model.random_position == before
    with pytest.raises(ZeroDivisionError) as other:
        layers.Sequential(Failing())(X)
    assert other.value.__notes__ == ["in 0: Failing", "in Sequential()"]


class Failing(layers.Module):
    def forward(self, x: Any) -> Any:
        return 1 / 0

    def extra_repr(self) -> str:
        return self.never_set


def test_dropout_draws_anew_in_each_training_call_alone() -> None:
    model = layers.Sequential(layers.Dropout(0.5), layers.Dropout(0.5)).initialize(1)
    x = np.ones((40, 40))
    first, second = model(x), model(x)
    assert not np.array_equal(first, second)
    assert model.random_position == (1, 2)
    model.eval()
    np.testing.assert_array_equal(model(x), x)
    assert model.random_position == (1, 2)
    model.train().random_position = (1, 1)
    np.testing.assert_array_equal(model(x), second)
    share = np.mean(first != 0)
    assert 0.2 < share < 0.3  # two layers of one half each, which draw apart
    once = layers.Sequential(*[layers.Dropout(0.5)] * 2)(x)
    assert 0.2 < np.mean(once != 0) < 0.3  # and so do two calls of one layer


def test_dropout_is_the_same_on_every_backend(backend: Backend) -> None:
    x = np.ones((8, 8), dtype=np.float32)
    expected = mlp().initialize(3)[2:3].initialize(9)(x)
    out = mlp()[2:3].initialize(9)(backend.asarray(x))
    np.testing.assert_array_equal(to_numpy(out), expected)


def test_gradients_of_shared_weights_add_up() -> None:
    for model, x in ((Tied(), np.asarray([1, 2])), (Twice(), X.astype(np.float64))):
        model.to(dtype="float64").initialize()
        (model(Tensor(x)) ** 2).sum().backward()
        weight = model.parameters()[0]
        values, step = weight.data, 1e-6

        def loss(shift: float, model: Any = model, x: Any = x, values: Any = values, weight: Any = weight) -> float:
            weight.data = values + shift
            return float((model(x) ** 2).sum())

        assert (loss(step) - loss(-step)) / (2 * step) == pytest.approx(float(weight.grad.sum()), rel=1e-6)


def test_a_changed_parameter_is_noticed() -> None:
    model = mlp(0.0).initialize()
    loss = (model(Tensor(X)) ** 2).sum()
    model[3].weight.data = model[3].weight.data + 1
    with pytest.raises(GradientError, match=r"3\.weight"):
        loss.backward()


def test_threads_share_one_model() -> None:
    model = mlp(0.0)
    inputs = [X * i for i in range(8)]
    outs: list[Any] = [None] * 8

    def work(i: int) -> None:
        for _ in range(50):
            outs[i] = model(inputs[i] if i % 2 else Tensor(inputs[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = mlp(0.0)
    for x, out in zip(inputs, outs, strict=True):
        np.testing.assert_array_equal(to_numpy(out), alone(x))


def test_gradients_inside_forward() -> None:
    class Slope(layers.Module):
        """The derivative of a model by its input, as part of a model: a physical loss, for example."""

        def __init__(self) -> None:
            self.inner = layers.Sequential(layers.Linear(3, 4), layers.Tanh(), layers.Linear(4, 1))

        def forward(self, x: Any) -> Any:
            return grad(lambda z: self.inner(z).sum())(x)

    model = Slope().initialize()
    raw, recorded = model(X), model(Tensor(X))
    assert isinstance(raw, np.ndarray)
    np.testing.assert_allclose(recorded.numpy(), raw, rtol=1e-6)
    (recorded ** 2).sum().backward()
    assert model.inner[0].weight.grad is not None


def test_functional_call() -> None:
    model = Counting().initialize(1)
    x = np.ones((2, 3), dtype=np.float32)
    names = dict(model.named_parameters())
    doubled = {name: p.data * 2 for name, p in names.items()}
    out, buffers = layers.functional_call(model, doubled, {"count": np.asarray(5.0, dtype=np.float32)}, x)
    np.testing.assert_allclose(out, 2 * model.linear(x) + 6, rtol=1e-6)
    assert float(buffers["count"]) == 6
    assert model.count.data == 0
    assert current_frame() is None
    same, _ = layers.functional_call(model, names, {}, Tensor(x))
    assert same.requires_grad
    value, gradients = value_and_grad(lambda p: (layers.functional_call(model, p, {}, x)[0] ** 2).sum())(names)
    assert set(gradients) == set(names)
    (layers.functional_call(model, {}, {}, Tensor(x))[0] ** 2).sum().backward()
    np.testing.assert_allclose(gradients["linear.bias"], model.linear.bias.grad)
    with no_grad():
        constant, _ = layers.functional_call(model, {n: Tensor(v) for n, v in doubled.items()}, {}, x)
    assert not constant.requires_grad
    np.testing.assert_allclose(constant.numpy(), out - 5, rtol=1e-6)


def test_functional_call_needs_no_values_of_its_own_and_checks_the_given() -> None:
    source = mlp(0.0).initialize(7)
    out, _ = layers.functional_call(mlp(0.0), source.state_dict(), {}, X)
    assert_close(out, source(X))
    with pytest.raises(ArgumentError, match="wieght"):
        layers.functional_call(source, {"0.wieght": X}, {}, X)
    with pytest.raises(ShapeError, match=r"0\.weight"):
        layers.functional_call(source, {"0.weight": X}, {}, X)
    with pytest.raises(DTypeError, match=r"an array for 0\.bias"):
        layers.functional_call(source, {"0.bias": [1.0]}, {}, X)
    with pytest.raises(ArgumentError, match="parameters and buffers as dicts"):
        layers.functional_call(source, {}, X)
    with pytest.raises(ShapeError) as caught:
        layers.functional_call(source, {}, {}, X[:, :2])
    assert caught.value.__notes__[-1] == "in Sequential()"
