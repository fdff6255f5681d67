"""The captured step under way, as the rooms below `training` see it.

A captured step is run a few times as Python, and then replayed on the device without it (see `training.captured`). What
changes from step to step must then come from arrays that the host writes to before each replay; this module is how
random draws, buffers and optimisers learn that this is so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from portable_nn.backend.errors import CaptureError


class CountedStep(int):
    """A number of a training step, to which the device adds what `offset` holds: 0 when the step is recorded, and the
    steps since then when it is replayed.
    """

    _source: Callable[[], Any]

    def __new__(cls, step: int, source: Callable[[], Any]) -> CountedStep:
        self = super().__new__(cls, step)
        self._source = source
        return self

    @property
    def offset(self) -> Any:
        """A uint64 array (1,) on the device, where the captured step expects it."""
        return self._source()


class CapturedStep:
    """What the code inside a captured step may ask of it.

    Attributes
    ----------
    recording : bool
        Whether launches are being recorded rather than run.
    """

    recording = False

    def hold(self, upload: Any) -> None:
        """Have the graph fill an upload, a small array that the host writes to before each launch."""
        raise NotImplementedError

    def write_buffer(self, handle: Any, value: Any) -> None:
        """Give a buffer a new value, where its array is."""
        raise NotImplementedError

    def updated(self, optimizer: Any, update: Any) -> None:
        """An optimiser has made an update; `update` knows how to advance it on a replay."""
        raise NotImplementedError


_step: ContextVar[CapturedStep | None] = ContextVar("portable_nn_captured_step", default=None)
#: The captured step under way in this context, or None.
captured_step = _step.get
set_captured_step, reset_captured_step = _step.set, _step.reset


def refuse_read_back() -> None:
    """Raise CaptureError inside a step that is to be captured: a replay cannot hand values to Python."""
    if _step.get() is not None:
        raise CaptureError("a captured step that reads nothing back", "a value read back to the host",
                           "return the array from the step and read it afterwards, or train without capture")


def refuse_host_data(what: str, fix: str) -> None:
    """Raise CaptureError where host values would enter launches that are being recorded: replays would repeat them."""
    step = _step.get()
    if step is not None and step.recording:
        raise CaptureError("a captured step whose data is on the device", what, fix)
