"""Which implementation of a fused operation runs for these arrays.

An operation has a definition and a generic (forward, backward) pair in Array API code, both in `functional/`. A library
may have faster pairs: they are registered here by the modules of `kernels/<library>/`, which are imported when the first
array of that library arrives. The last registered entry that supports the call wins; a kernel that fails raises.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from portable_nn.backend.namespace import array_namespace, namespace_name


class Kernel(NamedTuple):
    """One fast path: `forward(*arrays, **options) -> (out, saved)`, `backward(xp, g, …)`; see `functional.fused`."""

    operation: str
    library: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    supports: Callable[..., bool]
    infer: Callable[..., Any] | None = None
    name: str = ""


_kernels: dict[tuple[str, str], list[Kernel]] = {}
_loaded: set[str] = set()
_libraries: dict[int, str] = {}
_disabled: ContextVar[bool] = ContextVar("portable_nn_kernels_disabled", default=False)


def register(operation: str, library: str, forward: Callable[..., Any], backward: Callable[..., Any] | None = None,
             supports: Callable[..., bool] = lambda *arrays, **options: True, *,
             infer: Callable[..., Any] | None = None) -> None:
    """Enter a fast path for one operation on one library.

    Parameters
    ----------
    forward : callable
        `forward(*raw arrays, **options) -> (out, saved)`.
    backward : callable, optional
        Asks for what it needs by the names of its parameters, as described in `functional.fused`. None: the operation
        has no gradient (an optimiser's update).
    supports : callable
        `supports(*raw arrays, **options) -> bool`, from shapes, dtypes, layout and options alone.
    infer : callable, optional
        `infer(*raw arrays, **options) -> out`, where nothing is recorded.
    """
    name = f"{forward.__module__}.{forward.__qualname__}"
    entry = Kernel(operation, library, forward, backward, supports, infer, name)
    _kernels.setdefault((operation, library), []).append(entry)


def find(operation: str, xp: Any, arrays: tuple, options: dict) -> Kernel | None:
    """The kernel for this call, or None where the generic pair serves."""
    library = _libraries.get(id(xp)) or _load(xp)
    for kernel in reversed(_kernels.get((operation, library), ())):
        if kernel.supports(*arrays, **options):
            return None if _disabled.get() else kernel
    return None


def _load(xp: Any) -> str:
    """Import the kernels of a library, once."""
    library = namespace_name(xp)
    load(library)
    _libraries[id(xp)] = library
    return library


def load(library: str) -> None:
    """Import `kernels/<library>/`, where there is one."""
    name = f"portable_nn.kernels.{library}"
    if library not in _loaded and importlib.util.find_spec(name) is not None:
        importlib.import_module(name)
    _loaded.add(library)


@contextmanager
def disabled() -> Iterator[None]:
    """Within this context no kernel is chosen: every operation runs as its generic pair."""
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def is_disabled() -> bool:
    """Whether `disabled()` is in force."""
    return _disabled.get()


def explain(operation: str, *arrays: Any, **options: Any) -> str:
    """Name the implementation that a call would run, for example `portable_nn.kernels.numpy.softmax.forward`."""
    raw = tuple(getattr(x, "data", x) if hasattr(x, "backward") else x for x in arrays)
    kernel = find(operation, array_namespace(*raw), raw, options)
    return kernel.name if kernel else f"generic {operation}"


def available(library: str) -> list[Kernel]:
    """The kernels of one library, in the order they were registered."""
    load(library)
    return [kernel for (_, owner), kernels in _kernels.items() if owner == library for kernel in kernels]
