"""The arena: parameters as views of one run of memory, and what may happen to a model between two steps."""

from __future__ import annotations

import copy
import gc
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, GradientError
from portable_nn.layers import Parameter, initializers
from portable_nn.optim.arena import LARGE
from portable_nn.optim.separate import SeparateRun, has_writable_views
from tests.helpers import Backend, dtype_name, to_numpy


class Plain:
    """Adam as textbooks have it, one NumPy array per parameter: what the arena must not differ from."""

    def __init__(self, values: list[np.ndarray], lr: float = 0.1) -> None:
        self.values, self.lr, self.t = [np.array(x, dtype=np.float64) for x in values], lr, 0
        self.m = [np.zeros_like(x) for x in self.values]
        self.v = [np.zeros_like(x) for x in self.values]

    def step(self, gradients: list[np.ndarray]) -> None:
        self.t += 1
        for x, m, v, g in zip(self.values, self.m, self.v, gradients, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            x -= self.lr * (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)


def make_model(backend: Backend | None = None) -> Any:
    model = layers.Sequential(layers.Linear(3, 4), layers.Tanh(), layers.Linear(4, 2))
    if backend is not None:
        model.to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype))
    model.initialize(0)
    if backend is not None and backend.read_only:
        for parameter in model.parameters():
            parameter.data = backend.asarray(to_numpy(parameter.data))
    return model


def draw(model: Any, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=p.shape) for p in model.parameters()]


def give(model: Any, gradients: list[np.ndarray]) -> list[Any]:
    """The gradients where and as the parameters are."""
    given = [p.copy_of(g) for p, g in zip(model.parameters(), gradients, strict=True)]
    for parameter, g in zip(model.parameters(), given, strict=True):
        parameter.grad = g
    return given


def check(model: Any, plain: Plain, rtol: float | None = None) -> None:
    for parameter, x in zip(model.parameters(), plain.values, strict=True):
        rtol = rtol or (1e-12 if parameter.dtype_name == "float64" else 1e-4)
        np.testing.assert_allclose(to_numpy(parameter.data), x, rtol=rtol, atol=rtol)


def start(backend: Backend) -> tuple[Any, Any, Plain]:
    model = make_model(backend)
    return model, optim.Adam(model.parameters(), lr=0.1), Plain([to_numpy(p.data) for p in model.parameters()])


def step(model: Any, optimizer: Any, plain: Plain, seed: int) -> None:
    gradients = draw(model, seed)
    give(model, gradients)
    optimizer.step()
    plain.step(gradients)


def test_values_assigned_between_steps_are_adopted(backend: Backend) -> None:
    model, optimizer, plain = start(backend)
    for seed in range(6):
        step(model, optimizer, plain, seed)
        if seed == 2:  # one by assignment
            plain.values[1] = np.arange(4.0)
            model.parameters()[1].data = backend.asarray(np.arange(4.0), backend.float_dtype)
        if seed == 3:  # all by a state dict
            state = {name: to_numpy(x) * 0.5 for name, x in model.state_dict().items()}
            model.load_state_dict(state)
            plain.values = [np.array(x, dtype=np.float64) for x in state.values()]
    check(model, plain)


def test_an_assigned_array_stays_the_callers(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    mine = backend.asarray(np.ones((4,)), backend.float_dtype)
    model[0].bias.data = mine
    give(model, draw(model, 0))
    optimizer.step()
    np.testing.assert_array_equal(to_numpy(mine), 1.0)
    assert not np.array_equal(to_numpy(model[0].bias.data), np.ones(4))


def test_a_cast_keeps_the_moments() -> None:
    model = make_model()
    optimizer, plain = optim.Adam(model.parameters(), lr=0.1), Plain([p.data for p in model.parameters()])
    for seed in range(9):
        step(model, optimizer, plain, seed)
        if seed in (3, 6):
            model.to(dtype="float64" if seed == 3 else "float32")
    check(model, plain, rtol=1e-4)
    assert optimizer.state_dict()["state"][0]["step"] == 9
    assert {p.data.dtype.name for p in model.parameters()} == {"float32"}


def test_a_move_keeps_the_moments() -> None:
    strict = pytest.importorskip("array_api_strict")
    model = make_model().to(dtype="float64")
    optimizer, plain = optim.Adam(model.parameters(), lr=0.1), Plain([p.data for p in model.parameters()])
    for seed, device in enumerate(["CPU_DEVICE", "device1", "device2"]):
        step(model, optimizer, plain, 2 * seed)
        model.to(strict.Device(device), xp=strict)
        step(model, optimizer, plain, 2 * seed + 1)
        assert str(model.parameters()[0].data.device) == str(strict.Device(device))
    model.to("cpu")
    step(model, optimizer, plain, 9)
    check(model, plain)


def test_one_array_holds_all_parameters() -> None:
    model = make_model()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    give(model, draw(model, 0))
    optimizer.step()
    bases = {id(p.data.base) for p in model.parameters()}
    assert len(bases) == 1 and model.parameters()[0].data.base.size == 12 + 4 + 8 + 4  # two of these are a gap


def test_what_is_copied_out_shares_no_memory() -> None:
    model = make_model()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    give(model, draw(model, 0))
    optimizer.step()
    taken = [*model.state_dict().values(), *copy.deepcopy(model).state_dict().values(),
             *(x for s in optimizer.state_dict()["state"].values() for x in s.values() if not isinstance(x, int))]
    before = [x.copy() for x in taken]
    give(model, draw(model, 1))
    optimizer.step()
    for x, y in zip(taken, before, strict=True):
        np.testing.assert_array_equal(x, y)


def test_read_only_values_are_replaced() -> None:
    model = make_model()
    for parameter in model.parameters():
        parameter.data.flags.writeable = False
    held = [p.data for p in model.parameters()]
    optimizer, plain = optim.Adam(model.parameters(), lr=0.1), Plain(held)
    for seed in range(5):
        step(model, optimizer, plain, seed)
    check(model, plain)
    assert all(type(run) is SeparateRun for run, *_ in optimizer._runs)
    for x, y in zip(held, make_model().parameters(), strict=True):
        np.testing.assert_array_equal(x, y.data)


def test_arrays_without_writable_views_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What JAX arrays need, tried with NumPy arrays that are taken for such."""
    monkeypatch.setattr("portable_nn.optim.separate.has_writable_views", lambda data: False)
    model = make_model()
    optimizer = optim.Adam(model.parameters(), lr=0.1, clip_norm=1e9)
    plain = Plain([p.data for p in model.parameters()])
    for seed in range(4):
        step(model, optimizer, plain, seed)
    model.parameters()[0].data = np.zeros((4, 3), dtype=np.float32)
    plain.values[0] = np.zeros((4, 3))
    step(model, optimizer, plain, 7)
    model.to(dtype="float64")
    step(model, optimizer, plain, 8)
    check(model, plain, rtol=1e-4)


def test_writable_views(backend: Backend) -> None:
    assert has_writable_views(backend.asarray(np.zeros(3), backend.float_dtype)) is not backend.read_only


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    assert not has_writable_views(jax.numpy.zeros(3))
    model = make_model().to(xp=jax.numpy)
    optimizer, plain = optim.Adam(model.parameters(), lr=0.1), Plain([to_numpy(p.data) for p in model.parameters()])
    for seed in range(4):
        step(model, optimizer, plain, seed)
    check(model, plain, rtol=1e-4)


def test_tied_weights_are_one_parameter(backend: Backend) -> None:
    class Tied(layers.Module):
        def __init__(self) -> None:
            self.first = layers.Linear(3, 3, bias=False)
            self.second = layers.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.second(self.first(x))

    model = Tied().to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype)).initialize(0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    assert len(optimizer.parameters) == 1
    before = to_numpy(model.first.weight.data).copy()
    x = backend.asarray(np.eye(3), backend.float_dtype)
    model(Tensor(x)).sum().backward()
    ones = np.ones((3, 3))
    optimizer.step()
    expected = before - 0.1 * (before.T @ ones + ones @ before.T)  # of sum(W W)
    np.testing.assert_allclose(to_numpy(model.first.weight.data), expected, rtol=1e-5)
    assert model.second.weight.data is model.first.weight.data


def test_frozen_parameters_stay(backend: Backend) -> None:
    model, optimizer, plain = start(backend)
    step(model, optimizer, plain, 0)
    model[0].freeze()
    give(model, draw(model, 1))
    before = [to_numpy(p.data).copy() for p in model[0].parameters()]
    optimizer.step()
    for parameter, x in zip(model[0].parameters(), before, strict=True):
        np.testing.assert_array_equal(to_numpy(parameter.data), x)
    assert [s["step"] for s in optimizer.state_dict()["state"].values()] == [1, 1, 2, 2]


def test_two_optimizers_over_one_parameter() -> None:
    model = make_model()
    first, second = optim.SGD(model.parameters(), lr=0.1), optim.Adam(model[2].parameters())
    give(model, draw(model, 0))
    first.step()
    with pytest.raises(ArgumentError, match=r"expected a parameter in one optimiser; got .*2\.weight"):
        second.step()
    first.release()
    second.step()
    with pytest.raises(ArgumentError, match="in two"):
        first.step()
    del second
    gc.collect()
    first.step()


def test_a_stale_backward_raises(backend: Backend) -> None:
    model = make_model(backend)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = Tensor(backend.asarray(np.ones((2, 3)), backend.float_dtype))
    first, second = model(x).sum(), model(x).sum()
    first.backward()
    optimizer.step()
    with pytest.raises(GradientError, match="changed by an optimiser step"):
        second.backward()
    model(x).sum().backward()


def test_large_gradients_are_read_where_they_are(rng: np.random.Generator) -> None:
    shapes = [(3,), (LARGE,), (4,), (300, 301), (2, 2)]
    parameters = []
    for shape in shapes:
        parameter = Parameter(shape, initializers.zeros, "float64")
        parameter.data = rng.normal(size=shape)
        parameters.append(parameter)
    optimizer, plain = optim.Adam(parameters, lr=0.1), Plain([p.data for p in parameters])
    for seed in range(3):
        gradients = [rng.normal(size=shape) for shape in shapes]
        kept = [g.copy() for g in gradients]
        optimizer.step([np.asfortranarray(g) for g in gradients] if seed == 1 else gradients)
        plain.step(kept)
        for g, k in zip(gradients, kept, strict=True):
            np.testing.assert_array_equal(g, k)
    for parameter, x in zip(parameters, plain.values, strict=True):
        np.testing.assert_allclose(parameter.data, x, rtol=1e-12, atol=1e-14)


def test_momentum_switched_on_later() -> None:
    model = make_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    give(model, draw(model, 0))
    optimizer.step()
    optimizer.groups[0]["momentum"] = 0.9
    before = [p.data.copy() for p in model.parameters()]
    gradients = give(model, draw(model, 1))
    optimizer.step()
    optimizer.step()
    for parameter, x, g in zip(model.parameters(), before, gradients, strict=True):
        np.testing.assert_allclose(parameter.data, x - 0.1 * (1 + 1.9) * g, rtol=1e-5, atol=1e-6)
