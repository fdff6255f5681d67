"""Calls of every fused operation, for the tests that hold all implementations of an operation to each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portable_nn import functional
from portable_nn.backend import Stream
from portable_nn.backend.namespace import array_namespace
from tests.functional import cases_add_norm, cases_attention, cases_channels, cases_skipgram

STREAM = Stream(3, "layer.dropout", step=2, call=1)


@dataclass(frozen=True)
class Case:
    """One call: `make(rng)` gives the host arrays (float64, integers or None) in the order the operation takes them."""

    operation: str
    name: str
    make: Callable[[np.random.Generator], tuple]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation}-{self.name}"

    def __call__(self, *arrays: Any) -> Any:
        out = getattr(functional, self.operation)(*arrays, **self.options)
        if not isinstance(out, tuple):
            return out
        xp = array_namespace(*out)  # several results side by side, so that each has a random cotangent
        return xp.concat([xp.reshape(x, (math.prod(x.shape),)) for x in out])


def _elementwise(operation: str, **options: Any) -> list[Case]:
    shapes = {"odd": (3, 5, 7), "one": (1,), "empty": (0, 4), "blocks": (5, 7001)}
    return [Case(operation, f"{name}{''.join(f' {key}={value}' for key, value in options.items() if key != 'stream')}",
                 lambda rng, shape=shape: (3 * rng.standard_normal(shape),), options) for name, shape in shapes.items()]


def _stack() -> list[Case]:
    def make(*lead: int, sizes: tuple[int, ...] = (5, 4, 3), bias: bool = True) -> Callable[..., tuple]:
        return lambda rng: (rng.standard_normal((*lead, sizes[0])), *(
            part for i, o in zip(sizes, sizes[1:])
            for part in (rng.standard_normal((o, i)), rng.standard_normal(o) if bias else None)))

    arguments = {"rows": make(6), "row": make(1), "vector": make(), "empty": make(0), "deep": make(2, 3),
                 "no bias": make(4, bias=False), "blocks": make(300, sizes=(2, 257, 3))}
    return [*(Case("stack", name, value, {"activations": ("relu", None)}) for name, value in arguments.items()),
            Case("stack", "other activation", make(4), {"activations": ("tanh", "relu")}),
            Case("stack", "one layer", make(4, sizes=(5, 3)), {"activations": ("relu",)})]


def _mean_cross_entropy() -> list[Case]:
    return [Case("mean_cross_entropy", case.name, lambda rng, make=case.make: make(rng)[:2]) for case in
            _cross_entropy() if 0 not in case.make(np.random.default_rng(0))[0].shape]


def _linear() -> list[Case]:
    def make(*lead: int, bias: bool = True, features: tuple[int, int] = (5, 3)) -> Callable[..., tuple]:
        i, o = features
        return lambda rng: (rng.standard_normal((*lead, i)), rng.standard_normal((o, i)),
                            rng.standard_normal(o) if bias else None)

    cases = [Case("linear", f"{activation}", make(4), {"activation": activation})
             for activation in (None, "relu", "gelu", "tanh", "sigmoid")]
    for name, arguments in {"row": (1,), "vector": (), "empty": (0,), "deep": (2, 3)}.items():
        cases.append(Case("linear", name, make(*arguments), {"activation": "relu"}))
    cases.append(Case("linear", "no bias", make(2, 3, bias=False), {"activation": None}))
    cases.append(Case("linear", "one feature", make(3, features=(1, 1)), {"activation": "tanh"}))
    return cases + [Case("linear", f"blocks {activation}", make(300, features=(2, 257)), {"activation": activation})
                    for activation in ("relu", "gelu")]


def _softmax(operation: str) -> list[Case]:
    shapes = {"rows": ((4, 6), -1), "columns": ((4, 6), 0), "middle": ((2, 3, 5), 1), "vector": ((7,), 0),
              "one": ((3, 1), -1), "empty": ((0, 4), -1), "no classes": ((3, 0), -1), "blocks": ((700, 65), -1)}
    cases = [Case(operation, name, lambda rng, shape=shape: (3 * rng.standard_normal(shape),), {"axis": axis})
             for name, (shape, axis) in shapes.items()]
    return [*cases, Case(operation, "wide range", lambda rng: (40 * rng.standard_normal((6, 9)),), {"axis": -1})]


def _cross_entropy() -> list[Case]:
    def make(*lead: int, classes: int = 6, weight: bool = False, dtype: str = "int64", scale: float = 2) -> Any:
        return lambda rng: (scale * rng.standard_normal((*lead, classes)),
                            rng.integers(0, classes, lead).astype(dtype) if lead else np.asarray(2, dtype=dtype),
                            rng.uniform(0.5, 2, classes) if weight else None)

    arguments = {"rows": make(5), "deep": make(2, 3), "weighted": make(5, weight=True), "vector": make(),
                 "uint8": make(5, classes=200, dtype="uint8"), "int32": make(4, dtype="int32"), "empty": make(0),
                 "one class": make(3, classes=1), "wide range": make(4, scale=40), "blocks": make(700, classes=65)}
    return [Case("cross_entropy", name, value) for name, value in arguments.items()]


def _pairs(operation: str, target: Callable[..., Any]) -> list[Case]:
    shapes = {"odd": (3, 5), "one": (1,), "empty": (0, 2), "blocks": (5, 7001)}
    return [Case(operation, name, lambda rng, shape=shape: (3 * rng.standard_normal(shape), target(rng, shape)))
            for name, shape in shapes.items()]


def _layer_norm() -> list[Case]:
    def make(x: tuple, over: tuple, weight: bool = True, bias: bool = True) -> Callable[..., tuple]:
        return lambda rng: (rng.standard_normal(x) + 2, rng.standard_normal(over) if weight else None,
                            rng.standard_normal(over) if bias else None)

    arguments = {"rows": make((4, 6), (6,)), "deep": make((2, 3, 5), (5,)), "two axes": make((3, 2, 5), (2, 5)),
                 "no bias": make((4, 6), (6,), bias=False), "bare": make((4, 6), (6,), weight=False, bias=False),
                 "bias alone": make((4, 6), (2, 6)[1:], weight=False), "one row": make((1, 6), (6,)),
                 "no rows": make((6,), (6,)), "empty": make((0, 6), (6,)), "blocks": make((300, 257), (257,))}
    return [Case("layer_norm", name, value, {"eps": 1e-5}) for name, value in arguments.items()]


def _embedding() -> list[Case]:
    def make(*shape: int, dtype: str = "int64") -> Callable[..., tuple]:
        return lambda rng: (rng.integers(0, 7, shape).astype(dtype), rng.standard_normal((7, 3)))

    def bag(offsets: list[int], n: int, weights: bool = False, dim: int = 3, dtype: str = "int64") -> Any:
        return lambda rng: (rng.integers(0, 7, n).astype(dtype), np.asarray(offsets, dtype=dtype),
                            rng.standard_normal((7, dim)), rng.standard_normal(n) if weights else None)

    cases = [Case("embedding", name, value) for name, value in {
        "rows": make(5), "matrix": make(4, 3), "empty": make(0), "uint8": make(5, dtype="uint8"),
        "int32": make(5, dtype="int32"), "many": make(900)}.items()]
    for mode in ("sum", "mean"):
        cases += [Case("embedding_bag", f"{mode} {name}", value, {"mode": mode}) for name, value in {
            "bags": bag([0, 2, 2, 5], 9), "one": bag([0], 3), "empty bags": bag([0, 0, 0], 0),
            "no bags": bag([], 0), "last empty": bag([0, 4], 4), "uint8": bag([0, 1], 3, dtype="uint8")}.items()]
    return [*cases, Case("embedding_bag", "weighted", bag([0, 2, 2, 5], 9, weights=True), {"mode": "sum"}),
            Case("embedding_bag", "one column", bag([0, 2], 5, weights=True, dim=1), {"mode": "sum"})]


def _recurrent(operation: str, gates: int, states: int) -> list[Case]:
    def make(batch: int, steps: int, inputs: int = 2, hidden: int = 3, lengths: Any = None, states: int = states,
             bias: bool = True) -> Callable[..., tuple]:
        return lambda rng: (
            rng.standard_normal((batch, steps, inputs)), *(rng.standard_normal((batch, hidden)) for _ in range(states)),
            *(None,) * (count - states), rng.standard_normal((gates * hidden, inputs)),
            rng.standard_normal((gates * hidden, hidden)) / math.sqrt(hidden),
            *(rng.standard_normal(gates * hidden) if bias else None for _ in range(2)),
            None if lengths is None else np.asarray(lengths))

    count = states
    arguments = {
        "plain": make(3, 4), "reverse": make(3, 4), "lengths": make(4, 3, lengths=[3, 0, 1, 2]),
        "reverse lengths": make(4, 3, lengths=[0, 3, 1, 2]), "none full": make(2, 4, lengths=[2, 0]),
        "all full": make(2, 3, lengths=[3, 3]), "uint8": make(2, 3, lengths=np.asarray([1, 3], dtype="uint8")),
        "zero states": make(2, 3, states=0), "no bias": make(2, 3, bias=False), "one": make(1, 1, hidden=1, inputs=1),
        "empty": make(0, 3), "no steps": make(2, 0, lengths=[0, 0]), "no features": make(2, 3, inputs=0),
        "blocks": make(64, 20, 3, 64),
        "blocks reverse lengths": make(64, 20, 3, 64, lengths=[k % 21 for k in range(64)])}
    return [Case(operation, name, value, {"reverse": "reverse" in name}) for name, value in arguments.items()]


CASES: list[Case] = [
    *(Case(*call) for call in cases_add_norm.CALLS),
    *(Case(*call) for call in cases_channels.CALLS),
    *(Case(*call) for call in cases_attention.CALLS),
    *(Case(*call) for call in cases_skipgram.CALLS),
    *_elementwise("relu"), *_elementwise("sigmoid"), *_elementwise("tanh"), *_elementwise("gelu", approximate="none"),
    *_elementwise("gelu", approximate="tanh"), *_elementwise("dropout", p=0.3, stream=STREAM),
    *_elementwise("dropout", p=0, stream=STREAM)[:1], *_elementwise("dropout", p=1, stream=STREAM)[:1],
    *_linear(), *_stack(), *_mean_cross_entropy(), *_softmax("softmax"), *_softmax("log_softmax"), *_cross_entropy(),
    *_pairs("binary_cross_entropy_with_logits", lambda rng, shape: rng.uniform(0, 1, shape)),
    *_pairs("squared_error", lambda rng, shape: rng.standard_normal(shape)), *_layer_norm(), *_embedding(),
    *_elementwise("mean")[:2], *_elementwise("mean")[3:],
    *_recurrent("lstm", 4, 2), *_recurrent("gru", 3, 1),
]
