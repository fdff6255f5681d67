"""Calls of attention and of what Transformers use beside it; see `tests.functional.cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from portable_nn.backend import Stream

STREAM = Stream(3, "layer.attention", step=2, call=1)


def arrays(lead: tuple[int, ...], queries: int, keys: int, width: int = 4, values: int = 3, mask: Any = None,
           scale: float = 1.0, lengths: Any = None) -> Callable[..., tuple]:
    """Query, key, value and mask; `mask` is the shape of a random one that hides two thirds, or rows of 0 and 1;
    `lengths` stand in its place."""
    def make(rng: np.random.Generator) -> tuple:
        hidden = mask if mask is None or isinstance(mask, list) else rng.random(mask) < 2 / 3
        if lengths is not None:
            return (*make_three(rng), np.asarray(lengths, dtype=np.int32))
        return (*make_three(rng), None if hidden is None else np.asarray(hidden, dtype=bool))

    def make_three(rng: np.random.Generator) -> tuple:
        return (scale * rng.standard_normal((*lead, queries, width)), scale * rng.standard_normal((*lead, keys, width)),
                rng.standard_normal((*lead, keys, values)))
    return make


def packed(*shape: int, mask: Any = None, lengths: Any = None) -> Callable[..., tuple]:
    """One array of this shape (B, T, 3, H, D), and a mask."""
    def make(rng: np.random.Generator) -> tuple:
        array = rng.standard_normal(shape)
        return array, (None if mask is None else rng.random(mask) < 2 / 3) if lengths is None else np.asarray(
            lengths, dtype=np.int64)
    return make


MAKERS = {
    "heads": arrays((2, 3), 5, 7), "square": arrays((2,), 6, 6), "no lead": arrays((), 4, 5),
    "deep": arrays((2, 1, 2), 3, 4, mask=(2, 1, 1, 3, 4)), "one token": arrays((2, 2), 1, 1),
    "one query": arrays((2, 2), 1, 6, mask=(6,)), "one key": arrays((3,), 4, 1),
    "mask": arrays((2, 3), 5, 7, mask=(2, 3, 5, 7)), "shared mask": arrays((2, 3), 5, 7, mask=(5, 7)),
    "padding": arrays((2, 3), 5, 7, mask=(2, 1, 1, 7)), "rows hidden": arrays((2,), 4, 4, mask=(2, 4, 1)),
    "lengths": arrays((4, 3), 5, 7, lengths=[7, 3, 0, 1]), "lengths deep": arrays((2, 1, 2), 3, 4, lengths=[2, 9]),
    "lengths one axis": arrays((3,), 4, 6, lengths=[6, 0, 2]),
    "many lengths": arrays((5, 3), 70, 70, lengths=[70, 0, 64, 65, 1]),
    "all hidden": arrays((2,), 3, 4, mask=[[True]]), "empty batch": arrays((0, 2), 3, 4),
    "no queries": arrays((2,), 0, 4), "no keys": arrays((2,), 3, 0), "no values": arrays((2,), 3, 4, values=0),
    "wide range": arrays((2,), 5, 6, scale=12.0), "wide range mask": arrays((2,), 5, 6, scale=12.0, mask=(5, 6)),
    "many heads": arrays((5, 3), 70, 70, mask=(5, 1, 1, 70)), "blocks": arrays((1, 3), 180, 200)}


def options(causal: bool = False, scale: float | None = None, p: float = 0.0) -> dict[str, Any]:
    return {"causal": causal, "scale": scale, "dropout_p": p, "stream": STREAM}


ATTENTION = [("attention", name, make, options()) for name, make in MAKERS.items()]
ATTENTION += [("attention", f"{name} causal", MAKERS[name], options(causal=True, scale=0.3)) for name in (
    "heads", "square", "one token", "one query", "mask", "padding", "lengths", "all hidden", "no queries", "no keys",
    "wide range", "wide range mask")]
ATTENTION += [("attention", f"{name} dropout", MAKERS[name], options(causal=name == "square", p=p)) for name, p in (
    ("heads", 0.3), ("square", 0.5), ("mask", 0.3), ("no lead", 1.0), ("empty batch", 0.3), ("many heads", 0.1),
    ("lengths", 0.3))]
PACKED = {"plain": packed(2, 5, 3, 2, 4), "one step": packed(2, 1, 3, 2, 3), "one head": packed(3, 4, 3, 1, 5),
          "no rows": packed(0, 4, 3, 2, 4), "no steps": packed(2, 0, 3, 2, 4),
          "mask": packed(2, 5, 3, 2, 4, mask=(5, 5)), "padding": packed(2, 5, 3, 2, 4, mask=(2, 1, 1, 5)),
          "lengths": packed(3, 5, 3, 2, 4, lengths=[5, 0, 2]),
          "blocks": packed(2, 180, 3, 3, 4), "many heads": packed(5, 70, 3, 3, 4, lengths=[70, 1, 33, 0, 64])}
ATTENTION_PACKED = [("packed_attention", name, make, options()) for name, make in PACKED.items()]
ATTENTION_PACKED += [("packed_attention", f"{name} {kind}", PACKED[name], options(**given))
                     for name in ("plain", "lengths") for kind, given in (
                         ("causal", {"causal": True, "scale": 0.3}), ("dropout", {"p": 0.3}))]


def weights() -> list[tuple]:
    def drop_value(make: Callable[..., tuple]) -> Callable[..., tuple]:
        return lambda rng: (lambda query, key, value, mask: (query, key, mask))(*make(rng))

    return [("attention_weights", name, drop_value(MAKERS[name]), {"causal": name == "square", "scale": None})
            for name in ("heads", "square", "mask", "lengths", "all hidden", "empty batch", "no keys")]


def elementwise(operation: str, **options: Any) -> list[tuple]:
    shapes = {"odd": (3, 5, 7), "one": (1,), "empty": (0, 4), "blocks": (5, 7001)}
    return [(operation, name, lambda rng, shape=shape: (3 * rng.standard_normal(shape),), options)
            for name, shape in shapes.items()]


def rms_norm() -> list[tuple]:
    def make(x: tuple, over: tuple | None) -> Callable[..., tuple]:
        return lambda rng: (rng.standard_normal(x) + 1, None if over is None else rng.standard_normal(over))

    shapes = {"rows": make((4, 6), (6,)), "deep": make((2, 3, 5), (5,)), "two axes": make((3, 2, 5), (2, 5)),
              "bare": make((4, 6), None), "one row": make((1, 6), (6,)), "vector": make((6,), (6,)),
              "empty": make((0, 6), (6,)), "blocks": make((300, 257), (257,))}
    return [("rms_norm", name, value, {"eps": 1e-5}) for name, value in shapes.items()]


CALLS = [*ATTENTION, *ATTENTION_PACKED, *weights(), *elementwise("leaky_relu", negative_slope=0.1),
         *elementwise("silu"), *elementwise("softplus", beta=1.5, threshold=2.0), *rms_norm()]
