"""Outputs and gradients of every operation against PyTorch, in float64, over shapes that hypothesis picks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn import Tensor, functional, kernels

torch = pytest.importorskip("torch", reason="PyTorch is not installed; the nox session parity brings it")
F = torch.nn.functional

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(1, 9)
leads = st.lists(st.integers(0, 4), max_size=3).map(tuple)
scales = st.sampled_from([0.1, 1.0, 50.0])
quick = settings(max_examples=40, deadline=None)


def parity(ours: Any, theirs: Any, *arrays: np.ndarray | None) -> None:
    """Compare values, and gradients of all floating arrays for a random cotangent: kernel, generic pair, definition."""
    peers = [None if a is None else torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    expected = theirs(*peers)
    cotangent = np.random.default_rng(5).standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(cotangent))
    for context in (None, kernels.disabled(generic=True), kernels.disabled()):
        mine = [Tensor(a, requires_grad=True) if a is not None and a.dtype.kind == "f" else a for a in arrays]
        if context is None:
            out = ours(*mine)
        else:
            with context:
                out = ours(*mine)
        close(out.data, expected)
        out.backward(cotangent)
        for x, peer in zip(mine, peers, strict=True):
            if isinstance(x, Tensor):
                close(x.grad, peer.grad)


def close(actual: np.ndarray, expected: Any) -> None:
    expected = expected.detach().numpy()
    scale = np.max(np.abs(expected), initial=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10 * scale)


@quick
@given(seeds, leads, lengths, lengths, st.booleans(), st.sampled_from([None, "relu", "gelu", "tanh", "sigmoid"]))
def test_linear(seed: int, lead: tuple, i: int, o: int, biased: bool, activation: str | None) -> None:
    rng = np.random.default_rng(seed)
    arrays = rng.standard_normal((*lead, i)), rng.standard_normal((o, i)), rng.standard_normal(o) if biased else None
    activate = {None: lambda x: x, "relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    parity(lambda x, w, b: functional.linear(x, w, b, activation=activation),
           lambda x, w, b: activate[activation](F.linear(x, w, b)), *arrays)


@quick
@given(seeds, leads, scales, st.sampled_from(["relu", "sigmoid", "tanh", "none", "approximate"]))
def test_activations(seed: int, shape: tuple, scale: float, name: str) -> None:
    x = scale * np.random.default_rng(seed).standard_normal((*shape, 3))
    ours = {"none": lambda x: functional.gelu(x, approximate="none"),
            "approximate": lambda x: functional.gelu(x, approximate="tanh")}
    theirs = {"none": F.gelu, "approximate": lambda x: F.gelu(x, approximate="tanh")}
    parity(ours.get(name) or getattr(functional, name), theirs.get(name) or getattr(torch, name), x)


@quick
@given(seeds, leads, lengths, scales, st.data(), st.sampled_from(["softmax", "log_softmax"]))
def test_softmax(seed: int, lead: tuple, width: int, scale: float, data: Any, name: str) -> None:
    x = scale * np.random.default_rng(seed).standard_normal((*lead, width))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    parity(lambda x: getattr(functional, name)(x, axis=axis), lambda x: getattr(F, name)(x, dim=axis), x)


@quick
@given(seeds, st.integers(0, 9), lengths, scales, st.booleans())
def test_cross_entropy(seed: int, rows: int, classes: int, scale: float, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    logits, target = scale * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)
    weight = rng.uniform(0.5, 2, classes) if weighted else None
    peer_weight = None if weight is None else torch.tensor(weight)  # theirs has no gradient for it
    parity(lambda x: functional.cross_entropy(x, target, weight),
           lambda x: F.cross_entropy(x, torch.tensor(target), peer_weight, reduction="none"), logits)


@quick
@given(seeds, leads, scales)
def test_pairs(seed: int, shape: tuple, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, z = scale * rng.standard_normal((*shape, 2)), rng.uniform(0, 1, (*shape, 2))
    parity(functional.binary_cross_entropy_with_logits,
           lambda x, z: F.binary_cross_entropy_with_logits(x, z, reduction="none"), x, z)
    parity(functional.squared_error, lambda x, z: F.mse_loss(x, z, reduction="none"), x, z)


@quick
@given(seeds, leads, st.lists(lengths, min_size=1, max_size=2).map(tuple), st.booleans(), st.booleans())
def test_layer_norm(seed: int, lead: tuple, over: tuple, weighted: bool, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = (rng.standard_normal(over) if given else None for given in (weighted, biased))
    axes = over if weighted or biased else over[-1:]
    x = rng.standard_normal((*lead, *over))
    # A row of two elements has slopes of any size; with a larger ε rounding in them stays small.
    parity(lambda *a: functional.layer_norm(*a, eps=1e-2),
           lambda x, w, b: F.layer_norm(x, axes, w, b, eps=1e-2), x, weight, bias)


@quick
@given(seeds, leads, lengths, lengths)
def test_embedding(seed: int, shape: tuple, size: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    parity(functional.embedding, F.embedding, rng.integers(0, size, shape), rng.standard_normal((size, dim)))


@quick
@given(seeds, st.lists(st.integers(0, 5), min_size=1, max_size=6), lengths, lengths,
       st.sampled_from(["sum", "mean", "w"]))
def test_embedding_bag(seed: int, counts: list[int], size: int, dim: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    offsets, n = np.cumsum([0, *counts])[:-1], sum(counts)
    mode = "mean" if kind == "mean" else "sum"
    arrays = [rng.integers(0, size, n), offsets, rng.standard_normal((size, dim))]
    weights = rng.standard_normal(n) if kind == "w" else None
    parity(lambda i, o, t, w: functional.embedding_bag(i, o, t, w, mode=mode),
           lambda i, o, t, w: F.embedding_bag(i, t, o, mode=mode, per_sample_weights=w), *arrays, weights)
