"""JAX's nets of the workloads: functions of a flat dict of parameters by our names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.workloads import trains

Parameters = dict[str, Any]


def linear(p: Parameters, name: str, x: Any) -> Any:
    return x @ p[name + "weight"].T + p[name + "bias"]


def layer_norm(p: Parameters, name: str, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * p[name + "weight"] + p[name + "bias"]


def cross_entropy(logits: Any, target: Any) -> Any:
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    chosen = jnp.take_along_axis(logits, target[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - chosen).mean()


def dropout(keys: Iterator[Any], x: Any, rate: float) -> Any:
    if rate == 0:
        return x
    return jnp.where(jax.random.bernoulli(next(keys), 1 - rate, x.shape), x / (1 - rate), 0).astype(x.dtype)


def attention(p: Parameters, name: str, x: Any, heads: int, keys: Iterator[Any], rate: float, causal: bool) -> Any:
    b, t, c = x.shape
    joint = x @ p[name + "in_proj_weight"].T + p[name + "in_proj_bias"]
    q, k, v = jnp.split(joint.reshape(b, t, 3 * heads, c // heads), 3, axis=2)             # (B, T, H, D)
    if rate == 0 and x.dtype != jnp.float64:  # its softmax is float32 whatever the dtype, so it is not for the check
        out = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
    else:
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / math.sqrt(c // heads)
        scores = scores.astype(jnp.promote_types(x.dtype, jnp.float32))
        if causal:
            scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, jnp.finfo(scores.dtype).min)
        weights = dropout(keys, jax.nn.softmax(scores, -1).astype(x.dtype), rate)
        out = jnp.einsum("bhts,bshd->bthd", weights, v)
    return linear(p, name + "out_proj.", out.reshape(b, t, c))


def mlp(spec: dict[str, Any], p: Parameters, x: Any) -> Any:
    last = 2 * (len(spec["sizes"]) - 2)
    for number in range(0, last, 2):
        x = jax.nn.relu(linear(p, f"{number}.", x))
    return linear(p, f"{last}.", x)


def lstm(p: Parameters, x: Any) -> Any:
    """(B, T, F) -> (B, H), the last h."""
    joint = x @ p["lstm.weight_ih_l0"].T + (p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"])

    def cell(carry: tuple[Any, Any], z: Any) -> tuple[tuple[Any, Any], None]:
        h, c = carry
        i, f, g, o = jnp.split(z + h @ p["lstm.weight_hh_l0"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zero = jnp.zeros((x.shape[0], p["lstm.weight_hh_l0"].shape[1]), joint.dtype)
    return jax.lax.scan(cell, (zero, zero), jnp.swapaxes(joint, 0, 1))[0][0]


def encoder(spec: dict[str, Any], p: Parameters, words: Any, keys: Iterator[Any]) -> Any:
    rate = spec["dropout"] if trains(spec) else 0.0
    h = p["tokens.weight"][words] + p["positions.weight"][:words.shape[1]]
    for number in range(spec["layers"]):
        name = f"encoder.layers.{number}."
        attended = attention(p, name + "self_attn.", h, spec["heads"], keys, rate, False)
        h = layer_norm(p, name + "norm1.", h + dropout(keys, attended, rate))
        wide = dropout(keys, jax.nn.gelu(linear(p, name + "linear1.", h), approximate=False), rate)
        h = layer_norm(p, name + "norm2.", h + dropout(keys, linear(p, name + "linear2.", wide), rate))
    return linear(p, "out.", h.mean(1))


def gpt(spec: dict[str, Any], p: Parameters, words: Any, keys: Iterator[Any]) -> Any:
    rate = spec["dropout"]
    h = dropout(keys, p["tokens.weight"][words] + p["positions.weight"][:words.shape[1]], rate)
    for number in range(spec["layers"]):
        name = f"blocks.{number}."
        attended = attention(p, name + "attention.", layer_norm(p, name + "norm1.", h), spec["heads"], keys, rate, True)
        h = h + dropout(keys, attended, rate)
        wide = jax.nn.gelu(linear(p, name + "up.", layer_norm(p, name + "norm2.", h)), approximate=False)
        h = h + dropout(keys, linear(p, name + "down.", wide), rate)
    return layer_norm(p, "norm.", h) @ p["head.weight"].T


def make_loss(spec: dict[str, Any]) -> Callable[[Parameters, tuple[Any, ...], Any], Any]:
    """`loss(parameters, batch, key)`; for inference the result itself."""
    kind = spec["kind"]

    def loss(p: Parameters, batch: tuple[Any, ...], key: Any) -> Any:
        keys = iter(jax.random.split(key, 4 * spec.get("layers", 0) + 1)) if spec.get("dropout") else iter(())
        if kind == "mlp":
            return cross_entropy(mlp(spec, p, batch[0]), batch[1])
        if kind == "bow":
            hidden = jax.nn.relu(linear(p, "hidden.", p["embed.weight"][batch[0]].mean(1)))
            z = linear(p, "out.", hidden)[:, 0]
            return (jnp.maximum(z, 0) - z * batch[1] + jnp.log1p(jnp.exp(-jnp.abs(z)))).mean()
        if kind == "lstm":
            return jnp.square(linear(p, "out.", lstm(p, batch[0]))[:, 0] - batch[1]).mean()
        if kind == "encoder":
            logits = encoder(spec, p, batch[0], keys)
            return cross_entropy(logits, batch[1]) if trains(spec) else logits
        if kind == "gpt":
            return cross_entropy(gpt(spec, p, batch[0], keys), batch[1])
        sign = np.asarray([1.0] + [-1.0] * spec["negatives"], dtype=p["words.weight"].dtype)
        scores = jnp.einsum("bd,bkd->bk", p["words.weight"][batch[0]], p["contexts.weight"][batch[1]])
        return -jax.nn.log_sigmoid(scores * sign).sum(1).mean()

    return loss
