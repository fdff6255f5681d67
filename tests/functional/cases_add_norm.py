"""Calls of what Transformers are made of, dropout included: (operation, name, make, options) each, see `cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portable_nn.backend import Stream

STREAM = Stream(4, "layer.dropout1", step=1, call=2)


def _sums() -> list[tuple]:
    shapes = {"odd": (3, 5, 7), "one": (1,), "empty": (0, 4), "blocks": (5, 7001)}
    return [("add_dropout", f"{name} p={p}", lambda rng, s=shape: (rng.standard_normal(s), rng.standard_normal(s)),
             {"p": p, "stream": stream})
            for name, shape in shapes.items() for p, stream in ((0.3, STREAM), (0, None))]


def _norms(norm: str) -> list[tuple]:
    def make(x: tuple, over: tuple, y: bool = True, weight: bool = True, bias: bool = True) -> Callable[..., tuple]:
        return lambda rng: (rng.standard_normal(x) + 1, rng.standard_normal(x) if y else None,
                            rng.standard_normal(over) if weight else None,
                            rng.standard_normal(over) if bias and norm == "layer" else None)

    arguments: dict[str, Callable[..., tuple]] = {
        "rows": make((4, 6), (6,)), "deep": make((2, 3, 16), (16,)), "two axes": make((3, 2, 5), (2, 5)),
        "no bias": make((4, 6), (6,), bias=False), "bare": make((4, 6), (6,), weight=False, bias=False),
        "one alone": make((4, 6), (6,), y=False), "one row": make((1, 6), (6,)), "no rows": make((6,), (6,)),
        "empty": make((0, 6), (6,)), "blocks": make((300, 257), (257,))}
    ways: list[dict[str, Any]] = [{"p": 0.3, "stream": STREAM, "both": True}, {"p": 0, "stream": None, "both": True},
                                  {"p": 0.3, "stream": STREAM, "both": False}]
    return [("add_norm", f"{name} {norm} p={way['p']}{'' if way['both'] else ' alone'}", value,
             {"norm": norm, "eps": 1e-5, **way})
            for name, value in arguments.items() for way in (ways if name in ("rows", "deep", "blocks") else ways[:1])]


def _linear() -> list[tuple]:
    def make(*lead: int, bias: bool = True, features: tuple[int, int] = (5, 6)) -> Callable[..., tuple]:
        i, o = features
        return lambda rng: (rng.standard_normal((*lead, i)), rng.standard_normal((o, i)),
                            rng.standard_normal(o) if bias else None)

    arguments = {"rows": make(4), "deep": make(2, 3, features=(3, 16)), "no bias": make(4, bias=False),
                 "empty": make(0), "blocks": make(300, features=(2, 530))}
    return [("linear_dropout", f"{name} {activation}", value, {"activation": activation, "p": 0.3, "stream": STREAM})
            for name, value in arguments.items() for activation in ("gelu", "relu", "tanh", None)]


def _sequences() -> list[tuple]:
    def make(rows: int, length: int, width: int) -> Callable[..., tuple]:
        return lambda rng: (rng.integers(0, 7, (rows, length)), rng.standard_normal((7, width)),
                            rng.standard_normal((length, width)))

    arguments = {"odd": make(3, 5, 7), "wide": make(3, 4, 16), "empty": make(0, 3, 4), "many": make(5, 9, 200)}
    return [("embed_sequence", f"{name} p={p}", value, {"p": p, "stream": stream})
            for name, value in arguments.items() for p, stream in ((0.3, STREAM), (0, None))]


CALLS = [*_sums(), *_norms("layer"), *_norms("rms"), *_linear(), *_sequences()]
