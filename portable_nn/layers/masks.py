"""What hides keys from queries: masks of scores, masks of keys, and lengths, as one mask."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.pooling import hidden_steps


def join_masks(mask: Any, padding_mask: Any, shape: tuple[int, ...]) -> Any:
    """One mask that broadcasts to (B, H, T, S), the shape, from one of scores and one of keys; either may be None.

    Lengths (B,) stay what they are if there is no mask of scores.

    Raises
    ------
    ShapeError, DTypeError
        A mask is not of its shape or not of booleans.
    """
    batch, heads, queries, keys = shape
    if padding_mask is not None and array_namespace(padding_mask).isdtype(padding_mask.dtype, "integral"):
        if mask is None:
            return padding_mask
        padding_mask = hidden_steps(padding_mask, batch, keys)
    if padding_mask is not None:
        xp = _check_mask("padding_mask", padding_mask, [(batch, keys)])
        padding_mask = xp.reshape(padding_mask, (-1 if batch else 0, 1, 1, padding_mask.shape[1]))
    if mask is not None:
        xp = _check_mask("mask", mask, [(queries, keys), (batch, queries, keys), shape])
        mask = xp.expand_dims(mask, axis=1) if len(mask.shape) == 3 else mask
    if mask is None or padding_mask is None:
        return padding_mask if mask is None else mask
    return array_namespace(mask, padding_mask).logical_or(mask, padding_mask)


def _check_mask(name: str, mask: Any, shapes: list[tuple[int, ...]]) -> Any:
    xp = array_namespace(mask)
    if not xp.isdtype(mask.dtype, "bool"):
        raise DTypeError(f"a {name} of booleans, True where a key is hidden", f"dtype {mask.dtype}",
                         "compare it first: mask < 0 for one that is added to scores, mask == 0 for ones and zeros")
    for shape in shapes:
        if len(mask.shape) == len(shape) and all(m in (1, n) for m, n in zip(mask.shape, shape)):
            return xp
    raise ShapeError(f"a {name} of shape {' or '.join(map(str, shapes))}", f"{tuple(mask.shape)}",
                     "give it an axis of length 1 for what it is the same for")
