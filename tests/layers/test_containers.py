"""Sequential, ModuleList and ModuleDict as Python's own lists and dicts."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import Tensor, layers
from portable_nn.backend.errors import ArgumentError, ShapeError
from tests.layers.models import mlp

X = np.linspace(-1.0, 1.0, 15, dtype=np.float32).reshape(5, 3)


def test_sequential() -> None:
    model = mlp(0.0)
    assert len(model) == 4
    assert [type(m) for m in model] == [layers.Linear, layers.ReLU, layers.Dropout, layers.Linear]
    assert model[-1] is model[3]
    assert [name for name, _ in model[1:].named_children()] == ["1", "2", "3"]
    np.testing.assert_array_equal(model[1:](model[:1](X)), model(X))
    assert model.append(layers.Tanh()) is model
    assert len(model) == 5
    np.testing.assert_array_equal(model(X), np.tanh(model[:4](X)))
    assert len(layers.Sequential(*model)) == 5
    named = layers.Sequential({"first": layers.Linear(3, 2), "last": layers.Tanh()})
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert repr(named).startswith("Sequential(\n  (first): Linear(in_features=3")
    for index in (5, -6):
        with pytest.raises(IndexError, match="5 modules"):
            _ = model[index]


def test_replacing_a_step_keeps_its_place() -> None:
    model = mlp(0.0)
    model[0] = layers.Linear(3, 4, bias=False)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "3.weight", "3.bias"]
    assert model(X).shape == (5, 3)


def test_module_list() -> None:
    steps = layers.ModuleList([layers.Linear(3, 3)])
    steps.extend([layers.Linear(3, 2), layers.ReLU()])
    assert len(steps) == 3
    assert isinstance(steps[:2], layers.ModuleList)
    assert steps[:2][1] is steps[1]
    assert [name for name, _ in steps.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        steps(X)


def test_module_dict() -> None:
    heads = layers.ModuleDict({"a": layers.Linear(3, 2)})
    heads["b"] = layers.ReLU()
    assert "b" in heads
    assert "c" not in heads
    assert list(heads) == list(heads.keys()) == ["a", "b"]
    assert [type(m) for m in heads.values()] == [layers.Linear, layers.ReLU]
    assert [name for name, _ in heads.items()] == ["a", "b"]
    assert heads.a is heads["a"]
    del heads["a"]
    assert len(heads) == 1
    assert heads.parameters() == []
    with pytest.raises(KeyError):
        _ = heads["a"]
    with pytest.raises(KeyError):
        del heads["a"]
    for name in (1, "train"):
        with pytest.raises(ArgumentError, match="does not use itself"):
            heads[name] = layers.ReLU()  # type: ignore[index]


def test_dense_layers_run_as_one_operation_that_nobody_notices() -> None:
    model = layers.Sequential(layers.Linear(3, 4), layers.ReLU(), layers.ReLU(), layers.Linear(4, 4), layers.Tanh(),
                              layers.Linear(4, 2, bias=False)).initialize(1)

    def one_by_one(x: Tensor) -> Tensor:
        for module in model:
            x = module(x)
        return x

    found = []
    for run in (model, one_by_one):
        y = run(Tensor(X))
        (y * y).sum().backward()
        found.append([y.numpy(), *(p.grad for p in model.parameters())])
        for p in model.parameters():
            p.grad = None
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    with pytest.raises(ShapeError) as error:
        model(Tensor(X[:, :2]))
    assert any("0: Linear" in note for note in error.value.__notes__)
    model[1].forward = lambda x: x * 0
    np.testing.assert_array_equal(model(X), model(X * 2))
    assert layers.summary(model, X).rows[2].calls == 1


def test_dense_layers_are_left_alone_where_their_owner_changed_them(monkeypatch) -> None:
    def check(model: layers.Sequential) -> None:
        y = X
        for module in model:
            y = module(y)
        np.testing.assert_array_equal(model(X), y)

    def model(bias: bool = True) -> layers.Sequential:
        made = layers.Sequential(layers.Linear(3, 4, bias=bias), layers.ReLU()).initialize(1)
        check(made)
        return made

    ones = np.ones(4, dtype=np.float32)
    plain = model(bias=False)
    plain[0].bias = ones                                        # an array of the user's own
    check(plain)
    buffered = model()
    buffered[0].register_buffer("bias", (4,), layers.initializers.ones)
    check(buffered)
    constant = model()
    constant[0].register_buffer("weight", (4, 3), layers.initializers.ones)
    check(constant)
    without = model()
    without[0].bias = None
    check(without)
    broken = model()
    del broken[0].weight
    with pytest.raises(AttributeError, match="Linear has no attribute 'weight'"):
        broken(X)
    watched, calls, forward = model(), [], layers.Linear.forward
    monkeypatch.setattr(layers.Linear, "forward", lambda self, x: (calls.append(self), forward(self, x))[1])
    watched(X)
    assert calls == [watched[0]]
