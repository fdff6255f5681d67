"""Attention and Transformers once more in plain NumPy, head by head and query by query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from portable_nn.backend.random import Stream, keep_mask
from tests.references import layer_norm


def part(state: dict, prefix: str) -> dict:
    return {name[len(prefix):]: x for name, x in state.items() if name.startswith(prefix)}


def affine(state: dict, x: Any, prefix: str = "") -> Any:
    return x @ state[prefix + "weight"].T + state.get(prefix + "bias", 0.0)


def attend(q: Any, k: Any, v: Any, hidden: Any) -> tuple[Any, Any]:
    """One head: each query looks at the keys that it sees, and only at them."""
    weights = np.zeros((len(q), len(k)))
    for t, query in enumerate(q):
        seen = np.flatnonzero(~hidden[t])
        if len(seen):
            weights[t, seen] = special.softmax(k[seen] @ query / np.sqrt(len(query)))
    return weights, weights @ v


def multihead(state: dict, query: Any, key: Any = None, value: Any = None, hidden: Any = None, *, heads: int,
              causal: bool = False, dropout: float = 0.0, path: str = "", with_weights: bool = False) -> Any:
    key = query if key is None else key
    value = key if value is None else value
    (batch, steps, width), length = query.shape, key.shape[1]
    maps = (np.split(state["in_proj_weight"], 3) if "in_proj_weight" in state
            else [state[f"{name}_proj_weight"] for name in "qkv"])
    biases = np.split(state["in_proj_bias"], 3) if "in_proj_bias" in state else (0.0, 0.0, 0.0)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), maps, biases))
    hidden = np.broadcast_to(False if hidden is None else hidden, (batch, heads, steps, length)).copy()
    if causal:
        hidden |= np.triu(np.ones((steps, length), dtype=bool), 1)
    weights, y, size = np.zeros(hidden.shape), np.zeros((batch, steps, width)), width // heads
    keep, share = keep_mask(Stream(1, path), hidden.shape, dropout, xp=np, device="cpu")
    for b in range(batch):
        for h in range(heads):
            columns = slice(h * size, (h + 1) * size)
            weights[b, h], _ = attend(q[b][:, columns], k[b][:, columns], v[b][:, columns], hidden[b, h])
            y[b][:, columns] = (weights[b, h] * keep[b, h] / share) @ v[b][:, columns]
    y = affine(state, y, "out_proj.")
    return np.concatenate([y.ravel(), weights.ravel()]) if with_weights else y


def encoder_layer(state: dict, x: Any, hidden: Any = None, *, heads: int, activation: Callable[[Any], Any],
                  norm_first: bool, causal: bool = False) -> Any:
    norm = lambda name, x: layer_norm(1)(part(state, name), x)  # noqa: E731
    attention = lambda x: multihead(part(state, "self_attn."), x, hidden=hidden, heads=heads, causal=causal)  # noqa: E731
    feed = lambda x: affine(state, activation(affine(state, x, "linear1.")), "linear2.")  # noqa: E731
    if norm_first:
        x = x + attention(norm("norm1.", x))
        return x + feed(norm("norm2.", x))
    x = norm("norm1.", x + attention(x))
    return norm("norm2.", x + feed(x))


def decoder_layer(state: dict, x: Any, memory: Any, hidden: Any = None, other: Any = None, *, heads: int,
                  norm_first: bool, causal: bool = False) -> Any:
    norm = lambda name, x: layer_norm(1)(part(state, name), x)  # noqa: E731
    steps = [
        lambda x: multihead(part(state, "self_attn."), x, hidden=hidden, heads=heads, causal=causal),
        lambda x: multihead(part(state, "multihead_attn."), x, memory, hidden=other, heads=heads),
        lambda x: affine(state, np.maximum(affine(state, x, "linear1."), 0), "linear2.")]
    for i, step in enumerate(steps, start=1):
        x = x + step(norm(f"norm{i}.", x)) if norm_first else norm(f"norm{i}.", x + step(x))
    return x


def waves(length: int, width: int) -> Any:
    """Positions as Vaswani et al. (2017), section 3.5, print them."""
    p = np.zeros((length, width))
    for t in range(length):
        for column in range(width):
            angle = t / 10000 ** (2 * (column // 2) / width)
            p[t, column] = np.cos(angle) if column % 2 else np.sin(angle)
    return p


def rms_norm(axes: int, eps: float = float(np.finfo(np.float64).eps)) -> Callable[..., Any]:
    def formula(state: dict, x: Any) -> Any:
        mean = (x**2).mean(axis=tuple(range(-axes, 0)), keepdims=True)
        return x / np.sqrt(mean + eps) * state.get("weight", 1.0)
    return formula
