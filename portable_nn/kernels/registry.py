"""Which implementation of a fused operation runs for these arrays.

An operation has a definition and often a generic (forward, backward) pair in Array API code, both in `functional/`. A
library may have faster pairs: they are registered here by the modules of `kernels/<library>/`, which are imported when
the first array of that library arrives. The last registered entry that supports the call wins; a kernel that fails
raises.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from portable_nn.backend import special
from portable_nn.backend.namespace import array_namespace, is_tensor, namespace_name


class Kernel(NamedTuple):
    """One fast path: `forward(*arrays, **options) -> (out, saved)`, `backward(xp, g, …)`; see `functional.fused`.

    `asked` holds the names of what `backward` takes after xp and g.
    """

    operation: str
    library: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    supports: Callable[..., bool]
    infer: Callable[..., Any] | None = None
    name: str = ""
    asked: tuple[str, ...] = ()


_kernels: dict[tuple[str, str], list[Kernel]] = {}
_loaded: set[str] = set()
_libraries: dict[int, str] = {}
#: Operation -> what runs without a kernel, "generic" pair or "definition".
_fallbacks: dict[str, str] = {}
#: What stands in for the kernels in this context: None, "definition" or "generic".
_forced: ContextVar[str | None] = ContextVar("portable_nn_forced_implementation", default=None)
#: The implementation that `disabled()` forces in this context, or None.
forced = _forced.get


def register(operation: str, library: str, forward: Callable[..., Any], backward: Callable[..., Any] | None = None,
             supports: Callable[..., bool] = lambda *arrays, **options: True, *,
             infer: Callable[..., Any] | None = None) -> None:
    """Enter a fast path for one operation on one library.

    Parameters
    ----------
    forward : callable
        `forward(*raw arrays, **options) -> (out, saved)`.
    backward : callable, optional
        Asks for what it needs by the names of its parameters, as described in `functional.fused`. None: the kernel
        has no gradient (an optimiser's update), so it is not chosen where one is recorded.
    supports : callable
        `supports(*raw arrays, **options) -> bool`, from shapes, dtypes, layout and options alone.
    infer : callable, optional
        `infer(*raw arrays, **options) -> out`, where nothing is recorded.
    """
    name = f"{forward.__module__}.{forward.__qualname__}"
    entries(operation, library).append(
        Kernel(operation, library, forward, backward, supports, infer, name, asked_names(backward)))


def asked_names(backward: Callable[..., Any] | None) -> tuple[str, ...]:
    """What a backward asks for after xp and g."""
    return () if backward is None else backward.__code__.co_varnames[2:backward.__code__.co_argcount]


def entries(operation: str, library: str) -> list[Kernel]:
    """The kernels of one operation on one library: the list itself, which later registrations extend."""
    return _kernels.setdefault((operation, library), [])


def loaded_entries(operation: str, xp: Any) -> list[Kernel]:
    """As `entries`, for a raw namespace, whose kernels are imported if they are not yet."""
    library = _libraries.get(id(xp))
    if library is None:
        library = _libraries[id(xp)] = namespace_name(xp)
        load(library)
    return entries(operation, library)


def find(operation: str, xp: Any, arrays: tuple, options: dict) -> Kernel | None:
    """The kernel for this call on raw arrays, or None where the generic pair or the definition serves."""
    if forced() is not None:
        return None
    for kernel in reversed(loaded_entries(operation, xp)):
        if kernel.supports(*arrays, **options):
            return kernel
    return None


def _find_erf(x: Any) -> Callable[..., Any] | None:
    """What the backend, which stands above and cannot ask, is to call for erf of a large NumPy array."""
    kernel = find("erf", array_namespace(x), (x,), {})
    return None if kernel is None else kernel.infer


special.find_kernel = _find_erf


def load(library: str) -> None:
    """Import `kernels/<library>/`, where there is one."""
    if library in _loaded:
        return
    name = f"portable_nn.kernels.{library}"
    if importlib.util.find_spec(name) is not None:
        importlib.import_module(name)
    _loaded.add(library)


def declare(operation: str, fallback: str) -> None:
    """Say that an operation exists, and what runs where no kernel does: its "generic" pair or its "definition"."""
    _fallbacks[operation] = fallback


@contextmanager
def disabled(*, generic: bool = False) -> Iterator[None]:
    """Within this context no kernel is chosen: every operation runs as its definition, recorded step by step.

    Parameters
    ----------
    generic : bool
        Run the generic (forward, backward) pairs instead, where there are any.
    """
    token = _forced.set("generic" if generic else "definition")
    try:
        yield
    finally:
        _forced.reset(token)


def explain(operation: str, *arrays: Any, **options: Any) -> str:
    """Name the implementation that a call would run.

    For example `portable_nn.kernels.numpy.softmax.forward`, `generic softmax`, or `definition of softmax`.
    """
    raw = tuple(x.data if is_tensor(x) else x for x in arrays)
    kernel = find(operation, array_namespace(*raw), raw, options)
    if kernel is not None:
        return kernel.name
    generic = forced() != "definition" and _fallbacks.get(operation) == "generic"
    return f"generic {operation}" if generic else f"definition of {operation}"


def available(library: str) -> list[Kernel]:
    """The kernels of one library, in the order they were registered."""
    load(library)
    return [kernel for (_, owner), kernels in _kernels.items() if owner == library for kernel in kernels]
