"""A latch on the device: it freezes updates at the first loss or gradient that is not finite, and remembers which.

Nothing is read back until `report` is called, so a step on a GPU need not wait, and can be captured.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from portable_nn.backend.devices import native_device, to_numpy
from portable_nn.backend.namespace import array_namespace


class Report(NamedTuple):
    """Step (from 1), loss, and the number of the first parameter with a bad gradient, None where only the loss is."""

    step: int
    loss: float
    parameter: int | None


class Latch:
    """Watches the losses and gradients of one run of training, where they are.

    Parameters
    ----------
    like : array
        Of the library, floating dtype and device to watch.
    """

    def __init__(self, like: Any) -> None:
        self.xp, device = array_namespace(like), native_device(like)
        integers = self.xp.__array_namespace_info__().dtypes(device=device, kind="signed integer")
        dtype = integers.get("int64", integers["int32"])
        self._none = self.xp.asarray(-1, dtype=dtype, device=device)
        # Written in place, so that they are where a captured step expects them.
        self._steps, self._step, self._element = (self.xp.zeros((), dtype=dtype, device=device) for _ in range(3))
        self._loss, self._step_loss = (self.xp.zeros((), dtype=like.dtype, device=device) for _ in range(2))
        #: Whether updates are frozen, as a 0-d array.
        self.frozen = self.xp.zeros((), dtype=self.xp.bool, device=device)
        self._layout: list[tuple[list[int], list[int]]] = []

    def see_loss(self, loss: Any) -> None:
        """Look at a loss of the step under way; of several, the first that is not finite counts."""
        loss = self.xp.astype(self.xp.reshape(self.xp.asarray(loss), ()), self._loss.dtype)
        self._step_loss[...] = self.xp.where(self.xp.isfinite(self._step_loss), loss, self._step_loss)

    def see_gradients(self, runs: list[Any]) -> None:
        """Look at the gradients that the runs have loaded, then count the step."""
        xp = self.xp
        element, start = self._none, 0
        self._layout = [(run.offsets, numbers) for run, _, numbers in runs]
        for run, _, _ in runs:
            for offset, g in run.loaded():
                if g.shape[0]:
                    element = xp.where(element < 0, self._first_bad(g, start + offset), element)
            start += run.offsets[-1]
        self._steps[...] = self._steps + 1
        bad = xp.logical_or(element >= 0, xp.logical_not(xp.isfinite(self._step_loss)))
        first = xp.logical_and(bad, xp.logical_not(self.frozen))
        for kept, new in ((self._step, self._steps), (self._loss, self._step_loss), (self._element, element)):
            kept[...] = xp.where(first, new, kept)
        self.frozen[...] = xp.logical_or(self.frozen, bad)
        self._step_loss[...] = xp.zeros_like(self._step_loss)

    def report(self) -> Report | None:
        """What was found, or None. Waits for the device."""
        if not bool(to_numpy(self.frozen)):
            return None
        element = int(to_numpy(self._element))
        return Report(int(to_numpy(self._step)), float(to_numpy(self._loss)),
                      None if element < 0 else self._parameter(element))

    def _first_bad(self, g: Any, start: int) -> Any:
        """The place, counted from `start`, of the first element that is not finite, or -1, as a 0-d array."""
        xp, dtype = self.xp, self._none.dtype
        places = xp.arange(start, start + g.shape[0], dtype=dtype, device=native_device(g))
        beyond = xp.full(g.shape, xp.iinfo(dtype).max, dtype=dtype, device=native_device(g))
        first = xp.min(xp.where(xp.isfinite(g), beyond, places))
        return xp.where(first < beyond[0, ...], first, self._none)

    def _parameter(self, element: int) -> int:
        """The number of the parameter that has this element of all runs."""
        for offsets, numbers in self._layout:
            if element < offsets[-1]:
                return numbers[max(i for i, offset in enumerate(offsets[:-1]) if offset <= element)]
            element -= offsets[-1]
        raise AssertionError("an element beyond the runs")
