"""Scaled dot-product attention: its definition, and a pair that never holds all scores of long inputs."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.devices import device_name
from portable_nn.backend.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.backend.random import Stream, keep_threshold
from portable_nn.functional.checks import at_least_float32, check_floating
from portable_nn.functional.dropout import _definition as _define_dropout
from portable_nn.functional.fused import fused
from portable_nn.functional.products import product, stored
from portable_nn.functional.softmax import _define_softmax
from portable_nn.functional.tiles import Scores, as_mask, hidden_scores, lowest, replace


def _define_weights(query, key, mask, /, *, causal, scale):
    xp = array_namespace(query, key)
    scores = product(at_least_float32(xp, query) * scale, xp.matrix_transpose(at_least_float32(xp, key)))
    mask = as_mask(mask, query.ndim, key.shape[-2])
    hidden = hidden_scores(xp, mask, slice(0, query.shape[-2]), slice(0, key.shape[-2]), causal, query.device)
    if hidden is not None:
        scores = replace(xp, hidden, scores, lowest(xp, scores.dtype))
    weights = _define_softmax(scores, axis=-1)
    weights = weights if hidden is None else replace(xp, hidden, weights, 0.0)  # a row hidden whole has no weights
    return xp.astype(weights, query.dtype, copy=False)                          # (..., T, S)


def _definition(query, key, value, mask, /, *, causal, scale, dropout_p, stream):
    weights = _define_weights(query, key, mask, causal=causal, scale=scale)
    return stored(product(_define_dropout(weights, p=dropout_p, stream=stream), value))


def _forward(query, key, value, mask, *, causal, scale, dropout_p, stream):
    """Softmax over the keys tile by tile, largest score and sum corrected as they come; keeps the log of the sum."""
    s = Scores.of(query, key, value, mask, causal, scale, dropout_p, stream)
    xp, device, dtype, lead = s.xp, query.device, s.query.dtype, query.shape[:-2]
    outs, logs = [], []
    for rows in s.tiles.rows:
        height, keep = rows.stop - rows.start, s.tiles.draw(xp, rows, device)
        top = xp.full((*lead, height, 1), lowest(xp, dtype), dtype=dtype, device=device)
        total = xp.zeros((*lead, height, 1), dtype=dtype, device=device)
        out = xp.zeros((*lead, height, value.shape[-1]), dtype=dtype, device=device)
        for columns in s.tiles.columns(rows):
            scores, hidden = s.tile(rows, columns)
            new = xp.maximum(top, xp.max(scores, axis=-1, keepdims=True))
            e, shrink = xp.exp(scores - new), xp.exp(top - new)
            e = e if hidden is None else replace(xp, hidden, e, 0.0)
            total = total * shrink + xp.sum(e, axis=-1, keepdims=True)
            e = e if keep is None else e * s.tiles.factors(xp, keep, columns, dtype)
            out, top = out * shrink + xp.matmul(e, s.value[..., columns, :]), new
        total = xp.where(total == 0, xp.ones_like(total), total)                # nothing to be seen: zeros
        outs.append(out / total)
        logs.append(top + xp.log(total))
    return xp.astype(xp.concat(outs, axis=-2), query.dtype, copy=False), xp.concat(logs, axis=-2)


def _backward(xp, g, saved, query, key, value, mask, causal, scale, dropout_p, stream, out, needs):
    """∂s = w (∂w - Σ ∂w w), and Σ ∂w w over the keys is g · out; the weights w are made again from the scores."""
    s = Scores.of(query, key, value, mask, causal, scale, dropout_p, stream)
    g = at_least_float32(xp, g)
    delta = xp.sum(g * out, axis=-1, keepdims=True)                             # (..., T, 1)
    if 0 in (*out.shape, *key.shape):
        return tuple(xp.zeros_like(x) if need else None for x, need in zip((query, key, value), needs)) + (None,)
    g_queries, g_keys, g_values = [], {}, {}
    for rows in s.tiles.rows:
        keep = s.tiles.draw(xp, rows, g.device)
        g_rows, g_query = g[..., rows, :], xp.zeros_like(s.query[..., rows, :])
        for columns in s.tiles.columns(rows):
            scores, hidden = s.tile(rows, columns)
            w = xp.exp(scores - saved[..., rows, :])
            w = w if hidden is None else replace(xp, hidden, w, 0.0)
            g_w = xp.matmul(g_rows, xp.matrix_transpose(s.value[..., columns, :]))
            dropped = w
            if keep is not None:
                factors = s.tiles.factors(xp, keep, columns, g.dtype)
                dropped, g_w = w * factors, g_w * factors
            g_s = w * (g_w - delta[..., rows, :])
            g_query = g_query + xp.matmul(g_s, s.key[..., columns, :])
            _accumulate(g_values, columns.start, xp.matmul(xp.matrix_transpose(dropped), g_rows))
            _accumulate(g_keys, columns.start, xp.matmul(xp.matrix_transpose(g_s), s.query[..., rows, :]))
        g_queries.append(g_query * scale)
    found = [g_queries, list(g_keys.values()), list(g_values.values())]
    shapes = key.shape, value.shape
    for parts, shape in zip(found[1:], shapes):  # keys after the last row are hidden from all by `causal`
        missing = shape[-2] - sum(part.shape[-2] for part in parts)
        if missing:
            parts.append(xp.zeros((*shape[:-2], missing, shape[-1]), dtype=g.dtype, device=g.device))
    return *(xp.astype(xp.concat(parts, axis=-2), x.dtype, copy=False) if need else None
             for parts, x, need in zip(found, (query, key, value), needs)), None


def _accumulate(sums: dict, start: int, x: Any) -> None:
    sums[start] = sums[start] + x if start in sums else x


def _check(query, key, value, mask, *, causal, scale, dropout_p, stream):
    check_floating("attention", query, key, value)
    keep_threshold(dropout_p)
    if query.ndim < 2 or key.shape[:-2] != query.shape[:-2] or key.shape[-1:] != query.shape[-1:] or (
            value.shape[:-1] != key.shape[:-1]):
        raise ShapeError("query (..., T, D), key (..., S, D) and value (..., S, E), with the same axes in front",
                         f"{query.shape}, {key.shape} and {value.shape}", "reshape or broadcast them")
    if mask is not None:
        _check_mask(mask, (*query.shape[:-1], key.shape[-2]), query)


def _check_weights(query, key, mask, *, causal, scale):
    _check(query, key, key, mask, causal=causal, scale=scale, dropout_p=0, stream=None)


def _check_mask(mask, shape, x):
    """Of scores of this shape, made of x."""
    xp = array_namespace(mask)
    lengths = not xp.isdtype(mask.dtype, "bool")
    if lengths and not xp.isdtype(mask.dtype, "integral"):
        raise DTypeError("a mask of booleans, True where a score is hidden, or integer lengths", f"dtype {mask.dtype}",
                         "compare it first: mask < 0 for one that is added to scores, mask == 0 for ones and zeros")
    if mask.device != x.device:
        raise DeviceError(f"a mask on {device_name(x)}", device_name(mask), "move it with portable_nn.to_device")
    if lengths and (len(shape) < 3 or tuple(mask.shape) != shape[:1]):
        raise ShapeError(f"lengths that count keys, one for each row of the first of the axes in front of {shape[-2:]}",
                         f"integers {tuple(mask.shape)} for scores {shape}",
                         "compare integers first to make a mask of booleans: mask == 0 for ones and zeros")
    fits = len(mask.shape) <= len(shape) and all(m in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1]))
    if not (lengths or fits):
        raise ShapeError(f"a mask that broadcasts to {shape}", f"{mask.shape}",
                         "give it axes of length 1, as with mask[:, None, None, :] for one of (B, S)")


_attention = fused("attention", definition=_definition, forward=_forward, backward=_backward, check=_check)
_attention_weights = fused("attention_weights", definition=_define_weights, check=_check_weights)


def attention(query: Any, key: Any, value: Any, mask: Any, *, causal: bool, scale: float | None, dropout_p: float,
              stream: Stream | None) -> Any:
    """softmax(q kᵀ · scale) v: for each query the mean of the values, weighted by how well their keys match it.

    Parameters
    ----------
    query : floating array of shape (..., T, D)
    key : array of shape (..., S, D)
    value : array of shape (..., S, E)
        The axes in front, such as batch and heads, are those of the query.
    mask : boolean array that broadcasts to (..., T, S), integers (B,) for the first of the axes in front, or None
        True where a key is hidden from a query. PyTorch's `scaled_dot_product_attention` means the opposite (its
        `MultiheadAttention` the same). Integers say how many keys count, the first ones, and hide those after them;
        they let kernels skip the others. A query from which all keys are hidden gets zeros, and no gradient.
    causal : bool
        Hide from query t all keys after t.
    scale : float or None for 1/√D
    dropout_p : float
        The share of the weights to drop, as `dropout` does over an array of shape (..., T, S). In half precision on a
        GPU cuDNN draws from a stream of its own, keyed by this one: the same in every run, but not this mask.
    stream : Stream, or None where nothing is dropped

    Returns
    -------
    array of shape (..., T, E)
        Of the query's dtype; scores and their softmax are computed in at least float32.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Shapes do not fit; dtypes are not floating or differ, the mask is not of booleans; devices differ; `dropout_p`
        is not from 0 to 1, or there is no stream to drop by.

    Notes
    -----
    Of long inputs the scores are worked on in tiles and made again for the gradient, so that memory grows as T + S.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, equation 1; tiles as T. Dao et al., "FlashAttention", 2022.
    """
    if dropout_p and stream is None:
        raise ArgumentError("a stream of random numbers to drop by", "None", "pass stream=Stream(seed, path)")
    return _attention(query, key, value, _raw(mask), causal=causal, scale=_scale(query, scale), dropout_p=dropout_p,
                      stream=stream if dropout_p else None)


def attention_weights(query: Any, key: Any, mask: Any, *, causal: bool, scale: float | None) -> Any:
    """The weights of `attention`, (..., T, S), before dropout: rows sum to 1, or to 0 where all is hidden."""
    return _attention_weights(query, key, _raw(mask), causal=causal, scale=_scale(query, scale))


def _raw(mask: Any) -> Any:
    return mask.data if is_tensor(mask) else mask


def _scale(query: Any, scale: float | None) -> float:
    shape = getattr(query, "shape", ())
    return scale if scale is not None else 1 / math.sqrt(max(shape[-1], 1) if shape else 1)
