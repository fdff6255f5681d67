"""What every optimiser must do, on every backend; the rows are in tests/optim/specs.py."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.kernels import disabled, registry
from portable_nn.layers import Parameter, initializers
from tests.helpers import Backend, dtype_name, to_numpy
from tests.optim.specs import CASES, Case

SHAPES = [(3, 2), (), (4,), (0, 2)]


def make_parameters(backend: Backend, dtype: Any = None, shapes: Any = SHAPES) -> list[Parameter]:
    rng = np.random.default_rng(1)
    made = []
    for number, shape in enumerate(shapes):
        data = backend.asarray(rng.normal(size=shape), dtype or backend.float_dtype)
        parameter = Parameter(shape, initializers.zeros, dtype_name(data.dtype))
        parameter.data, parameter.name = data, f"p{number}"
        made.append(parameter)
    return made


def run(optimizer: Any, backend: Backend, steps: int, *, start: int = 0) -> list[np.ndarray]:
    """Some steps with keyed gradients; each third parameter has none every other step."""
    for step in range(start, start + steps):
        rng = np.random.default_rng(step)
        for number, parameter in enumerate(optimizer.parameters):
            g = rng.normal(size=parameter.shape)
            parameter.grad = backend.asarray(g, parameter.data.dtype) if number % 3 or step % 2 else None
        optimizer.step()
    return [to_numpy(p.data).copy() for p in optimizer.parameters]


def each(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def test_every_optimizer_has_a_row() -> None:
    public = {kind for kind in map(optim.__dict__.get, optim.__all__)
              if isinstance(kind, type) and issubclass(kind, optim.Optimizer)} - {optim.Optimizer}
    assert public == {case.kind for case in CASES}


@each(CASES)
def test_formula(case: Case, backend: Backend) -> None:
    """Twelve steps are those of the formula, for each parameter by its own count, in every floating dtype."""
    for dtype in backend.float_dtypes:
        parameters = make_parameters(backend, dtype)
        expected = [to_numpy(p.data).astype(np.float64) for p in parameters]
        states: list[dict[str, Any]] = [{} for _ in parameters]
        counts = [0] * len(parameters)
        for step in range(12):
            rng = np.random.default_rng(step)
            for number, shape in enumerate(SHAPES):
                g = rng.normal(size=shape)
                if number % 3 or step % 2:
                    counts[number] += 1
                    expected[number] = case.step(counts[number], expected[number], g, states[number])
        run(case.kind(parameters, **case.options), backend, 12)
        wide = dtype_name(dtype) == "float64"
        for parameter, values in zip(parameters, expected, strict=True):
            backend.assert_close(parameter.data, values.astype(dtype_name(dtype)), rtol=1e-12 if wide else 2e-5)


@each(CASES)
def test_state_round_trip(case: Case, backend: Backend) -> None:
    """Stopped after seven steps, saved, and gone on with in a new optimiser: bit for bit the same."""
    whole = run(case.kind(make_parameters(backend), **case.options), backend, 12)
    first = case.kind(make_parameters(backend), **case.options)
    values = run(first, backend, 7)
    second_parameters = make_parameters(backend)
    for parameter, x in zip(second_parameters, values, strict=True):
        parameter.data = backend.asarray(x)
    second = case.kind(second_parameters, **case.options)
    second.load_state_dict(pickle.loads(pickle.dumps(host(first.state_dict()))))
    assert str(second.state_dict()["param_groups"]) == str(first.state_dict()["param_groups"])
    for x, y in zip(run(second, backend, 5, start=7), whole, strict=True):
        np.testing.assert_array_equal(x, y)


def host(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict as it goes through a file."""
    moments = {number: {k: v if k == "step" else to_numpy(v) for k, v in saved.items()}
               for number, saved in state["state"].items()}
    return {**state, "state": moments}


@each(CASES)
def test_copies_go_on_alone(case: Case, backend: Backend) -> None:
    """A deep copy or a pickled copy of model and optimiser takes the same steps, and shares no memory with them."""
    for duplicate in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        model = layers.Linear(3, 2).to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype))
        model.initialize(1)
        optimizer = case.kind(model.parameters(), **case.options)
        run(optimizer, backend, 3)
        twin, twin_optimizer = duplicate((model, optimizer))
        before = {name: to_numpy(x).copy() for name, x in twin.state_dict().items()}
        values = run(optimizer, backend, 3, start=3)
        for name, x in twin.state_dict().items():
            np.testing.assert_array_equal(to_numpy(x), before[name])
        for x, y in zip(run(twin_optimizer, backend, 3, start=3), values, strict=True):
            np.testing.assert_array_equal(x, y)
        assert [id(p) for p in twin_optimizer.parameters] == [id(p) for p in twin.parameters()]


@each(CASES)
def test_repr(case: Case) -> None:
    numpy = Parameter((2,), initializers.zeros)
    text = repr(case.kind([numpy], **case.options))
    assert text.startswith(case.kind.__name__) and "1 parameters" in text and "'lr': 0.1" in text


@each(CASES)
@pytest.mark.parametrize("size", [0, 1, 5, 32_768, 65_535, 65_536, 65_537, 262_145])
def test_kernel_is_the_definition(case: Case, size: int, rng: np.random.Generator) -> None:
    """Every kernel on NumPy's arrays, around the ends of its blocks and with slices of longer arrays."""
    for dtype in ("float32", "float64"):
        group = {**case.kind([Parameter((1,), initializers.zeros)]).groups[0], **case.options}
        optimizer = case.kind([{**group, "params": [Parameter((1,), initializers.zeros)]}])
        count = 2 + len(optimizer.moments(group))
        originals = [np.abs(rng.normal(size=size + 3)).astype(dtype)[2:-1] for _ in range(count)]
        options = optimizer.options(group, 0.1, 3)
        expected = case.kind.definition(*[x.copy() for x in originals], **options)
        found = [k for k in registry.loaded_entries(case.kind.operation, np) if k.supports(*originals, **options)]
        assert found
        for kernel in found:
            arrays = [x.copy() for x in originals]
            arrays[1].flags.writeable = False
            kernel.forward(*arrays, **options)
            for x, y in zip([arrays[0], *arrays[2:]], expected, strict=True):
                rtol, atol = (2e-5, 5e-7) if dtype == "float32" else (1e-13, 1e-15)
                np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)
                assert x.dtype == y.dtype == dtype


@each(CASES)
def test_without_kernels(case: Case, backend: Backend) -> None:
    fast = run(case.kind(make_parameters(backend), **case.options), backend, 4)
    with disabled():
        slow = run(case.kind(make_parameters(backend), **case.options), backend, 4)
    for x, y in zip(fast, slow, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5 if x.dtype == np.float32 else 1e-12)


def test_averaged_is_plain_momentum_at_a_shorter_step(backend: Backend) -> None:
    """From the very first step: v of the averages is 1 − μ times v of the sums."""
    averaged = run(optim.SGD(make_parameters(backend), 0.5, 0.75, averaged=True), backend, 20)
    plain = run(optim.SGD(make_parameters(backend), 0.5 * (1 - 0.75), 0.75), backend, 20)
    for x, y in zip(averaged, plain, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5 if x.dtype == np.float32 else 1e-12)


def test_gradients_as_trees(backend: Backend) -> None:
    """A list, a tuple, a nested tree, a dict by name or Tensors: all the same step."""
    def stepped(arrange: Any) -> list[np.ndarray]:
        optimizer = optim.AdamW(make_parameters(backend, shapes=[(2,), (3,), (1,)]), lr=0.1)
        for step in range(2):
            rng = np.random.default_rng(step)
            optimizer.step(arrange([backend.asarray(rng.normal(size=p.shape), p.data.dtype)
                                    for p in optimizer.parameters]))
        return [to_numpy(p.data).copy() for p in optimizer.parameters]

    expected = stepped(list)
    for arrange in (tuple, lambda g: [g[0], (g[1], g[2])], lambda g: {"p0": g[0], "p2": g[2], "p1": g[1]},
                    lambda g: [Tensor(x) for x in g]):
        for x, y in zip(stepped(arrange), expected, strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_missing_name_is_no_gradient(backend: Backend) -> None:
    optimizer = optim.SGD(make_parameters(backend, shapes=[(2,), (3,)]), lr=0.1)
    before = to_numpy(optimizer.parameters[0].data).copy()
    optimizer.step({"p1": optimizer.parameters[1].data})
    np.testing.assert_array_equal(to_numpy(optimizer.parameters[0].data), before)
