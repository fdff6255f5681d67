"""Gradients of inverses and decompositions of matrices, of full rank and with distinct eigen- or singular values.

Sources: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode automatic
differentiation" (2008); J. Townsend, "Differentiating the singular value decomposition" (2016); G. Golub and
V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems" (1973), equation 4.12.
"""

from __future__ import annotations

from portable_nn.autodiff.engine import unbroadcast
from portable_nn.autodiff.rules import define_rule


def _transpose(xp, x):
    return xp.matrix_transpose(x)


def _scale(xp, g):
    """Numbers, one per matrix, as matrices of one element."""
    return xp.expand_dims(g, axis=(-2, -1))


def _symmetric(xp, x):
    return (x + _transpose(xp, x)) / 2


def _inv(xp, g, out):
    """−A⁻ᵀ G A⁻ᵀ."""
    inverse = _transpose(xp, out)
    return -xp.matmul(xp.matmul(inverse, g), inverse)


def _solve_right(xp, g, x1):
    return xp.linalg.solve(_transpose(xp, x1), g)


def _solve_left(xp, g, x1, x2, out):
    """−A⁻ᵀ G Xᵀ."""
    g = _solve_right(xp, g, x1)
    if x2.ndim == 1:
        g, out = xp.expand_dims(g, axis=-1), xp.expand_dims(out, axis=-1)
    return -xp.matmul(g, _transpose(xp, out))


def _cholesky(xp, g, out, upper):
    """L⁻ᵀ Φ(Lᵀ G) L⁻¹ made symmetric; Φ keeps the lower triangle and halves the diagonal."""
    lower, g = (_transpose(xp, out), _transpose(xp, g)) if upper else (out, g)
    product = xp.matmul(_transpose(xp, lower), g)
    inner = xp.tril(product) - 0.5 * xp.tril(xp.triu(product))
    half = xp.linalg.solve(_transpose(xp, lower), inner)
    return _symmetric(xp, _transpose(xp, xp.linalg.solve(_transpose(xp, lower), _transpose(xp, half))))


def _gaps(xp, values):
    """1 / (vⱼ − vᵢ), and 0 on the diagonal."""
    differences = xp.expand_dims(values, axis=-2) - xp.expand_dims(values, axis=-1)
    diagonal = xp.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    return (1 - diagonal) / (differences + diagonal)


def _eigh(xp, g, out):
    g_values, g_vectors = g
    values, vectors = out
    inner = None if g_vectors is None else _gaps(xp, values) * xp.matmul(_transpose(xp, vectors), g_vectors)
    left = vectors * xp.expand_dims(g_values, axis=-2) if inner is None else xp.matmul(vectors, inner)
    if inner is not None and g_values is not None:
        left = left + vectors * xp.expand_dims(g_values, axis=-2)
    return _symmetric(xp, xp.matmul(left, _transpose(xp, vectors)))


def _svd(xp, g, out):
    """Townsend's equation, term by term; those of outputs without a gradient are left out."""
    g_u, g_s, g_vh = g
    u, s, vh = out
    v, row = _transpose(xp, vh), xp.expand_dims(s, axis=-2)
    terms = []
    if g_s is not None:
        terms.append(xp.matmul(u * xp.expand_dims(g_s, axis=-2), vh))
    if g_u is not None or g_vh is not None:
        gaps = _gaps(xp, s * s)
    if g_u is not None:
        projected = xp.matmul(_transpose(xp, u), g_u)
        inner = gaps * (projected - _transpose(xp, projected)) * row
        rest = (g_u - xp.matmul(u, projected)) / row
        terms.append(xp.matmul(xp.matmul(u, inner) + rest, vh))
    if g_vh is not None:
        g_v = _transpose(xp, g_vh)
        projected = xp.matmul(vh, g_v)
        inner = xp.expand_dims(s, axis=-1) * (gaps * (projected - _transpose(xp, projected)))
        rest = _transpose(xp, (g_v - xp.matmul(v, projected)) / row)
        terms.append(xp.matmul(u, xp.matmul(inner, vh) + rest))
    return sum(terms[1:], terms[0])


def _qr(xp, g, out):
    """(G_Q + Q copyltu(M)) R⁻ᵀ with M = R G_Rᵀ − G_Qᵀ Q."""
    g_q, g_r = g
    q, r = out
    m = None if g_r is None else xp.matmul(r, _transpose(xp, g_r))
    if g_q is not None:
        second = xp.matmul(_transpose(xp, g_q), q)
        m = -second if m is None else m - second
    left = xp.matmul(q, xp.tril(m) + _transpose(xp, xp.tril(m, k=-1)))
    left = left if g_q is None else left + g_q
    return _transpose(xp, xp.linalg.solve(r, _transpose(xp, left)))


def _pinv(xp, g, x, out):
    """Golub and Pereyra's three terms, transposed."""
    p, t = out, _transpose(xp, out)
    rest = _transpose(xp, g)
    third = xp.matmul(xp.matmul(rest, p), t)
    fourth = xp.matmul(t, xp.matmul(p, rest))
    return (xp.matmul(xp.matmul(t, -g), t) + third - xp.matmul(x, xp.matmul(p, third))
            + fourth - xp.matmul(xp.matmul(fourth, p), x))


def _slogdet(xp, g, x):
    """The sign is constant; the logarithm's gradient is A⁻ᵀ."""
    return xp.zeros_like(x) if g[1] is None else _scale(xp, g[1]) * _transpose(xp, xp.linalg.inv(x))


define_rule("inv", x=_inv)
define_rule("solve", x1=lambda xp, g, shape, x1, x2, out: unbroadcast(xp, _solve_left(xp, g, x1, x2, out), shape),
            x2=lambda xp, g, x1: _solve_right(xp, g, x1))
define_rule("det", x=lambda xp, g, x, out: _scale(xp, g * out) * _transpose(xp, xp.linalg.inv(x)))
define_rule("slogdet", x=_slogdet)
define_rule("cholesky", x=_cholesky)
define_rule("eigh", x=_eigh)
define_rule("thin_svd", x=_svd)
define_rule("thin_qr", x=_qr)
define_rule("pinv", x=_pinv)
define_rule("fftshift", x=lambda xp, g, axes: xp.fft.ifftshift(g, axes=axes))
define_rule("ifftshift", x=lambda xp, g, axes: xp.fft.fftshift(g, axes=axes))
