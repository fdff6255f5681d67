"""One row per rule and variant: a function of the standard, and inputs at which it is smooth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from portable_nn.functional.activations import erf
from portable_nn.functional.likelihoods import clamped_log, clamped_log1p
from tests.autodiff.case import Case, distinct, linalg, method, normal
from tests.autodiff.cases_linalg import LINALG

ANYWHERE = "positive negative square exp expm1 sin cos atan sinh cosh tanh asinh real".split()
OFF_ZERO = "abs reciprocal sign floor ceil round trunc conj".split()
ABOVE_ZERO = "sqrt log log1p log2 log10".split()
UNARY = [Case(name, method(name), normal((3, 4))) for name in ANYWHERE]
UNARY += [
    Case(
        name,
        method(name),
        lambda rng: (rng.uniform(0.2, 0.45, (3, 4)) * rng.choice([-1, 1], (3, 4)) + rng.integers(-3, 3, (3, 4)),),
    )
    for name in OFF_ZERO
]
UNARY += [Case(name, method(name), normal((3, 4), low=0.3, high=2)) for name in ABOVE_ZERO]
UNARY += [Case(name, method(name), normal((3, 4), low=-0.8, high=0.8)) for name in ("asin", "acos", "atanh", "tan")]
UNARY += [
    Case("erf", lambda xp, x: erf(x), normal((3, 4))),
    Case("acosh", method("acosh"), normal((3, 4), low=1.3, high=3)),
    Case("clamped_log", lambda xp, x: clamped_log(x), normal((3, 4), low=0.3, high=2)),
    Case("clamped_log1p", lambda xp, x: clamped_log1p(x), normal((3, 4), low=-0.6, high=2)),
]

BINARY = [
    Case(f"{name}:{label}", method(name), normal(*shapes))
    for name in ("add", "subtract", "multiply", "logaddexp")
    for label, shapes in (("same", ((3, 4), (3, 4))), ("rows", ((3, 4), (4,))), ("both", ((3, 1), (1, 4))))
]
BINARY += [
    Case(f"{name}:{label}", method(name), normal(*shapes, low=0.4, high=2))
    for name in ("divide", "pow", "hypot", "atan2")
    for label, shapes in (("same", ((3, 4), (3, 4))), ("rows", ((4,), (3, 4))), ("scalar", ((), (3, 2))))
]
BINARY += [
    Case(f"{name}:{label}", function, normal((3, 4), low=0.4, high=2))
    for name, label, function in (
        ("add", "number", lambda xp, x: 2.0 + x + 1),
        ("subtract", "number", lambda xp, x: (2.0 - x) - 1.5),
        ("multiply", "number", lambda xp, x: 3 * x * 0.5),
        ("divide", "number", lambda xp, x: (2 / x, x / 4)),
        ("pow", "number", lambda xp, x: (x**3, 2.0**x, x**0.5, x**0)),
        ("remainder", "number", lambda xp, x: (x + 10) % 7.0),
        ("copysign", "number", lambda xp, x: xp.copysign(x, -1.0)),
        ("maximum", "number", lambda xp, x: (xp.maximum(x - 1.2, 0.0), xp.minimum(0.0, x - 1.2))),
    )
]
BINARY += [
    Case("maximum", method("maximum"), lambda rng: (rng.normal(size=(3, 4)), rng.normal(size=(3, 4)) + 0.01)),
    Case("minimum", method("minimum"), lambda rng: (rng.normal(size=(3, 4)), rng.normal(size=(4,)) + 0.01)),
    Case(
        "copysign",
        method("copysign"),
        lambda rng: (
            rng.choice([-1, 1], (3, 4)) * rng.uniform(0.5, 1, (3, 4)),
            rng.choice([-1, 1], (3, 4)) * rng.uniform(0.5, 1, (3, 4)),
        ),
    ),
    Case("floor_divide", method("floor_divide"), lambda rng: (rng.integers(1, 4, (3, 4)) + 0.5, np.ones((3, 4)))),
    Case(
        "remainder", method("remainder"), lambda rng: (rng.integers(4, 9, (3, 4)) + 0.5, rng.uniform(1.1, 1.2, (4,)))
    ),
    Case("clip", lambda xp, x: xp.clip(x, -0.5, 0.5), distinct(3, 4)),
    Case(
        "clip:arrays",
        lambda xp, x, low, high: (xp.clip(x, low, high), xp.clip(x, min=low), xp.clip(x, max=high)),
        lambda rng: (*distinct(3, 4)(rng), np.full((4,), -0.6), np.full((3, 1), 0.7)),
    ),
]

REDUCTIONS = [
    Case(
        f"{name}:{axis}{'k' if keep else ''}",
        lambda xp, x, name=name, axis=axis, keep=keep: getattr(xp, name)(x, axis=axis, keepdims=keep),
        distinct(2, 3, 2),
    )
    for name in ("sum", "mean", "max", "min", "prod", "var", "std")
    for axis, keep in ((None, False), (1, False), ((0, -1), False), (-1, True))
]
REDUCTIONS += [
    Case("var:correction", method("var", axis=0, correction=1), normal((3, 4))),
    Case("std:correction", method("std", axis=1, correction=1.0, keepdims=True), normal((3, 4))),
    Case("sum:dtype", lambda xp, x: xp.sum(x, dtype=xp.float64), normal((3, 4))),
    Case(
        "prod:zeros",
        lambda xp, x: xp.prod(x, axis=1),
        lambda rng: (rng.normal(size=(3, 4)) * [[1, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]],),
    ),
    Case("cumulative_sum", method("cumulative_sum", axis=1), normal((3, 4))),
    Case("cumulative_sum:initial", method("cumulative_sum", axis=0, include_initial=True), normal((3, 4))),
    Case("cumulative_sum:vector", method("cumulative_sum"), normal((5,))),
    Case("cumulative_prod", method("cumulative_prod", axis=0), normal((5, 2))),
    Case("cumulative_prod:initial", method("cumulative_prod", axis=-1, include_initial=True), normal((2, 5))),
    Case(
        "cumulative_prod:zeros", method("cumulative_prod"), lambda rng: (rng.normal(size=7) * [1, 1, 0, 1, 0, 1, 1],)
    ),
    Case("vector_norm", linalg("vector_norm"), normal((3, 4))),
    *[
        Case(f"vector_norm:{order}", linalg("vector_norm", axis=axis, ord=order, keepdims=keep), distinct(3, 4))
        for order, axis, keep in (
            (1, 0, False),
            (3, 1, True),
            (0, None, False),
            (math.inf, 1, False),
            (-math.inf, (0, 1), True),
            (2, -1, False),
            (0.5, 1, False),
        )
    ],
]

SHAPES = [
    Case("reshape", method("reshape", shape=(2, -1)), normal((3, 4))),
    Case("broadcast_to", method("broadcast_to", shape=(2, 3, 4)), normal((3, 1))),
    Case("permute_dims", method("permute_dims", axes=(2, 0, 1)), normal((2, 3, 4))),
    Case("permute_dims:negative", method("permute_dims", axes=(-1, 0, -2)), normal((2, 3, 4))),
    Case("moveaxis", lambda xp, x: (xp.moveaxis(x, 0, -1), xp.moveaxis(x, (0, 1), (2, 0))), normal((2, 3, 4))),
    Case("matrix_transpose", lambda xp, x: (xp.matrix_transpose(x), x.mT), normal((2, 3, 4))),
    Case("expand_dims", method("expand_dims", axis=1), normal((3, 4))),
    Case("squeeze", method("squeeze", axis=(0, 2)), normal((1, 3, 1))),
    Case("flip", lambda xp, x: (xp.flip(x), xp.flip(x, axis=1)), normal((3, 4))),
    Case(
        "roll", lambda xp, x: (xp.roll(x, 2), xp.roll(x, (1, -2), axis=(0, 1)), xp.roll(x, -1, axis=1)), normal((3, 4))
    ),
    Case("tile", lambda xp, x: (xp.tile(x, (2, 1, 3)), xp.tile(x, (2,))), normal((3, 2))),
    Case("repeat", lambda xp, x: (xp.repeat(x, 2), xp.repeat(x, 3, axis=-1)), normal((3, 2))),
    Case("repeat:array", lambda xp, x: xp.repeat(x, xp.asarray([2, 0, 1], device=x.device), axis=0), normal((3, 2))),
    Case("unstack", lambda xp, x: (xp.unstack(x)[1], *xp.unstack(x, axis=-1)), normal((3, 4))),
    Case("stack", lambda xp, x, y: (xp.stack([x, y]), xp.stack((x, y, x), axis=-1)), normal((3, 4), (3, 4))),
    Case(
        "concat",
        lambda xp, x, y: (xp.concat([x, y]), xp.concat((x, x), axis=-1), xp.concat([x, y], axis=None)),
        normal((3, 4), (2, 4)),
    ),
    Case("diff", lambda xp, x: (xp.diff(x), xp.diff(x, axis=0, n=2)), normal((3, 4))),
    Case(
        "diff:edges", lambda xp, x, p, a: xp.diff(x, axis=1, n=2, prepend=p, append=a), normal((3, 4), (3, 2), (3, 1))
    ),
    Case("tril", method("tril", k=1), normal((3, 4))),
    Case("triu", method("triu", k=-1), normal((2, 3, 3))),
    Case("astype", lambda xp, x: xp.astype(x, xp.float64), normal((3, 4))),
    Case(
        "asarray",
        lambda xp, x: (xp.asarray(x), xp.asarray(x, copy=True), xp.asarray(x, dtype=xp.float64)),
        normal((3,)),
    ),
    Case("meshgrid", lambda xp, x, y: (*xp.meshgrid(x, y), *xp.meshgrid(x, y, indexing="ij")), normal((3,), (2,))),
    Case("broadcast_arrays", lambda xp, x, y: xp.broadcast_arrays(x, y), normal((3, 1), (2,))),
    Case("to_device", lambda xp, x: x.to_device(x.device) * x, normal((3,))),
    Case("fftshift", lambda xp, x: xp.fft.fftshift(x, axes=1), normal((3, 5))),
    Case("ifftshift", lambda xp, x: xp.fft.ifftshift(x), normal((3, 5))),
]


def _integers(xp: Any, x: Any, values: Any) -> Any:
    return xp.asarray(values, dtype=xp.int64, device=x.device)


def _assign(key: Any) -> Callable[..., Any]:
    def function(xp: Any, x: Any, value: Any) -> Any:
        y = x * 2
        y[key] = value
        return y * x

    return function


INDEXING = [
    Case("getitem", lambda xp, x: (x[1, ...], x[:, 2:0:-1], x[..., None, 0], x[-1, 1], x[::2, ...]), normal((3, 4))),
    Case("getitem:mask", lambda xp, x: x[x > 0], distinct(3, 4)),
    Case(
        "getitem:integers",
        lambda xp, x: x[_integers(xp, x, [0, 2, 2, -1]), _integers(xp, x, [1, 3, 3, 0])],
        normal((3, 4)),
    ),
    Case(
        "take",
        lambda xp, x: (
            xp.take(x, _integers(xp, x, [0, 2, 2]), axis=0),
            xp.take(x, _integers(xp, x, [3, 3, 0, 1]), axis=-1),
        ),
        normal((3, 4)),
    ),
    Case(
        "take_along_axis",
        lambda xp, x: xp.take_along_axis(x, _integers(xp, x, [[0, 2, 2], [1, 1, 0], [3, 0, 3]]), axis=1),
        normal((3, 4)),
    ),
    Case("sort", lambda xp, x: (xp.sort(x), xp.sort(x, axis=0, descending=True)), distinct(3, 4)),
    Case(
        "where", lambda xp, x, y: xp.where(x > 0, x * y, y), lambda rng: (*distinct(3, 4)(rng), rng.normal(size=(4,)))
    ),
    Case("where:number", lambda xp, x: (xp.where(x > 0, x, 0.5), xp.where(x > 0, 2.0, x)), distinct(3, 4)),
    Case("setitem", _assign((slice(None), 1)), normal((3, 4), (3,))),
    Case("setitem:broadcast", _assign((slice(0, 2), slice(None, None, -2))), normal((3, 4), (2,))),
    Case("setitem:one", _assign((1, 2)), normal((3, 4), ())),
    Case(
        "scatter_rows",
        lambda xp, x: _primitives().scatter_rows(x, indices=xp.raw.asarray([0, 2, 2], device=x.device), size=4),
        normal((3, 2)),
    ),
    Case("place", lambda xp, x: _primitives().place(x, key=(slice(1, 3), ...), shape=(4, 2)), normal((2, 2))),
    Case("place", lambda xp, x: _primitives().place(x, key=(-1, ...), shape=(1, 2, 2)), normal((2, 2))),
    Case("place", lambda xp, x: _primitives().place(x, key=(slice(None, None, -1), 0), shape=(3, 1)), normal((3,))),
    Case(
        "place_along_axis",
        lambda xp, x: _primitives().place_along_axis(
            x, indices=xp.raw.asarray([[0, 0], [2, 1]], device=x.device), axis=1, shape=(2, 3)
        ),
        normal((2, 2)),
    ),
]


def _primitives() -> Any:
    from portable_nn.autodiff import primitive

    return primitive


FAMILIES = {
    "elementwise": UNARY + BINARY,
    "reductions": REDUCTIONS,
    "shape": SHAPES,
    "indexing": INDEXING,
    "linalg": LINALG,
}
CASES = [case for cases in FAMILIES.values() for case in cases]
