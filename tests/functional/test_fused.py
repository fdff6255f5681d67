"""How fused operations are recorded: one node, kernels where there are, definitions for what only they can do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels
from portable_nn.autodiff import grad, no_grad
from portable_nn.backend.errors import DeviceError
from portable_nn.functional.fused import FusedNode, fused
from portable_nn.kernels import registry
from tests.helpers import Backend


def _definition(x: Any, y: Any, /, *, power: int) -> Any:
    return x**power if y is None else x**power * y


@pytest.fixture
def cube() -> Any:
    """An operation of this test alone, without a backward of its own."""
    yield fused("test_cube", definition=_definition)
    for key in [key for key in registry._kernels if key[0] == "test_cube"]:
        del registry._kernels[key]
    del registry._fallbacks["test_cube"]


def test_arrays_in_arrays_out(backend: Backend) -> None:
    x = backend.asarray(np.ones((2, 3)))
    assert type(functional.relu(x)) is type(x)
    out = functional.relu(Tensor(x))
    assert isinstance(out, Tensor)
    assert not out.requires_grad
    assert functional.relu(Tensor(x, requires_grad=True)).requires_grad
    with no_grad():
        assert not functional.relu(Tensor(x, requires_grad=True)).requires_grad


def test_one_node(backend: Backend) -> None:
    x, weight = Tensor(backend.asarray(np.ones((2, 3))), requires_grad=True), backend.asarray(np.ones((4, 3)))
    out = functional.linear(x, weight, None, activation="relu")
    assert type(out._node) is FusedNode
    with kernels.disabled():
        assert type(functional.linear(x, weight, None, activation="relu")._node) is not FusedNode


def test_only_definition(cube: Any) -> None:
    x = Tensor(np.asarray([2.0]), requires_grad=True)
    cube(x, None, power=3).backward()
    np.testing.assert_allclose(x.grad, [12])
    assert kernels.explain("test_cube", x, None, power=3) == "definition of test_cube"


def test_kernel_beside_a_definition(cube: Any) -> None:
    """First order by the kernel, which may ask for arguments by name; second order by the definition."""
    kernels.register("test_cube", "numpy", lambda x, y, *, power: (x**power, None),
                     lambda xp, g, x, power: (g * power * x ** (power - 1), None), lambda x, y, *, power: y is None)
    x = np.asarray([2.0])
    assert kernels.explain("test_cube", x, None, power=3).endswith("<lambda>")
    assert kernels.explain("test_cube", x, x, power=3) == "definition of test_cube"
    np.testing.assert_allclose(grad(lambda x: cube(x, None, power=3).sum())(x), [12])
    np.testing.assert_allclose(grad(lambda x: grad(lambda x: cube(x, None, power=3).sum())(x).sum())(x), [12])


def test_kernel_without_gradient_is_for_inference(cube: Any) -> None:
    kernels.register("test_cube", "numpy", lambda x, y, *, power: (np.full_like(x, 7), None))
    x = np.asarray([2.0])
    np.testing.assert_array_equal(cube(x, None, power=3), [7])
    np.testing.assert_allclose(grad(lambda x: cube(x, None, power=3).sum())(x), [12])


def test_last_kernel_wins_and_failures_raise(cube: Any) -> None:
    kernels.register("test_cube", "numpy", lambda x, y, *, power: (x, None))

    def broken(x: Any, y: Any, *, power: int) -> Any:
        raise ZeroDivisionError("broken kernel")

    kernels.register("test_cube", "numpy", broken)
    with pytest.raises(ZeroDivisionError, match="broken kernel"):
        cube(np.ones(2), None, power=3)
    with kernels.disabled():
        np.testing.assert_array_equal(cube(np.ones(2), None, power=3), np.ones(2))


def test_gradient_of_some_arguments(backend: Backend) -> None:
    x, weight = backend.asarray(np.ones((2, 3))), Tensor(backend.asarray(np.ones((4, 3))), requires_grad=True)
    functional.linear(x, weight, None, activation=None).sum().backward()
    backend.assert_close(weight.grad, np.full((4, 3), 2.0))


def test_two_libraries_are_refused() -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    with pytest.raises(DeviceError, match="numpy and array_api_strict"):
        functional.linear(np.ones((2, 3)), strict.ones((4, 3)), None, activation=None)
    with pytest.raises(DeviceError, match="array_api_strict"):
        functional.linear(Tensor(np.ones((2, 3)), requires_grad=True), strict.ones((4, 3)), None, activation=None)


def test_two_devices_are_refused() -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    x, weight = strict.ones((2, 3)), strict.ones((4, 3), device=strict.Device("device1"))
    for _ in range(2):
        with pytest.raises(DeviceError, match="device1"):
            functional.linear(x, weight, None, activation=None)


def test_two_devices_are_named_on_every_call() -> None:
    """The second call too, when the types of the arguments are known."""
    strict = pytest.importorskip("array_api_strict")
    first, second = strict.__array_namespace_info__().devices()[:2]
    x, weight = strict.ones((2, 3), device=first), strict.ones((4, 3), device=second)
    for _ in range(2):
        functional.linear(x, strict.ones((4, 3), device=first), None, activation=None)
        with pytest.raises(DeviceError, match="CPU_DEVICE.* and .*device1"):
            functional.linear(x, weight, None, activation=None)
