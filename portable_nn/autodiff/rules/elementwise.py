"""Gradients of elementwise functions. Where a derivative jumps, the value at the jump is the one PyTorch takes."""

from __future__ import annotations

import math

from portable_nn.autodiff.rules import define_rule


def zero(xp, g):
    """The function is constant between its jumps."""
    return xp.zeros_like(g)


define_rule("positive", x=lambda xp, g: g)
define_rule("negative", x=lambda xp, g: -g)
define_rule("abs", x=lambda xp, g, x: g * xp.sign(x))
define_rule("square", x=lambda xp, g, x: g * (2 * x))
define_rule("sqrt", x=lambda xp, g, out: g * 0.5 / out)
define_rule("reciprocal", x=lambda xp, g, out: -g * out * out)
define_rule("exp", x=lambda xp, g, out: g * out)
define_rule("expm1", x=lambda xp, g, out: g * (out + 1))
define_rule("log", x=lambda xp, g, x: g / x)
define_rule("log1p", x=lambda xp, g, x: g / (x + 1))
define_rule("log2", x=lambda xp, g, x: g / (x * math.log(2)))
define_rule("log10", x=lambda xp, g, x: g / (x * math.log(10)))
define_rule("sin", x=lambda xp, g, x: g * xp.cos(x))
define_rule("cos", x=lambda xp, g, x: -g * xp.sin(x))
define_rule("tan", x=lambda xp, g, out: g * (1 + out * out))
define_rule("asin", x=lambda xp, g, x: g / xp.sqrt((1 - x) * (1 + x)))
define_rule("acos", x=lambda xp, g, x: -g / xp.sqrt((1 - x) * (1 + x)))
define_rule("atan", x=lambda xp, g, x: g / (1 + x * x))
define_rule("sinh", x=lambda xp, g, x: g * xp.cosh(x))
define_rule("cosh", x=lambda xp, g, x: g * xp.sinh(x))
define_rule("tanh", x=lambda xp, g, out: g - g * out * out)  # a number in it would cost more than the product
define_rule("asinh", x=lambda xp, g, x: g / xp.sqrt(x * x + 1))
define_rule("acosh", x=lambda xp, g, x: g / xp.sqrt((x - 1) * (x + 1)))
define_rule("atanh", x=lambda xp, g, x: g / ((1 - x) * (1 + x)))
define_rule("real", x=lambda xp, g: g)
define_rule("conj", x=lambda xp, g: g)
for _name in ("sign", "floor", "ceil", "round", "trunc"):
    define_rule(_name, x=zero)

define_rule("add", x1=lambda xp, g: g, x2=lambda xp, g: g)
define_rule("subtract", x1=lambda xp, g: g, x2=lambda xp, g: -g)
define_rule("multiply", x1=lambda xp, g, x2: g * x2, x2=lambda xp, g, x1: g * x1)
define_rule("divide", x1=lambda xp, g, x2: g / x2, x2=lambda xp, g, x2, out: -g * out / x2)
define_rule("hypot", x1=lambda xp, g, x1, out: g * _unit(xp, x1, out), x2=lambda xp, g, x2, out: g * _unit(xp, x2, out))
define_rule("atan2", x1=lambda xp, g, x1, x2: g * x2 / (x1 * x1 + x2 * x2),
            x2=lambda xp, g, x1, x2: -g * x1 / (x1 * x1 + x2 * x2))
define_rule("logaddexp", x1=lambda xp, g, x1, out: g * xp.exp(x1 - out), x2=lambda xp, g, x2, out: g * xp.exp(x2 - out))
define_rule("floor_divide", x1=zero, x2=zero)
define_rule("remainder", x1=lambda xp, g: g, x2=lambda xp, g, x1, x2: -g * xp.floor(x1 / x2))


def _unit(xp, x, length):
    """x / length, and 0 at the origin, where the length has no derivative."""
    origin = length == 0
    return xp.where(origin, xp.zeros_like(length), x / xp.where(origin, xp.ones_like(length), length))


def _share(xp, g, x1, x2, first):
    """g where one argument is the chosen one, half of it at a tie."""
    chosen = xp.astype(first(x1, x2), g.dtype) + xp.astype(xp.equal(x1, x2), g.dtype) * 0.5
    return g * chosen


define_rule("maximum", x1=lambda xp, g, x1, x2: _share(xp, g, x1, x2, xp.greater),
            x2=lambda xp, g, x1, x2: _share(xp, g, x2, x1, xp.greater))
define_rule("minimum", x1=lambda xp, g, x1, x2: _share(xp, g, x1, x2, xp.less),
            x2=lambda xp, g, x1, x2: _share(xp, g, x2, x1, xp.less))


def _pow_base(xp, g, x1, x2):
    """x2 · x1^(x2 − 1), and 0 where the exponent is 0, also at x1 = 0."""
    if isinstance(x2, (int, float)):
        return xp.zeros_like(g) if x2 == 0 else g * (x2 * x1 ** (x2 - 1))
    flat = x2 == 0
    power = xp.pow(x1, xp.where(flat, xp.ones_like(x2), x2 - 1))
    return xp.where(flat, xp.zeros_like(power), g * x2 * power)


def _pow_exponent(xp, g, x1, x2, out):
    """out · ln x1, and 0 at x1 = 0, where the power does not depend on a positive exponent."""
    if isinstance(x1, (int, float)):
        return g * out * math.log(x1) if x1 > 0 else xp.zeros_like(g) if x1 == 0 else g * out * math.nan
    null = x1 == 0
    return xp.where(null, xp.zeros_like(out), g * out * xp.log(xp.where(null, xp.ones_like(x1), x1)))


define_rule("pow", x1=_pow_base, x2=_pow_exponent)


def _copysign(xp, g, x1, x2):
    other = math.copysign(1.0, x2) < 0 if isinstance(x2, (int, float)) else xp.signbit(x2)
    flipped = xp.not_equal(xp.signbit(x1), other)
    return xp.where(flipped, -g, g)


define_rule("copysign", x1=_copysign, x2=zero)


def _inside(xp, g, x, min, max):
    """g where clip left x as it was, the bounds included."""
    inside = xp.ones_like(x, dtype=xp.bool)
    if min is not None:
        inside = xp.logical_and(inside, x >= min)
    if max is not None:
        inside = xp.logical_and(inside, x <= max)
    return xp.where(inside, g, xp.zeros_like(g))


def _to_minimum(xp, g, x, min, max):
    """g where x was raised to min, unless max, which NumPy applies last, lowered it again."""
    chosen = x < min if max is None else xp.logical_and(x < min, xp.less_equal(min, max))
    return xp.where(chosen, g, xp.zeros_like(g))


def _to_maximum(xp, g, x, min, max):
    """g where the result is max."""
    chosen = x > max if min is None else xp.logical_or(x > max, xp.greater(min, max))
    return xp.where(chosen, g, xp.zeros_like(g))


define_rule("clip", x=_inside,
            min=_to_minimum, max=_to_maximum)
