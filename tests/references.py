"""Inputs for the tests of layers, and what layers compute, once more in plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from portable_nn.backend.random import Stream, keep_mask


class Rows(NamedTuple):
    """Sparse rows as the data room makes them; layers know them by their fields."""

    indices: Any
    offsets: Any
    values: Any


def normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], tuple]:
    """Inputs of these shapes, and of a size that reaches the bends of every activation."""
    return lambda rng: tuple(2.0 * rng.standard_normal(shape) for shape in shapes)


def integers(high: int, shape: tuple[int, ...]) -> Callable[[np.random.Generator], tuple]:
    return lambda rng: (rng.integers(0, high, shape),)


def linear(state: dict, x: Any, prefix: str = "") -> Any:
    y = x @ state[prefix + "weight"].T
    return y + state[prefix + "bias"] if prefix + "bias" in state else y


def layer_norm(axes: int, eps: float = 1e-5) -> Callable[..., Any]:
    def formula(state: dict, x: Any) -> Any:
        over = tuple(range(-axes, 0))
        x_hat = (x - x.mean(axis=over, keepdims=True)) / np.sqrt(x.var(axis=over, keepdims=True) + eps)
        return x_hat * state.get("weight", 1.0) + state.get("bias", 0.0)
    return formula


def gelu_tanh(state: dict, x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def dropout(p: float) -> Callable[..., Any]:
    def formula(state: dict, x: Any) -> Any:
        mask, share = keep_mask(Stream(1, ""), x.shape, p, xp=np, device="cpu")
        return np.where(mask, x / share, 0.0) if share else 0 * x
    return formula


def bags(state: dict, indices: Any, offsets: Any, values: Any, mode: str) -> Any:
    ends = [*offsets[1:], len(indices)]
    rows = [state["weight"][indices[a:b]] * (1 if values is None else values[a:b, None]) for a, b in zip(offsets, ends)]
    return np.stack([r.sum(axis=0) / (max(len(r), 1) if mode == "mean" else 1) for r in rows])


def ragged(rng: np.random.Generator) -> tuple:
    """Seven indices, one of them repeated, in bags of 3, 0, 2 and 2."""
    return np.asarray([1, 4, 1, 0, 3, 2, 2]), np.asarray([0, 3, 3, 5])


def ragged_rows(rng: np.random.Generator) -> tuple:
    return (Rows(*ragged(rng), rng.standard_normal(7)),)


def weighted_mean(losses: Any, weight: Any) -> Any:
    losses = losses.reshape(len(losses), -1).mean(axis=1)
    return losses.mean() if weight is None else (losses * weight).sum() / weight.sum()


def cross_entropy(state: dict, x: Any, t: Any, w: Any = None) -> Any:
    return weighted_mean(-np.take_along_axis(special.log_softmax(x, axis=-1), t[..., None], axis=-1)[..., 0], w)


def bce(state: dict, x: Any, t: Any, w: Any = None) -> Any:
    return weighted_mean(-(t * np.log(special.expit(x)) + (1 - t) * np.log(special.expit(-x))), w)


def mse(state: dict, p: Any, t: Any, w: Any = None) -> Any:
    return weighted_mean((p - t) ** 2, w)


def half_mse(state: dict, p: Any, t: Any, w: Any = None) -> Any:
    return 0.5 * weighted_mean(((p - t) ** 2).reshape(len(p), -1).sum(axis=1), w)


def labelled(*shape: int, high: int = 4, weights: bool = False) -> Callable[[np.random.Generator], tuple]:
    def make(rng: np.random.Generator) -> tuple:
        rows = (2 * rng.standard_normal((*shape, high)), rng.integers(0, high, shape))
        return (*rows, rng.uniform(0.5, 2.0, shape[:1])) if weights else rows
    return make


def shares(shape: tuple[int, ...], weights: bool = False) -> Callable[[np.random.Generator], tuple]:
    def make(rng: np.random.Generator) -> tuple:
        rows = (2 * rng.standard_normal(shape), rng.uniform(0, 1, shape))
        return (*rows, rng.uniform(0.5, 2.0, shape[:1])) if weights else rows
    return make


def yes_or_no(rng: np.random.Generator) -> tuple:
    return rng.standard_normal(6), rng.integers(0, 2, 6)
