"""Every implementation of every fused operation gives its definition's values and gradients, whatever the layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, gradcheck, kernels
from portable_nn.backend.namespace import namespace_name
from portable_nn.kernels import registry
from tests.functional.cases import CASES, Case
from tests.helpers import Backend, dtype_name, make_backends, to_numpy

pytestmark = pytest.mark.usefixtures("compiled_takes_all")
LAYOUTS = ("plain", "strided", "transposed")
#: Of the largest value, or of 1: sums in another order round differently.
TOLERANCE = {"float64": 1e-12, "float32": 3e-5}


def place(backend: Backend, x: Any, dtype: str, layout: str) -> Any:
    """A host array on the backend, in a dtype if it is floating, and in a layout."""
    if x is None:
        return None
    x = x.astype(dtype) if x.dtype.kind == "f" else x
    if layout == "strided" and x.ndim:
        return backend.asarray(np.repeat(x, 2, axis=-1))[..., ::2]
    if layout == "transposed" and x.ndim > 1:
        return backend.xp.matrix_transpose(backend.asarray(np.swapaxes(x, -1, -2)))
    return backend.asarray(x)


def run(case: Case, arrays: tuple, cotangent: Any) -> list[Any]:
    """The value and the gradients of all floating arrays; nothing that existed before is changed on the way."""
    before = [None if x is None else np.array(to_numpy(x)) for x in arrays]
    tensors = [Tensor(x, requires_grad=True) if x is not None and before[i].dtype.kind == "f" else x
               for i, x in enumerate(arrays)]
    out = case(*tensors)
    value = np.array(to_numpy(out))
    if cotangent is not None:
        out.backward(cotangent)
    np.testing.assert_array_equal(to_numpy(out), value)
    for x, old in zip(arrays, before, strict=True):
        assert x is None or np.array_equal(to_numpy(x), old)
    return [out, *(t.grad for t in tensors if isinstance(t, Tensor))]


def assert_close(backend: Backend, actual: Any, wanted: Any, dtype: str) -> None:
    scale = max(1.0, float(np.max(np.abs(to_numpy(wanted)), initial=0)))
    backend.assert_close(actual, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def compare(backend: Backend, case: Case, dtype: str, layout: str, rng: np.random.Generator) -> None:
    arrays = tuple(place(backend, x, dtype, layout) for x in case.make(rng))
    with kernels.disabled():
        shape = case(*arrays).shape
        cotangent = place(backend, rng.standard_normal(shape), dtype, layout)
        expected = run(case, arrays, cotangent)
    got = run(case, arrays, cotangent)
    for actual, wanted in zip([*got, case(*arrays)], [*expected, expected[0].data], strict=True):
        assert (actual is None) == (wanted is None)
        if wanted is not None:
            assert_close(backend, actual, wanted, dtype)


@pytest.fixture
def only():
    """Makes one kernel the only one of its operation, for the length of a test."""
    saved: list[tuple[list, list]] = []

    def use(*chosen: registry.Kernel) -> None:
        entries = registry.entries(chosen[0].operation, chosen[0].library)
        saved.append((entries, list(entries)))
        entries[:] = chosen

    yield use
    for entries, original in reversed(saved):
        entries[:] = original


def kernels_of(backend: Backend, operation: str) -> list[registry.Kernel]:
    return [k for k in kernels.available(namespace_name(backend.xp)) if k.operation == operation]


@pytest.mark.one_device
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(backend: Backend, case: Case, only: Any) -> None:
    for dtype in [dtype_name(dtype) for dtype in backend.float_dtypes]:
        for layout in LAYOUTS:
            for kernel in kernels_of(backend, case.operation):
                only(kernel)
                compare(backend, case, dtype, layout, np.random.default_rng(1))
            with kernels.disabled(generic=True):
                compare(backend, case, dtype, layout, np.random.default_rng(1))


@pytest.mark.parametrize("case", [case for case in CASES if case.name.split()[0] not in ("blocks", "many")], ids=str)
def test_second_order(case: Case) -> None:
    inputs = case.make(np.random.default_rng(1))
    fixed = {i: x for i, x in enumerate(inputs) if x is None or x.dtype.kind != "f"}

    def f(*floats: Any) -> Any:
        rest = iter(floats)
        return case(*(fixed[i] if i in fixed else next(rest) for i in range(len(inputs))))

    floats = tuple(x for i, x in enumerate(inputs) if i not in fixed)
    if case.operation == "embedding":  # linear: its second derivative is zero, and only the first can be checked
        assert gradcheck(f, floats)
    else:
        assert gradcheck(f, floats, order=2)
        with kernels.disabled(generic=True):
            assert gradcheck(f, floats, order=2)


@pytest.mark.parametrize("kernel", [kernel for kernel in kernels.available("numpy")
                                    if any(case.operation == kernel.operation for case in CASES)],
                         ids=lambda kernel: kernel.name.removeprefix("portable_nn.kernels."))
def test_a_wrong_gradient_is_caught(kernel: registry.Kernel, only: Any) -> None:
    """A kernel whose gradient is off by 0.1 % does not pass."""
    backend = make_backends("numpy")[0]

    def wrong(xp: Any, g: Any, *rest: Any) -> tuple:
        return tuple(None if x is None else x * 1.001 for x in kernel.backward(xp, g, *rest))

    only(kernel._replace(backward=wrong))
    with pytest.raises(AssertionError):
        for dtype in ("float64", "float32"):  # the former first: it tells more, but not every kernel takes it
            for case in (case for case in CASES if case.operation == kernel.operation):
                compare(backend, case, dtype, "plain", np.random.default_rng(1))


@pytest.mark.one_device
@pytest.mark.parametrize("case", [case for case in CASES if "blocks" in case.name], ids=str)
def test_broadcast_cotangent(backend: Backend, case: Case) -> None:
    """The gradient of a mean or sum is one number, repeated without memory of its own."""
    arrays = tuple(place(backend, x, "float32", "plain") for x in case.make(np.random.default_rng(1)))
    one = backend.asarray(np.asarray(0.5, dtype="float32"))
    cotangent = backend.xp.broadcast_to(one, case(*arrays).shape)
    with kernels.disabled():
        expected = run(case, arrays, cotangent)
    for actual, wanted in zip(run(case, arrays, cotangent), expected, strict=True):
        if wanted is not None:
            assert_close(backend, actual, wanted, "float32")
