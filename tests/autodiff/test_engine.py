"""The tape: what is recorded, walked, freed and refused."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from portable_nn.autodiff import Tensor, grad, is_recording, no_grad
from portable_nn.autodiff.engine import Leaf, Node, Slot, next_sequence
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.backend.errors import DTypeError, GradientError, ShapeError
from tests.helpers import Backend


def leaf(*values: float) -> Tensor:
    return Tensor(np.asarray(values), requires_grad=True)


def test_gradients_add_up_over_uses_and_backward_passes(backend: Backend) -> None:
    x = Tensor(backend.asarray([1.0, 2.0]), requires_grad=True)
    xp = x.__array_namespace__()
    for _ in range(2):
        xp.sum(x * x + x * 3.0).backward()
    backend.assert_close(x.grad, backend.asarray([10.0, 14.0]))
    x.grad = None
    assert x.grad is None


def test_backward_takes_a_gradient(backend: Backend) -> None:
    x = Tensor(backend.asarray([1.0, 2.0]), requires_grad=True)
    (x * x).backward(backend.asarray([1.0, -1.0]))
    backend.assert_close(x.grad, backend.asarray([2.0, -4.0]))


def test_what_backward_refuses() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(ShapeError, match="one element"):
        (x * x).backward()
    with pytest.raises(ShapeError, match="shape"):
        (x * x).backward(np.ones(3))
    with pytest.raises(GradientError, match="on the tape"):
        Tensor(np.ones(())).backward()
    with pytest.raises(DTypeError, match="real floating"):
        Tensor(np.arange(3), requires_grad=True)
    with pytest.raises(DTypeError, match="real floating"):
        Tensor(np.ones(3, dtype=complex), requires_grad=True)
    with pytest.raises(GradientError, match="requires_grad"):
        (x * x).grad = np.ones(2)


def test_a_second_pass_over_a_freed_graph_raises() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GradientError, match="freed"):
        y.backward()
    shared = x * x
    first, second = shared.sum(), (shared * 2).sum()
    first.backward()
    with pytest.raises(GradientError, match="freed"):
        second.backward()


def test_create_graph_keeps_the_graph() -> None:
    x = leaf(2.0)
    y = (x * x * x).sum()
    y.backward(create_graph=True)
    first, x.grad = x.grad, None
    assert isinstance(first, Tensor) and first.item() == 12.0
    y.backward(create_graph=True)
    x.grad = None
    first.sum().backward()
    np.testing.assert_array_equal(x.grad, [12.0])


def test_freed_nodes_drop_what_they_saved() -> None:
    x = leaf(1.0, 2.0)
    saved = np.asarray([3.0, 4.0])
    kept = weakref.ref(saved)
    y = (x * saved).sum()
    del saved
    assert kept() is not None
    y.backward()
    gc.disable()
    try:
        assert kept() is None
    finally:
        gc.enable()


def test_a_step_leaves_no_reference_cycles() -> None:
    x, w = leaf(1.0, 2.0), Tensor(np.ones((2, 2)), requires_grad=True)
    xp: Any = x.__array_namespace__()

    def step() -> None:
        y = xp.tanh(w @ x)
        (xp.sum(y[0, ...] * y) + xp.max(y) + xp.unstack(y)[1]).backward()

    step()
    gc.collect()
    gc.disable()
    try:
        step()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_deep_graph_needs_no_recursion() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y * 1.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])
    y = x
    for _ in range(20_000):
        y = y * 1.0
    del y  # never walked, freed by reference counting


def test_a_diamond_is_walked_once_per_node() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2⁶⁰ paths
        y = y * 0.5 + y * 0.5
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])


def test_no_grad_records_nothing() -> None:
    x = leaf(1.0)
    assert is_recording()
    with no_grad():
        assert not is_recording()
        assert not (x * x).requires_grad
        assert grad(lambda z: (z * z).sum())(np.asarray([3.0]))[0] == 6.0  # a transform records for itself
    assert (x * x).requires_grad


def test_constants_and_discrete_results_are_not_recorded() -> None:
    x = leaf(1.0, -2.0)
    xp: Any = x.__array_namespace__()
    for y in (
        x > 0,
        xp.argmax(x),
        xp.astype(x, xp.int64),
        xp.isfinite(x),
        xp.zeros_like(x),
        x.detach(),
        xp.sum(x.detach()),
    ):
        assert not y.requires_grad
    assert x.requires_grad and (x * 1).requires_grad


@pytest.mark.parametrize(
    "text",
    [
        "x * 1j",
        "1j * x",
        "x + c",
        "c - x",
        "x / c",
        "xp.where(b, x, c)",
        "xp.concat([x, c])",
        "xp.stack([x, c])",
        "xp.astype(x, xp.complex64)",
        "xp.asarray(x, dtype=xp.complex128)",
        "x ** 1j",
        "xp.matmul(x, c)",
        "xp.sum(x, dtype=xp.complex64)",
        "xp.sum(x, dtype=xp.int64)",
        "xp.fft.fft(x)",
        "xp.fft.rfft(x)",
        "xp.nextafter(x, x)",
        "xp.unique_values(x)",
        "xp.full((2,), x[0])",
        "xp.linspace(x[0], 1.0, 3)",
        "xp.imag(x)",
        "xp.linalg.svd(xp.stack([x, x, x]))",
    ],
)
def test_what_has_no_real_gradient_raises(text: str) -> None:
    x = leaf(1.0, 2.0)
    xp: Any = x.__array_namespace__()
    with pytest.raises(GradientError):
        eval(text, {"x": x, "xp": xp, "c": np.asarray([1j, 2j]), "b": np.asarray([True, False])})


def test_exports_of_recorded_tensors_raise() -> None:
    x = leaf(1.0) * 2
    for export in (np.asarray, np.sin, np.sum, np.from_dlpack, lambda x: x.__array_namespace__().from_dlpack(x)):
        with pytest.raises((GradientError, DTypeError, TypeError)):
            export(x)
    np.testing.assert_array_equal(np.asarray(x.detach()), [2.0])
    np.testing.assert_array_equal(x.numpy(), [2.0])


def test_a_leaf_changed_since_it_was_recorded_is_stale() -> None:
    namespace: Any = tensor_namespace(Tensor(np.ones(1))._namespace.raw)
    slot = Slot("layers.0.weight")
    x = namespace.Tensor(np.ones(2), Leaf(slot, np.dtype("float64")))
    y = (x * x).sum()
    slot.version = next_sequence()
    with pytest.raises(GradientError, match=r"layers\.0\.weight"):
        y.backward()


def test_assignment_copies_and_is_refused_on_leaves() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match="no_grad"):
        x[0] = 5.0
    y = x * 1
    old = y
    values = y.data
    y[0] = 5.0
    assert y is old and values[0] == 1.0 and y.data[0] == 5.0
    stale = (x * x).sum()
    with no_grad():
        x[0] = 3.0
    assert x.requires_grad and x.data[0] == 3.0
    with pytest.raises(GradientError, match="changed"):
        stale.backward()
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [6.0, 4.0])


def test_gradients_come_back_in_the_dtype_of_the_leaf() -> None:
    x, w = Tensor(np.ones(2, dtype=np.float32), requires_grad=True), leaf(1.0, 2.0)
    ((x * w) * w).sum().backward()
    assert x.grad.dtype == np.float32 and w.grad.dtype == np.float64
    g = grad(lambda x: (x * w).sum())(np.ones(2, dtype=np.float32))
    assert g.dtype == np.float32


def test_two_threads_record_apart() -> None:
    w = Tensor(np.ones((8, 8)), requires_grad=True)
    results: dict[int, Any] = {}

    def work(number: int) -> None:
        for _ in range(50):
            with no_grad():
                assert not (w * 2).requires_grad
            results[number] = grad(lambda v: (v @ v * number).sum())(w.data)

    threads = [threading.Thread(target=work, args=(i,)) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results[1] * 2, results[2])


def test_nodes_are_small() -> None:
    assert not hasattr(Node(()), "__dict__") and not hasattr(leaf(1.0), "__dict__")
