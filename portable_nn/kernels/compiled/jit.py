"""Functions that Numba compiles when they are first called with float32, or float64, and keeps on disk.

    @inline
    def square(x: float) -> float:
        return x * x

    @compiled
    def scaled_squares(out: OutVector, x: Vector, factor: Number) -> None:
        for i in range(out.size):            # never over part of an index range: that does not vectorise
            out[i] = 0.5 * factor * square(x[i])

Annotations say what each parameter is, so that one compilation serves all calls. Float literals and float globals are
of the kernel's own type: 0.5 is a float32 where the arrays are. Integers are 64 bits wide, and one times a float32 is a
float64: pass 1 / width as a Number. In compiled functions sums may be reordered, which is what vectorises them; in
inline ones they may not: there (a - b) - c is safe. Products and sums may be contracted. NaN and infinities keep their
meaning. Nothing here imports Numba before the first call.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Number: TypeAlias = float
Count: TypeAlias = int
Flag: TypeAlias = bool
#: Contiguous arrays of the kernel's type that are only read, and the same to be written to.
Vector = Matrix = Cube = OutVector = OutMatrix = OutCube = np.ndarray
#: Vectors of int64, of bool and of uint64, read alone.
Positions = Mask = Words = np.ndarray
#: Vectors of bool and of uint64 to be written to.
OutMask = OutWords = np.ndarray

#: Not `arcp`: it makes 1 / √∞ NaN.
_FLAGS = {"contract", "reassoc", "nsz"}
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": _FLAGS}
#: Left to itself, LLVM calls what is long, and a loop with calls does not vectorise. Sums in here keep their order.
_INLINE = {**_OPTIONS, "fastmath": _FLAGS - {"reassoc"}, "forceinline": True}
_SCALARS = {"f": np.float32, "d": np.float64}
#: Seconds of compiling after which the user is told why it takes so long.
_PATIENCE = 1.0
_lock = threading.RLock()
_spent = 0.0


class Inline:
    """A function for use in compiled ones; as it stands it is plain Python."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._made: dict[str, Any] = {}
        functools.update_wrapper(self, function)

    def __call__(self, *values: Any) -> Any:
        return self.function(*values)

    def made(self, char: str) -> Any:
        """What Numba takes, with literals of one type."""
        if char not in self._made:
            import numba

            self._made[char] = numba.njit(_specialise(self.function, char), **_INLINE)
        return self._made[char]


class Compiled:
    """A function over arrays, the first of which says whether float32 or float64 is meant; it returns nothing."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self._made: dict[str, Any] = {}
        functools.update_wrapper(self, function)

    def __call__(self, first: np.ndarray, *rest: Any) -> None:
        char = first.dtype.char
        (self._made.get(char) or self.made(char))(first, *rest)

    def made(self, char: str) -> Any:
        """The machine code for one type, from the disk if it is there."""
        with _lock:
            if char not in self._made:
                self._made[char] = _compile(self.function, char)
        return self._made[char]


def inline(function: Callable[..., Any]) -> Any:
    """See `Inline`."""
    return Inline(function)


def compiled(function: Callable[..., None]) -> Compiled:
    """See `Compiled`."""
    return Compiled(function)


def _specialise(function: Callable[..., Any], char: str) -> Any:
    """The function with floats of one type for its literals and for the globals that it uses."""
    scalar, code = _SCALARS[char], function.__code__
    known = _globals(function)
    for name, value in known.items():
        if isinstance(value, Inline):
            known[name] = value.made(char)
        elif type(value) is float:
            known[name] = scalar(value)
    constants = tuple(scalar(c) if type(c) is float else c for c in code.co_consts)
    made = types.FunctionType(code.replace(co_consts=constants), {"__builtins__": __builtins__, **known})
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    made.__annotations__ = function.__annotations__
    return made


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals that a function names."""
    return {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}


def identity(function: Callable[..., Any]) -> str:
    """A digest of what the machine code depends on: instructions and literals, of the inlined functions too.

    Numba itself looks for changes in the function's own file alone.
    """
    code = function.__code__
    flags = sorted(_FLAGS), sorted(_INLINE["fastmath"])
    parts: list[Any] = [code.co_code, code.co_consts, function.__annotations__, flags]
    for name, value in sorted(_globals(function).items()):
        parts.append((name, identity(value.function) if isinstance(value, Inline) else
                      value if isinstance(value, (int, float, np.generic)) else None))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _signature(function: Any, char: str) -> tuple:
    """Numba's types of the parameters."""
    from numba import types as nb

    number = nb.float32 if char == "f" else nb.float64
    kinds = {"Number": number, "Count": nb.int64, "Flag": nb.boolean,
             "Positions": nb.Array(nb.int64, 1, "C", readonly=True),
             "Mask": nb.Array(nb.boolean, 1, "C", readonly=True),
             "Words": nb.Array(nb.uint64, 1, "C", readonly=True), "OutMask": nb.Array(nb.boolean, 1, "C"),
             "OutWords": nb.Array(nb.uint64, 1, "C")}
    for axes, name in enumerate(("Vector", "Matrix", "Cube"), start=1):
        kinds[name] = nb.Array(number, axes, "C", readonly=True, aligned=False)
        kinds["Out" + name] = nb.Array(number, axes, "C")
    return tuple(kinds[kind] for name, kind in function.__annotations__.items() if name != "return")


def _compile(function: Callable[..., None], char: str) -> Any:
    """Numba's dispatcher with this one signature, compiled or loaded."""
    import numba

    start, specialised = time.perf_counter(), _specialise(function, char)
    try:
        made = numba.njit(specialised, cache=True, **_OPTIONS)
        file = made._cache._cache_file
        file._source_stamp = (*file._source_stamp, identity(function))
    except (RuntimeError, AttributeError):  # there is no folder that may be written to, or Numba's cache is another
        made = numba.njit(specialised, **_OPTIONS)
    made.compile(_signature(function, char))
    made.disable_compile()
    if not made.stats.cache_hits:
        _report(time.perf_counter() - start)
    return made


def _report(seconds: float) -> None:
    """Tell the user, once, where the time goes."""
    global _spent
    before, _spent = _spent, _spent + seconds
    if before <= _PATIENCE < _spent:
        print("portable_nn: compiling fast paths with Numba, once; the next runs find them on disk",
              file=sys.stderr, flush=True)
