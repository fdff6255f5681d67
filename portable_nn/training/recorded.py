"""One step as it is recorded: what it uses that changes from step to step, and what a replay does without Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.capturing import CapturedStep, CountedStep
from portable_nn.backend.errors import CaptureError
from portable_nn.backend.namespace import is_array, is_tensor

#: Root modules with random draws in one step.
ROOTS = 64


class Stale:
    """Stands in for the gradient of an earlier step, which a recorded step cannot add to: replays would not find it."""

    def _refuse(self, *args: Any) -> NoReturn:
        raise CaptureError("a captured step that begins without gradients", "one that adds to those of an earlier step",
                           "call optimizer.zero_grad() inside the step, and accumulate inside one step")

    __add__ = __radd__ = __mul__ = _refuse

    def __getattr__(self, name: str) -> Any:
        self._refuse()


class Step(CapturedStep):
    """A step being run, or recorded, so that it can be replayed.

    Parameters
    ----------
    graphs : object
        How the device's library records; see `kernels.cupy.graphs`.

    Attributes
    ----------
    roots : list of Module
        Those that the step has called from outside of any module.
    updates : list
        What replays must do for each optimiser.
    """

    def __init__(self, graphs: Any) -> None:
        self.graphs = graphs
        self.roots: list[Any] = []
        self.updates: list[Any] = []
        self._first: list[int] = []          # the training step at which each root began
        self._counts: list[int] = []         # and how many it makes in one step
        self._held: list[Any] = []           # uploads that the graph fills
        self._offsets: Any = None  # what replays add to the roots' training steps
        self._draws = False
        self._fixed: list[tuple[Any, Any]] = []
        self._gradients: list[tuple[Any, Any]] = []
        self._exchange: Any = None
        self._single = False  # whether it returns one array, not a tree
        self._graph: Any = None
        self._out: Any = None

    def enter(self, frame: Any, module: Any) -> bool:
        """Called for every root module call; see `autodiff.replay`."""
        if not any(module is root for root in self.roots):
            self.roots.append(module)
            self._first.append(module.random_position[1])
        if self.recording:
            place = next(i for i, root in enumerate(self.roots) if root is module)
            frame.step = CountedStep(frame.step, lambda: self._offset(place))
        return False

    def _offset(self, place: int) -> Any:
        if place >= ROOTS:
            raise CaptureError(f"at most {ROOTS} modules called one by one in a captured step", f"{place + 1}",
                               "put them into one module")
        self._draws = True
        return self._offsets.view(8 * place, 1, np.uint64)

    def hold(self, upload: Any) -> None:
        if not any(upload is other for other in self._held):
            self._held.append(upload)

    def write_buffer(self, handle: Any, value: Any) -> None:
        if self.recording:
            handle._data[...] = value
        else:
            handle._replace(value)

    def updated(self, optimizer: Any, update: Any) -> None:
        self.updates.append(update)
        if sum(other.optimizer is optimizer for other in self.updates) > 1:
            raise CaptureError("one update of each optimiser in a captured step", "two",
                               "capture a function that makes one update")

    def record(self, function: Callable[[], Any], known: list[Any], exchange: Any, outputs: int) -> None:
        """Record a function's launches; `known` are the handles whose arrays they may use, and `outputs` is how many
        arrays it returns. Python's side has then made the step; `launch` makes the device's."""
        slots, stale = [handle.slot for handle in known if hasattr(handle, "slot")], Stale()
        before, versions = [slot.gradient for slot in slots], [slot.version for slot in slots]
        for slot in slots:
            slot.gradient = None if slot.gradient is None else stale
        self._offsets = self.graphs.upload(8 * ROOTS)  # before recording: replays would set it to zero
        self.recording = True
        try:
            self._out, self._graph = self.graphs.record(lambda: _so_many(outputs, results(function())), exchange)
            owned = {id(p.slot) for update in self.updates for p in update.optimizer.parameters}
            for slot, version in zip(slots, versions, strict=True):
                if slot.version != version and id(slot) not in owned:
                    raise CaptureError("parameters changed by optimisers with kernels on this device",
                                       f"{slot.name!r} changed in another way",
                                       "use an optimiser of portable_nn.optim, over parameters of one device")
        except BaseException:
            for slot, gradient in zip(slots, before, strict=True):
                slot.gradient = gradient
            for root, first in zip(self.roots, self._first, strict=True):
                root.random_position = (root.random_position[0], first)
            for update in self.updates:
                update.undo()
            raise
        finally:
            self.recording = False
        if self._draws:
            self.hold(self._offsets)
        exchange.complete(self._held)
        self._single = is_array(self._out)
        self._exchange = exchange
        for slot, gradient in zip(slots, before, strict=True):
            if slot.gradient is stale:
                slot.gradient = gradient
            elif slot.gradient is not None:
                self._gradients.append((slot, slot.gradient))
        self._counts = [root.random_position[1] - first for root, first in zip(self.roots, self._first, strict=True)]
        self._fixed = [(handle, handle._data) for handle in known
                       if not hasattr(handle, "slot") or id(handle.slot) not in owned]

    def launch(self, inputs: list[Any]) -> Any:
        """Run what was recorded for the first time; returns the results."""
        self._exchange.open(inputs)
        self._exchange.close()
        return self._run()

    def is_current(self) -> bool:
        """Whether what was recorded still does what the function would; values assigned since are taken in."""
        for handle, array in self._fixed:
            data = handle._data
            if data is not array:
                if type(data) is not type(array) or data.dtype != array.dtype or data.device != array.device:
                    return False
                array[...] = data
                handle._data = array
        return all(update.is_current() for update in self.updates)

    def replay(self, inputs: list[Any]) -> Any:
        """Make one more step; returns copies of the results."""
        exchange = self._exchange
        exchange.open(inputs)
        try:
            if self.roots:
                self._count()
            for update in self.updates:
                update.advance()
        finally:
            exchange.close()
        return self._run()

    def _count(self) -> None:
        """Move the roots' random positions on, and tell the graph where they are."""
        if self._draws:
            slot = self._offsets.slot().view(np.uint64)
            for place, (root, first) in enumerate(zip(self.roots[:ROOTS], self._first)):
                slot[place] = (root.random_position[1] - first) % 2**64
            self._offsets.send()
        for root, count in zip(self.roots, self._counts):
            root.__dict__["_step"] = root.random_position[1] + count

    def _run(self) -> Any:
        found = self.graphs.launch(self._graph, self._exchange)
        for update in self.updates:
            update.launched()
        for slot, gradient in self._gradients:
            slot.gradient = gradient
        if self._single:
            return found[0]
        parts = iter(found)
        return map_leaves(lambda _: next(parts), self._out)


def results(out: Any) -> Any:
    """What a step returns, as raw arrays."""
    def raw(x: Any) -> Any:
        if not is_array(x):
            raise CaptureError("a captured step that returns arrays", f"{x!r:.60} of type {type(x).__name__}",
                               "return the loss itself, or nothing")
        return x.data if is_tensor(x) else x

    return map_leaves(raw, out)


def _so_many(count: int, out: Any) -> Any:
    """Results, if they are as many as there is place for."""
    found = len(list(leaves(out)))
    if found != count:
        raise CaptureError(f"a captured step that returns {count} arrays, as before", f"{found}",
                           "return the same in every call, and keep lists that grow outside of the step")
    return out
