"""What losses compute, once more in plain NumPy, and inputs for them; see `tests/specs_losses.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from tests.references import labelled


def elementwise(losses: Callable[..., Any], reduction: str = "mean") -> Callable[..., Any]:
    """A loss by its formula for one element: times the weights of the rows, then reduced."""
    def formula(state: dict, x: Any, t: Any, w: Any = None) -> Any:
        values = losses(state, x, t)
        weights = np.ones(values.shape) if w is None else np.broadcast_to(
            w.reshape(w.shape + (1,) * (values.ndim - w.ndim)), values.shape)
        return _reduced(values * weights, weights, reduction)
    return formula


def _reduced(weighted: Any, weights: Any, reduction: str) -> Any:
    return weighted if reduction == "none" else weighted.sum() / (weights.sum() if reduction == "mean" else 1)


def classes(ignored: int = -100, smoothing: float = 0.0, reduction: str = "mean", logits: bool = True) -> Any:
    """Row by row, against the smoothed distribution of each label, with class weights from the state."""
    def formula(state: dict, x: Any, t: Any, w: Any = None) -> Any:
        log_p = special.log_softmax(x, axis=-1) if logits else x
        count = x.shape[-1]
        weight = state.get("weight", np.ones(count))
        losses, mass = np.zeros(t.shape), np.zeros(t.shape)
        for place in np.ndindex(t.shape):
            if t[place] == ignored:
                continue
            wanted = np.full(count, smoothing / count)
            wanted[t[place]] += 1 - smoothing
            rows = 1.0 if w is None else w[place[:w.ndim]]
            losses[place] = rows * -(wanted * weight * log_p[place]).sum()
            mass[place] = rows * weight[t[place]]
        return _reduced(losses, mass, reduction)
    return formula


def ignoring(label: int, weights: bool = False) -> Callable[[np.random.Generator], tuple]:
    """Six rows of logits, two of them with the label to ignore."""
    def make(rng: np.random.Generator) -> tuple:
        x, t, *rest = labelled(6, weights=weights)(rng)
        t[[1, 4]] = label
        return (x, t, *rest)
    return make


def log_probabilities(*shape: int, weights: bool = False) -> Callable[[np.random.Generator], tuple]:
    def make(rng: np.random.Generator) -> tuple:
        x, *rest = labelled(*shape, weights=weights)(rng)
        return (special.log_softmax(x, axis=-1), *rest)
    return make


def probabilities(shape: tuple[int, ...], weights: bool = False) -> Callable[[np.random.Generator], tuple]:
    def make(rng: np.random.Generator) -> tuple:
        rows = (rng.uniform(0.05, 0.95, shape), rng.uniform(0, 1, shape))
        return (*rows, rng.uniform(0.5, 2.0, shape[:1])) if weights else rows
    return make


def sure(state: dict, p: Any, t: Any) -> Any:
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def positive(state: dict, x: Any, t: Any) -> Any:
    yes, no = -np.log(special.expit(x)), -np.log(special.expit(-x))
    return state.get("pos_weight", 1.0) * t * yes + (1 - t) * no


def half_rows(state: dict, p: Any, t: Any) -> Any:
    return 0.5 * ((p - t) ** 2).reshape(len(p), -1).sum(axis=1)


def huber(delta: float) -> Callable[..., Any]:
    def losses(state: dict, p: Any, t: Any) -> Any:
        size = abs(p - t)
        return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
    return losses


def pinball(quantile: Any) -> Callable[..., Any]:
    def losses(state: dict, p: Any, t: Any) -> Any:
        e = (t[..., None] if isinstance(quantile, list) else t) - p
        return np.maximum(np.asarray(quantile) * e, (np.asarray(quantile) - 1) * e)
    return losses
