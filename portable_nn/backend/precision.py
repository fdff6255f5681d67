"""What matrix products compute in: a context that kernels look at, and the array code that says what it means."""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import Any, NamedTuple

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace


class Format(NamedTuple):
    """A floating-point format: bits of the fraction, the smallest exponent of normal numbers, the largest number."""

    bits: int
    lowest: int
    largest: float


#: tf32 is what the tensor cores make of float32; all three keep the sums of products in float32.
FORMATS = {"tf32": Format(10, -126, 3.4e38), "bfloat16": Format(7, -126, 3.38953139e38),
           "float16": Format(10, -14, 65504.0)}

#: The formats that activations are stored in; their gradients too.
STORED = ("bfloat16", "float16")

_compute: ContextVar[str | None] = ContextVar("portable_nn_compute_precision", default=None)
_emulated: ContextVar[str | None] = ContextVar("portable_nn_emulated_precision", default=None)
#: What held outside of each context that is open, the innermost last: here, since one object may be open in several
#: threads, as where it decorates a function.
_outside: ContextVar[tuple[tuple[str | None, str | None], ...]] = ContextVar("portable_nn_outside", default=())
#: The format that products of this context may round their arguments to, or None. A kernel whose gradient may run in
#: another context keeps what it saw.
compute_precision = _compute.get
#: The format that definitions round the arguments of products to in this context, or None.
emulated_precision = _emulated.get


class computing_in(ContextDecorator):
    """Let products compute in a format, or in what the context says already for None; see `portable_nn.precision`.

    Raises
    ------
    ArgumentError
        There is no such format.
    """

    def __init__(self, name: str | None, *, emulate: bool = False) -> None:
        if name is not None and name != "float32" and name not in FORMATS:
            raise ArgumentError(f'a precision among "float32", {", ".join(map(repr, FORMATS))}', repr(name),
                                'pass one of them, such as "bfloat16"')
        self._keeps, self._chosen = name is None, None if name == "float32" else name
        self._emulated = self._chosen if emulate else None

    def __enter__(self) -> None:
        if not self._keeps:
            _outside.set((*_outside.get(), (_compute.get(), _emulated.get())))
            _compute.set(self._chosen)
            _emulated.set(self._emulated)

    def __exit__(self, *error: object) -> None:
        if not self._keeps:
            *others, (compute, emulated) = _outside.get()
            _outside.set(tuple(others))
            _compute.set(compute)
            _emulated.set(emulated)


def rounded(x: Any, name: str) -> Any:
    """A float32 array rounded to the nearest numbers of a format, ties to even; still float32."""
    xp, (bits, lowest, largest) = array_namespace(x), FORMATS[name]
    size = xp.abs(x)
    usable = xp.logical_and(xp.isfinite(x), size > 0)
    exponent = xp.floor(xp.log2(xp.where(usable, size, xp.ones_like(x))))
    exponent = xp.where(exponent < lowest, xp.full_like(x, float(lowest)), exponent)
    half = xp.floor(exponent / 2)  # a power in two factors, so that neither it nor its inverse leaves float32
    down, up = (xp.pow(xp.full_like(x, base), part) for base, part in ((2.0, half), (2.0, exponent - half)))
    near = xp.round(x / down / up * 2.0**bits) / 2.0**bits * down * up
    infinite = xp.full_like(x, float("inf"))
    near = xp.where(xp.abs(near) > largest, xp.where(x > 0, infinite, -infinite), near)
    return xp.where(usable, near, x)
