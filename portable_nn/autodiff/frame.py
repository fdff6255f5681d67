"""The frame of one root module call: whether it records, where its random draws stand, which buffers it will write.

A frame lives in a context variable, so two threads may call one model at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from portable_nn.backend.random import Stream


class Frame:
    """What the modules inside one root call share.

    Attributes
    ----------
    recording : bool
        Whether parameters appear as Tensors (and the call goes on the tape) or as raw arrays.
    paths : dict
        Module identity -> dotted path below the root, the name under which it draws random numbers.
    seed, step : int
        The root's seed and the number of its training call.
    calls : dict
        Path -> how many draws it has made in this call.
    buffers : dict
        (module, name) -> value to be written when the root call ends.
    views : dict
        Parameter -> what it appears as in this frame.
    """

    __slots__ = ("buffers", "calls", "paths", "recording", "seed", "step", "views")

    def __init__(self, *, recording: bool, paths: dict[int, str], seed: int = 0, step: int = 0) -> None:
        self.recording = recording
        self.paths, self.seed, self.step = paths, seed, step
        self.calls: dict[str, int] = {}
        self.buffers: dict[tuple[Any, str], Any] = {}
        self.views: dict[Any, Any] = {}

    def next_stream(self, module: Any) -> Stream:
        """The random stream of the module's next draw in this call."""
        path = self.paths.get(id(module), "")
        call = self.calls.get(path, 0)
        self.calls[path] = call + 1
        return Stream(self.seed, path, step=self.step, call=call)

    def replica(self) -> Frame:
        """A frame that stands where this one stands now, to run a part of the call again; its buffer writes are dropped."""
        copy = Frame(recording=self.recording, paths=self.paths, seed=self.seed, step=self.step)
        copy.calls, copy.buffers, copy.views = dict(self.calls), dict(self.buffers), self.views
        return copy


_frame: ContextVar[Frame | None] = ContextVar("portable_nn_frame", default=None)
#: The frame of the root call under way in this context, or None.
current_frame = _frame.get


@contextmanager
def inside(frame: Frame | None) -> Iterator[None]:
    """Run with `frame` as the current one."""
    token = _frame.set(frame)
    try:
        yield
    finally:
        _frame.reset(token)
