"""Normal numbers from random words, the same to the last bit on every machine."""

from __future__ import annotations

import numpy as np

# Algorithm AS 241 (PPND16): M. J. Wichura, "The percentage points of the normal distribution", Applied Statistics 37
# (1988), 477-484: |p - 1/2| <= 0.425, then sqrt(-log p) up to 5, then beyond. Numerator and denominator, highest first.
_CENTRE = ((2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
            1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0),
           (5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
            5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0))
_TAIL = ((7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
          3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0),
         (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
          6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0))
_FAR = ((2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
         2.96560571828504891230e-1, 1.78482653991729133580e+0, 5.46378491116411436990e+0, 6.65790464350110377720e+0),
        (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
         1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0))
_BLOCK = 8192  # words at a time, so that the work stays in the cache


def inverse_normal(words: np.ndarray) -> np.ndarray:
    """Standard normal float64 numbers, one for each uint64 word."""
    z = np.empty(words.shape, dtype=np.float64)
    for start in range(0, words.size, _BLOCK):
        z[start:start + _BLOCK] = _inverse(words[start:start + _BLOCK])
    return z


def _inverse(words: np.ndarray) -> np.ndarray:
    negative = words >= np.uint64(2**63)
    p = (words & np.uint64(2**63 - 1)).view(np.int64).astype(np.float64)
    p += 0.5
    p *= 2.0**-64                                          # the tail's probability, above 0 and at most 1/2
    q = 0.5 - p
    r = 0.180625 - q * q
    z = q * _horner(_CENTRE[0], r) / _horner(_CENTRE[1], r)
    tail = np.flatnonzero(q > 0.425)                       # 15 % of them
    if tail.size:
        r = np.sqrt(-_log(p[tail]))
        value = _horner(_TAIL[0], r - 1.6) / _horner(_TAIL[1], r - 1.6)
        far = r > 5.0
        if far.any():
            r = r[far] - 5.0
            value[far] = _horner(_FAR[0], r) / _horner(_FAR[1], r)
        z[tail] = value
    return np.where(negative, -z, z)


def _horner(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    result = x * coefficients[0]
    for c in coefficients[1:-1]:
        result += c
        result *= x
    result += coefficients[-1]
    return result


def _log(x: np.ndarray) -> np.ndarray:
    """The natural logarithm by its area-tangent series. NumPy's own differs in the last bit from machine to machine."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < np.sqrt(0.5)
    mantissa = np.where(low, 2 * mantissa, mantissa)       # from √½ to √2
    exponent = exponent - low
    f = (mantissa - 1) / (mantissa + 1)                    # at most 0.172 in size
    series = _horner(tuple(2 / k for k in range(25, 0, -2)), f * f)
    return exponent * 0.6931471805599453 + f * series
