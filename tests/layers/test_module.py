"""Attributes, structure, initialisation, moving and modes of modules."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import array_api_strict
import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.layers import initializers
from tests.helpers import Backend, assert_close, dtype_name, to_numpy
from tests.layers.models import Counting, Tied, Twice, mlp

X = np.linspace(-1.0, 1.0, 15, dtype=np.float32).reshape(5, 3)


class Broken(layers.Module):
    """Its property and its forward look for what is not there."""

    def __init__(self) -> None:
        self.linear = layers.Linear(3, 3)

    @property
    def width(self) -> int:
        return self.linear.missing

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.absent


def test_attribute_errors_name_what_is_missing() -> None:
    with pytest.raises(AttributeError, match="Linear has no attribute 'missing'"):
        _ = Broken().width
    with pytest.raises(AttributeError, match="Broken has no attribute 'absent'"):
        Broken()(X)
    with pytest.raises(AttributeError, match="Linear has no attribute 'weigth'"):
        _ = layers.Linear(3, 3).weigth
    other = layers.Linear(3, 3, bias=False)
    del other.weight
    with pytest.raises(AttributeError, match="Linear has no attribute 'weight'"):
        _ = other.weight
    with pytest.raises(AttributeError, match="Linear has no attribute 'weight'"):
        del other.weight


def test_attributes_are_replaced_and_removed() -> None:
    layer = layers.Linear(3, 2)
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert layer(X).shape == (5, 2)
    layer.bias = layers.Parameter((2,), initializers.zeros)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    model = mlp()
    model[1] = layers.Tanh()
    setattr(model, "1", None)
    assert [name for name, _ in model.named_children()] == ["0", "2", "3"]
    assert "weight" in dir(layer)


@pytest.mark.parametrize(("name", "value", "words"), [
    ("weight", np.ones((2, 3)), ".weight.data"),
    ("layers", [layers.ReLU()], "ModuleList"),
    ("layers", {"a": layers.ReLU()}, "ModuleDict"),
    ("train", layers.ReLU(), "another attribute name"),
    ("device", layers.Parameter((2,), initializers.zeros), "another attribute name"),
    ("a.b", layers.ReLU(), "dots"),
])
def test_attributes_that_would_be_lost_are_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        setattr(layers.Linear(3, 2), name, value)


def test_names_are_in_the_order_of_pytorch() -> None:
    names = [name for name, _ in Counting().named_parameters()]
    assert names == ["linear.weight", "linear.bias"]
    assert list(Counting().state_dict()) == ["count", "linear.weight", "linear.bias"]
    assert [path for path, _ in mlp().named_modules()] == ["", "0", "1", "2", "3"]
    assert [p.name for p in mlp().initialize().parameters()] == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_shared_modules_and_weights_count_once() -> None:
    assert [name for name, _ in Tied().named_parameters()] == ["embedding.weight"]
    assert len(Twice().parameters()) == 2
    assert len(list(Twice().modules())) == 2
    cyclic = Twice()
    cyclic.first.parent = cyclic
    assert len(cyclic.parameters()) == 2
    assert len(list(cyclic.modules())) == 2


def test_a_seed_gives_the_same_values_on_every_backend(backend: Backend) -> None:
    host = mlp().initialize(3)
    there = mlp().to(backend.device, xp=backend.xp).initialize(3)
    moved = mlp().initialize(3).to(backend.device, xp=backend.xp)
    for a, b, c in zip(host.parameters(), there.parameters(), moved.parameters(), strict=True):
        np.testing.assert_array_equal(to_numpy(b.data), a.data)
        assert_close(c.data, b.data, rtol=0.0, atol=0.0)
    assert all(dtype_name(p.data.dtype) == "float32" for p in there.parameters())


def test_first_use_draws_with_seed_0_and_drawing_again_replaces() -> None:
    used = mlp()
    assert not used.is_initialized
    used(X)
    assert used.is_initialized
    first, again = used.state_dict(), mlp().initialize(0).state_dict()
    assert all(np.array_equal(first[name], again[name]) for name in again)
    assert not np.array_equal(used.initialize(1)[0].weight.data, first["0.weight"])
    assert used.random_position == (1, 0)
    used[0].bias.data = np.full((4,), 7.0, dtype=np.float32)
    assert used.initialize(2, only_missing=True)[0].bias.data[0] == 7
    with pytest.raises(ArgumentError, match="seed"):
        used.initialize(-1)
    for wrong in ((1,), 1, (1, -1), (1, 0.5)):
        with pytest.raises(ArgumentError, match="integer"):
            used.random_position = wrong


def test_values_not_drawn_yet_say_so() -> None:
    with pytest.raises(ArgumentError, match="initialize"):
        _ = layers.Linear(3, 3).weight.data
    with pytest.raises(ArgumentError, match="initialize"):
        _ = layers.Linear(3, 3).weight.tensor


def test_moving_keeps_the_handles() -> None:
    model = Counting().initialize()
    weight = model.linear.weight
    (model(Tensor(X)) ** 2).sum().backward()
    gradient = weight.grad
    assert model.to("cpu", dtype="float64") is model
    assert model.linear.weight is weight
    assert (model.dtype, model.device) == ("float64", "cpu")
    assert weight.data.dtype == weight.grad.dtype == model.count.data.dtype == np.float64
    model.to(xp=array_api_strict, device="device1", dtype=array_api_strict.float32)
    assert model.device == "array_api_strict:device1"
    assert model.linear.weight is weight
    np.testing.assert_array_equal(to_numpy(weight.grad), gradient)
    assert model(array_api_strict.asarray(X, device=array_api_strict.Device("device1"))).shape == (5, 3)


def test_integer_buffers_keep_their_dtype() -> None:
    model = layers.Module()
    model.register_buffer("steps", (), initializers.zeros, dtype="int64")
    assert model.initialize().to(dtype="float64").steps.data.dtype == np.int64
    assert (model.dtype, model.device) == ("float32", "cpu")


def test_a_move_that_fails_moves_nothing() -> None:
    class Stuck(layers.Parameter):
        __slots__ = ()

        def moved(self, *to: Any) -> Any:
            raise DTypeError("a dtype that the library has", "another", "stay")

    model = mlp()
    model[3].bias = Stuck((3,), initializers.zeros)
    model.initialize()
    with pytest.raises(DTypeError):
        model.to("array_api_strict:device1", dtype="float64")
    assert (model.device, model.dtype, model[0].weight.data.dtype) == ("cpu", "float32", np.float32)
    model = mlp().initialize()
    with pytest.raises(ArgumentError, match="floating"):
        model.to(dtype="int32")
    with pytest.raises(DTypeError, match="float99"):
        model.to(dtype="float99")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_whole_and_apart(clone: Any) -> None:
    for make in (Tied, Twice, mlp, Counting):
        fresh = clone(make())
        assert not fresh.is_initialized
        assert clone(make().to("array_api_strict:device1")).device == "array_api_strict:device1"
        model = make().initialize(5).to("array_api_strict:device1")
        model.parameters()[0].trainable = False
        twin = clone(model)
        assert twin.device == "array_api_strict:device1"
        assert [p.trainable for p in twin.parameters()] == [p.trainable for p in model.parameters()]
        assert len(twin.parameters()) == len(model.parameters())
        assert twin.random_position == model.random_position
        for a, b in zip(twin.parameters(), model.parameters(), strict=True):
            assert a is not b
            assert a.data is not b.data
            assert a.name == b.name
            assert_close(a.data, b.data, rtol=0.0, atol=0.0)
    assert clone(Tied()).output.weight is not Tied().output.weight
    tied = clone(Tied().initialize())
    assert tied.output.weight is tied.embedding.weight
    assert clone(Twice()).first is not None
    twice = clone(Twice())
    assert twice.first is twice.second


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_draws_its_own_random_numbers_by_path(clone: Any) -> None:
    model = mlp().initialize(3)
    model(X)
    twin = clone(model)
    np.testing.assert_array_equal(twin(X), model(X))


def test_a_shallow_copy_shares_parameters_but_not_the_list_of_them() -> None:
    model = layers.Linear(3, 3)
    twin = copy.copy(model)
    twin.bias = None
    assert model.bias is not None
    assert twin.weight is model.weight


def test_joblib_writes_and_reads_models(tmp_path: Any) -> None:
    joblib = pytest.importorskip("joblib")
    model = mlp().initialize(2).eval()
    joblib.dump(model, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib")(X), model(X))
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped(X), model(X))


def test_frozen_parameters_are_constants() -> None:
    model = mlp(0.0).initialize()
    model[0].freeze()
    (model(Tensor(X)) ** 2).sum().backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    assert not model.freeze()(Tensor(X)).requires_grad
    assert model.unfreeze()(Tensor(X)).requires_grad


def test_arguments_that_are_not_taken_are_refused() -> None:
    with pytest.raises(TypeError):
        layers.ReLU(inplace=True)
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        layers.Module()(X)


def test_parameters_check_what_they_are_given() -> None:
    parameter = layers.Linear(3, 2).initialize().weight
    with pytest.raises(ShapeError, match="weight"):
        parameter.data = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(DTypeError, match="weight"):
        parameter.data = np.ones((2, 3), dtype=np.int64)
    with pytest.raises(DTypeError, match="list"):
        parameter.data = [[1.0]]
    parameter.data = np.ones((2, 3))
    assert parameter.dtype_name == "float64"
    assert repr(parameter) == "Parameter(weight, (2, 3), float64, cpu)"
    with pytest.raises(ShapeError):
        layers.Parameter((2,), lambda stream, shape, **options: np.ones(3)).fill(None)
