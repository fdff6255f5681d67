"""Attention of a sequence to itself, over one array of queries, keys and values, as one product makes them."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.random import Stream, keep_threshold
from portable_nn.functional.attention import _backward as _separate_backward
from portable_nn.functional.attention import _check_mask, _raw, _scale
from portable_nn.functional.attention import _definition as _separate
from portable_nn.functional.attention import _forward as _separate_forward
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused


def _parts(packed):
    """(B, T, 3, H, D) as query, key and value (B, H, T, D)."""
    return [_swap(part) for part in array_namespace(packed).unstack(packed, axis=2)]


def _swap(x):
    """(B, H, T, D) as (B, T, H, D), and back."""
    return array_namespace(x).permute_dims(x, (0, 2, 1, 3))


def _definition(packed, mask, /, *, causal, scale, dropout_p, stream):
    return _swap(_separate(*_parts(packed), mask, causal=causal, scale=scale, dropout_p=dropout_p, stream=stream))


def _forward(packed, mask, **options):
    out, saved = _separate_forward(*_parts(packed), mask, **options)
    return _swap(out), saved


def _backward(xp, g, saved, packed, mask, causal, scale, dropout_p, stream, out, needs):
    gradients = _separate_backward(xp, _swap(g), saved, *_parts(packed), mask, causal, scale, dropout_p, stream,
                                   _swap(out), (True, True, True, False))
    return xp.stack([_swap(x) for x in gradients[:3]], axis=2), None


def _check(packed, mask, *, causal, scale, dropout_p, stream):
    check_floating("attention", packed)
    keep_threshold(dropout_p)
    if packed.ndim != 5 or packed.shape[2] != 3:
        raise ShapeError("queries, keys and values of shape (B, T, 3, H, D)", f"{packed.shape}",
                         "stack them along the third axis, or pass them to functional.attention")
    if mask is not None:
        batch, steps, _, heads, _ = packed.shape
        _check_mask(mask, (batch, heads, steps, steps), packed)


_packed_attention = fused("packed_attention", definition=_definition, forward=_forward, backward=_backward,
                          check=_check)


def packed_attention(packed: Any, mask: Any, *, causal: bool, scale: float | None, dropout_p: float,
                     stream: Stream | None) -> Any:
    """`attention` of queries, keys and values that lie side by side, and so do their gradients.

    Parameters
    ----------
    packed : floating array of shape (B, T, 3, H, D)
        H heads of queries, then of keys, then of values, for each step.
    mask, causal, scale, dropout_p, stream
        As in `attention` for a query of shape (B, H, T, D).

    Returns
    -------
    array of shape (B, T, H, D)
        Heads inside steps.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        As `attention` does.
    """
    if dropout_p and stream is None:
        raise ArgumentError("a stream of random numbers to drop by", "None", "pass stream=Stream(seed, path)")
    return _packed_attention(packed, _raw(mask), causal=causal, scale=_scale(packed, scale),
                             dropout_p=dropout_p, stream=stream if dropout_p else None)
