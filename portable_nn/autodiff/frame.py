"""The frame of one root module call: whether it records, where its random draws stand, which buffers it will write.

A frame lives in a context variable, so two threads may call one model at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from portable_nn.autodiff.tensor import Tensor
from portable_nn.backend.random import Stream


class Frame:
    """What the modules inside one root call share.

    Attributes
    ----------
    recording : bool
        Whether parameters and buffers appear as Tensors, and the call goes on the tape, or as raw arrays.
    paths : callable
        Gives a dict from module identity to the dotted path below the root, under which a module draws random numbers.
    seed, step : int
        The root's seed and the number of its training call.
    calls : dict
        Path -> how many draws it has made in this call.
    buffers : dict
        Buffer -> value to be written when the root call ends.
    views : dict
        Parameter or buffer -> what it appears as in this frame.
    observer : callable or None
        `observer(module, output)` after each inner module call.
    """

    __slots__ = ("buffers", "calls", "observer", "paths", "recording", "seed", "step", "views")

    def __init__(self, *, recording: bool, paths: Callable[[], dict[int, str]] = dict, seed: int = 0, step: int = 0,
                 observer: Callable[[Any, Any], None] | None = None) -> None:
        self.recording = recording
        self.paths, self.seed, self.step, self.observer = paths, seed, step, observer
        self.calls: dict[str, int] = {}
        self.buffers: dict[Any, Any] = {}
        self.views: dict[Any, Any] = {}

    def parameter(self, handle: Any) -> Any:
        """What a parameter appears as: its one leaf Tensor while recording, else its raw array."""
        view = self.views.get(handle)
        if view is None:
            if self.recording:
                return handle.tensor
            view = self.views[handle] = handle.data
        return view

    def buffer(self, handle: Any) -> Any:
        """What a buffer appears as, its value written in this call included."""
        value = self.buffers.get(handle)
        if value is None:
            value = self.views.get(handle)
        if value is None:
            value = handle.data
        return Tensor(value) if self.recording and not isinstance(value, Tensor) else value

    def next_stream(self, module: Any) -> Stream:
        """The random stream of the module's next draw in this call."""
        path = self.paths().get(id(module), "")
        call = self.calls.get(path, 0)
        self.calls[path] = call + 1
        return Stream(self.seed, path, step=self.step, call=call)

    def replica(self) -> Frame:
        """A frame that stands where this one does, to run a part of the call again; its buffer writes are dropped."""
        copy = Frame(recording=self.recording, paths=self.paths, seed=self.seed, step=self.step)
        copy.calls, copy.buffers, copy.views = dict(self.calls), dict(self.buffers), self.views
        return copy


_frame: ContextVar[Frame | None] = ContextVar("portable_nn_frame", default=None)
#: The frame of the root call under way in this context, or None.
current_frame = _frame.get
set_frame, reset_frame = _frame.set, _frame.reset


@contextmanager
def inside(frame: Frame | None) -> Iterator[None]:
    """Run with `frame` as the current one."""
    token = _frame.set(frame)
    try:
        yield
    finally:
        _frame.reset(token)
