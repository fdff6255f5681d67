"""Running something twice with the same random draws: the training steps that root module calls had the first time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from portable_nn.backend.errors import GradientError


class RootCalls:
    """The root module calls that a function makes, in order, so that it can be run again as if for the first time.

    While it listens it notes each root's training step, and the versions of the parameters it used. While it repeats, a
    root call gets the step it had; its module's counter does not move on and its buffers are not written.
    """

    __slots__ = ("_frames", "_outer", "_position", "_repeating", "_steps", "_versions")

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._versions: list[tuple[Any, int]] = []
        self._frames: list[Any] = []
        self._position, self._repeating = 0, False
        self._outer: RootCalls | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The first run."""
        self._outer = _calls.get()
        with self._active(repeating=False):
            yield
        self._versions = [(handle.slot, handle.slot.version) for frame in self._frames
                          for handle, view in frame.views.items() if hasattr(handle, "slot") and view is handle.data]
        self._outer, self._frames = None, []

    @contextmanager
    def repeating(self) -> Iterator[None]:
        """A further run; it raises where a parameter has changed since the first."""
        for slot, version in self._versions:
            if slot.version != version:
                raise GradientError("a backward pass over the parameter values of its forward pass",
                                    f"parameter {slot.name!r} changed by an optimiser step in between",
                                    "call backward on every loss first, then step; or run the forward pass again")
        with self._active(repeating=True):
            yield

    @contextmanager
    def _active(self, *, repeating: bool) -> Iterator[None]:
        self._repeating, self._position = repeating, 0
        with watched(self):
            yield

    def enter(self, frame: Any, module: Any) -> bool:
        """What `root_call` does while this is listening or repeating."""
        if not self._repeating:
            repeated = self._outer is not None and self._outer.enter(frame, module)
            self._steps.append(frame.step)
            self._frames.append(frame)
            return repeated
        if self._position < len(self._steps):
            frame.step = self._steps[self._position]
        self._position += 1
        return True


_calls: ContextVar[Any] = ContextVar("portable_nn_root_calls", default=None)


def root_call(frame: Any, module: Any) -> bool:
    """Tell of a root module call, in its new frame; return whether it repeats one, whose step the frame then has."""
    calls = _calls.get()
    return calls is not None and calls.enter(frame, module)


@contextmanager
def watched(calls: Any) -> Iterator[None]:
    """Tell `calls.enter(frame, module)` of each root module call made within this context."""
    token = _calls.set(calls)
    try:
        yield
    finally:
        _calls.reset(token)
