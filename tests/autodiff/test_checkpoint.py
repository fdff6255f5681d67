"""Checkpointing: the same values and gradients, from less memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from portable_nn.autodiff import Tensor, checkpoint, grad, gradcheck, no_grad
from portable_nn.autodiff.frame import Frame, inside
from portable_nn.backend.errors import GradientError
from tests.helpers import Backend


def block(x: Any, w: Any) -> Any:
    xp = x.__array_namespace__()
    return xp.tanh(x @ w) * xp.sin(x) + x


def test_values_and_gradients_are_the_same(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x, w = (backend.asarray(rng.normal(size=(4, 4))) for _ in range(2))
    results = []
    for run in (block, lambda x, w: checkpoint(block, x, w)):
        tensors = [Tensor(v, requires_grad=True) for v in (x, w)]
        out = run(run(*tensors), tensors[1])
        out.backward(x)
        results.append([out.data, *(t.grad for t in tensors)])
    for ours, theirs in zip(*results, strict=True):
        backend.assert_close(ours, theirs)


def test_orders_one_and_two() -> None:
    rng = np.random.default_rng(0)
    inputs = tuple(rng.normal(size=(3, 3)) for _ in range(2))
    assert gradcheck(lambda x, w: checkpoint(block, checkpoint(block, x, w), w), inputs, order=2)


def test_closed_over_tensors_get_their_gradients() -> None:
    w = Tensor(np.asarray([2.0]), requires_grad=True)
    v = w * w
    x = Tensor(np.asarray([3.0]), requires_grad=True)
    checkpoint(lambda x: x * v * w, x).sum().backward()
    np.testing.assert_array_equal(w.grad, [3 * 12.0])
    np.testing.assert_array_equal(x.grad, [8.0])


def test_trees_and_several_outputs() -> None:
    def f(tree: dict[str, Any], factor: float) -> dict[str, Any]:
        x, y = tree["x"], tree["rest"][0]
        xp = x.__array_namespace__()
        return {"product": x * y * factor, "sums": (x + y, xp.argmax(x)), "number": 3}

    x, y = (Tensor(np.asarray([v, 1.0]), requires_grad=True) for v in (2.0, 5.0))
    out = checkpoint(f, {"x": x, "rest": [y]}, 2.0)
    assert out["number"] == 3 and not out["sums"][1].requires_grad
    out["product"].sum().backward()
    np.testing.assert_array_equal(x.grad, [10.0, 2.0])
    inputs = ({"x": np.asarray([1.0, 2.0]), "rest": [np.asarray([3.0, 4.0])]},)
    assert gradcheck(
        lambda tree: checkpoint(f, tree, 2.0)["sums"][0] * checkpoint(f, tree, 0.5)["product"], inputs, order=2
    )


def test_nothing_recorded_is_a_plain_call() -> None:
    x = np.ones(2)
    assert isinstance(checkpoint(lambda x: x * 2, x), np.ndarray)
    t = Tensor(x, requires_grad=True)
    with no_grad():
        assert not checkpoint(lambda x: x * 2, t).requires_grad
    assert not checkpoint(lambda x: x > 0, t).requires_grad


def test_memory_is_saved() -> None:
    x = Tensor(np.ones((100_000,)), requires_grad=True)

    def deep(x: Any) -> Any:
        for _ in range(10):
            x = x * x
        return x

    def held(run: Any) -> int:
        tracemalloc.start()
        out = run(x)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert out.requires_grad
        return size

    plain, less = held(deep), held(lambda x: checkpoint(deep, x))
    assert plain > 7.9e6 and less < 1.7e6


def test_random_draws_are_repeated_and_buffers_dropped() -> None:
    frame = Frame(recording=True)
    draws: list[Any] = []
    module, handle = object(), object()

    def f(x: Any) -> Any:
        from portable_nn.autodiff.frame import current_frame

        now = current_frame()
        assert now is not None
        draws.append(now.next_stream(module))
        now.buffers[handle] = len(draws)
        return x * x

    x = Tensor(np.ones(2), requires_grad=True)
    with inside(frame):
        out = checkpoint(f, x)
    out.sum().backward()
    assert len(draws) == 2 and draws[0] == draws[1]
    assert frame.buffers[handle] == 1 and frame.calls == {"": 1}


def test_a_function_that_changes_raises() -> None:
    lengths = iter((2, 1))
    x = Tensor(np.ones(3), requires_grad=True)
    out = checkpoint(lambda x: x[: next(lengths)], x)
    with pytest.raises(GradientError, match="second run"):
        out.sum().backward()


def test_a_graph_freed_is_gone() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    out = checkpoint(lambda x: x * x, x).sum()
    out.backward()
    with pytest.raises(GradientError, match="freed"):
        out.backward()
    np.testing.assert_allclose(grad(lambda z: checkpoint(lambda z: z * z * z, z).sum())(np.ones(3)), [3.0] * 3)
