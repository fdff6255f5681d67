"""exp, tanh, erf and the normal distribution of one float32, in arithmetic that vectorises: within 2 or 3 ulp.

Numba calls the C library for `math.exp` and its kin, one number at a time; these are 5 to 20 times as fast.
"""

from __future__ import annotations

import numpy as np

from portable_nn.kernels.compiled.jit import inline

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # the first has few bits: its products with n are exact
_ROOT_HALF = 0.7071067811865476
DENSITY_0 = 0.3989422804014327  # 1 / √(2π)


@inline
def two_to(n):
    """2ⁿ for a whole float n from -126 to 127: n goes where float32 keeps its exponent."""
    return np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@inline
def difference(a, b, c):
    """(a - b) - c, for use where sums may be reordered."""
    return (a - b) - c


@inline
def ordered(x):
    """A float32's bits as an int32 that is larger where x is: the largest of integers vectorises, that of floats not.

    Its own inverse, but for the view. NaN comes out above all, or below if its sign is set.
    """
    bits = np.float32(x).view(np.int32)
    return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inline
def exp_part(r):
    """exp(r) - 1 for |r| ≤ ln 2 / 2; our minimax polynomial, 3e-9."""
    q = (((0.001381459878757596 * r + 0.0083687175065279) * r + 0.04166838899254799) * r
         + 0.1666652113199234) * r + 0.4999999403953552
    return q * (r * r) + r


@inline
def exp(x):
    """exp for x ≤ 88; what is below the normal numbers is 0. NaN stays NaN: hence the order of the comparisons."""
    y = 88.0 if x > 88.0 else x
    y = -87.33654 if y < -87.33654 else y
    n = np.rint(y * _LOG2_E)
    e = (exp_part((y - n * _LN2_HIGH) - n * _LN2_LOW) + 1.0) * two_to(n)
    return 0.0 if x < -87.33654 else e


@inline
def log1p_of_share(e):
    """log(1 + e) for 0 ≤ e ≤ 1; our minimax polynomial, 5e-9."""
    p = ((((-0.003244024235755205 * e + 0.019851459190249443) * e - 0.05695953220129013) * e + 0.10603655129671097) * e
         - 0.15305593609809875)
    p = (((p * e + 0.1967593878507614) * e - 0.24954134225845337) * e + 0.3332996368408203) * e - 0.4999990165233612
    return p * e * e + e


@inline
def tanh(x):
    """Through e = exp(2 |x|) - 1, which is exact near 0 too: tanh |x| = e / (e + 2)."""
    y = 2.0 * abs(x)
    y = 20.0 if y > 20.0 else y
    n = np.rint(y * _LOG2_E)
    scale = two_to(n)
    e = exp_part((y - n * _LN2_HIGH) - n * _LN2_LOW) * scale + (scale - 1.0)
    return np.copysign(e / (e + 2.0), x)


@inline
def sigmoid(x):
    """1 / (1 + exp(-x)), accurate in both tails."""
    e = exp(-abs(x))
    return (e if x < 0.0 else 1.0) / (1.0 + e)


@inline
def normal_tail(u, density):
    """The share of a normal distribution beyond u ≥ 0, from exp(-u²/2); our polynomial for their ratio, 4e-8."""
    t = 1.0 / (0.345 * u + 1.0)
    p = ((((-0.028381939977407455 * t + 0.14528188109397888) * t - 0.2711729109287262) * t + 0.18719646334648132) * t
         - 0.037601519376039505)
    p = (((p * t + 0.11179953068494797) * t + 0.11723830550909042) * t + 0.13802088797092438) * t + 0.137619286775589
    return p * t * density


@inline
def normal(x):
    """The distribution function Φ(x) of the normal distribution and exp(-x²/2), a multiple of its density."""
    density = exp(-0.5 * x * x)
    tail = normal_tail(abs(x), density)
    return (1.0 - tail if x > 0.0 else tail), density


@inline
def erf(x):
    """By `backend.special`'s polynomial up to 1, and through the normal distribution beyond."""
    s = x * x
    s = 1.0 if s > 1.0 else s
    near = (((((7.18801821e-05 * s - 0.000780580041) * s + 0.00516486447) * s - 0.026841443) * s + 0.112832919) * s
            - 0.376125991) * s + 0.128379166
    size = abs(x)
    near, far = size + size * near, 1.0 - 2.0 * normal_tail(size / _ROOT_HALF, exp(-x * x))
    return np.copysign(near if size < 1.0 else far, x)
