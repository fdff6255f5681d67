"""Rows for products and linear algebra."""

from __future__ import annotations

import math

from tests.autodiff.case import Case, linalg, method, normal, spread, symmetric

LINALG = [
    *[
        Case(f"matmul:{label}", lambda xp, a, b: a @ b, normal(*shapes))
        for label, shapes in (
            ("matrices", ((3, 4), (4, 2))),
            ("vectors", ((4,), (4,))),
            ("left", ((4,), (4, 2))),
            ("right", ((3, 4), (4,))),
            ("batch", ((2, 3, 4), (2, 4, 2))),
            ("broadcast", ((2, 1, 3, 4), (3, 4, 2))),
            ("row", ((4,), (2, 4, 3))),
            ("column", ((2, 3, 4), (4,))),
        )
    ],
    Case("tensordot", method("tensordot"), normal((2, 3, 4), (3, 4, 2))),
    Case("tensordot:outer", method("tensordot", axes=0), normal((2, 3), (2,))),
    Case("tensordot:axes", method("tensordot", axes=((2, 0), (1, 2))), normal((2, 3, 4), (3, 4, 2))),
    Case("vecdot", lambda xp, a, b: (xp.vecdot(a, b), xp.vecdot(a, b[:1, :], axis=-1)), normal((3, 4), (3, 4))),
    Case("vecdot:axis", method("vecdot", axis=-2), normal((3, 4), (2, 3, 4))),
    Case(
        "diagonal",
        lambda xp, x: (xp.linalg.diagonal(x), xp.linalg.diagonal(x, offset=1), xp.linalg.diagonal(x, offset=-2)),
        normal((2, 3, 4)),
    ),
    Case("trace", lambda xp, x: (xp.linalg.trace(x), xp.linalg.trace(x, offset=-1)), normal((2, 4, 3))),
    Case("outer", linalg("outer"), normal((3,), (4,))),
    Case("cross", linalg("cross"), normal((2, 3), (2, 3))),
    Case("cross:axis", linalg("cross", axis=-2), normal((3, 2), (3, 2))),
    Case("inv", linalg("inv"), spread(1, 2, 3, 3)),
    Case("solve", linalg("solve"), lambda rng: (*spread(1, 2, 3, 3)(rng), rng.normal(size=(2, 3, 2)))),
    Case("solve:vector", linalg("solve"), lambda rng: (*spread(1, 3, 3)(rng), rng.normal(size=3))),
    Case("det", linalg("det"), spread(1, 2, 3, 3)),
    Case("slogdet", linalg("slogdet"), spread(1, 3, 3)),
    Case("matrix_power", lambda xp, x: tuple(xp.linalg.matrix_power(x, n) for n in (0, 1, 3, -2)), spread(1, 3, 3)),
    *[
        Case(
            f"cholesky:{upper}",
            lambda xp, x, upper=upper: xp.linalg.cholesky(symmetric(xp, x), upper=upper),
            spread(1, 2, 3, 3),
        )
        for upper in (False, True)
    ],
    Case("thin_svd", lambda xp, x: xp.linalg.svd(x, full_matrices=False), spread(1, 4, 3)),
    Case("svd", lambda xp, x: (xp.linalg.svd(x)[0], xp.linalg.svd(x)[2]), spread(1, 3, 3)),
    Case("svdvals", linalg("svdvals"), spread(1, 3, 4)),
    Case("eigh", lambda xp, x: xp.linalg.eigh(symmetric(xp, x)), spread(1, 2, 3, 3)),
    Case("eigvalsh", lambda xp, x: xp.linalg.eigvalsh(symmetric(xp, x)), spread(1, 3, 3)),
    Case("thin_qr", lambda xp, x: xp.linalg.qr(x), spread(1, 4, 3)),
    Case("qr", lambda xp, x: xp.linalg.qr(x, mode="complete")[1], spread(1, 3, 3)),
    Case("pinv", lambda xp, x: (xp.linalg.pinv(x), xp.linalg.pinv(xp.matrix_transpose(x))), spread(1, 4, 3)),
    *[
        Case(f"matrix_norm:{order}", linalg("matrix_norm", ord=order), spread(1, 2, 3, 4))
        for order in ("fro", "nuc", 1, -1, math.inf, -math.inf, 2, -2)
    ],
]
