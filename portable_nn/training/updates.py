"""One update of a run: forward, loss, backward over the batches that it adds up, clip, update."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.devices import native_device, to_numpy
from portable_nn.backend.errors import DTypeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.training.feeding import Batch, Feed
from portable_nn.training.guard import Guard
from portable_nn.training.run import Training


class Mean:
    """A mean of batches' losses, kept where they are until it is asked for.

    Parameters
    ----------
    in_place : bool
        Add up where the total is, as a step that is replayed must.
    """

    def __init__(self, *, in_place: bool = False) -> None:
        self.in_place = in_place
        self.total: Any = 0.0
        self.mass: Any = 0

    def begin(self) -> None:
        """Start anew."""
        self.mass = 0
        if isinstance(self.total, float) or not self.in_place:
            self.total = 0.0
        else:
            self.total[...] = array_namespace(self.total).zeros_like(self.total)

    def add(self, loss: Any, mass: Any) -> None:
        """Add a batch's loss; its mass counts once `count` is told of it."""
        if not self.in_place:
            self.total = self.total + loss * mass
            return
        self.place(loss)[...] = self.total + loss * mass

    def place(self, loss: Any) -> Any:
        """The array to which losses like this one are added where it is."""
        if isinstance(self.total, float):
            self.total = array_namespace(loss).zeros(loss.shape, dtype=loss.dtype, device=native_device(loss))
        return self.total

    def count(self, mass: Any) -> None:
        self.mass = self.mass + mass

    def result(self) -> float:
        return float(to_numpy(self.total).reshape(-1)[0] if hasattr(self.total, "shape") else self.total) / (
            float(self.mass) or 1.0)


class Update:
    """What one step of a run does on the device; called with its batches."""

    def __init__(self, training: Training, feed: Feed, guard: Guard, mean: Mean) -> None:
        self.training, self.feed, self.guard, self.mean = training, feed, guard, mean

    def __call__(self, group: list[Any]) -> None:
        model, loss, optimizer = self.training.model, self.training.loss, self.training.optimizer
        group = [self.feed.complete(batch) for batch in group]
        total = sum(batch.mass for batch in group)
        for batch in group:
            value = compare(loss, model(batch.x), batch)
            self.guard.note(value, batch.mass, self.mean)
            self.guard.backward(value if len(group) == 1 else value * _share(batch.mass, total))
        self.guard.step(value)
        optimizer.zero_grad()


def compare(loss: Any, prediction: Any, batch: Batch) -> Any:
    """The loss of one batch, a Tensor."""
    value = loss(prediction, batch.y) if batch.weight is None else loss(prediction, batch.y, batch.weight)
    if not is_tensor(value):
        raise DTypeError("a loss that is a Tensor", f"{value!r:.60}",
                         "compute it from the prediction with Array API functions, and do not convert it")
    return value


def _share(mass: Any, total: Any) -> Any:
    """A batch's share in its update; where all weights are 0 so is the loss."""
    if isinstance(total, int):
        return mass / total
    xp = array_namespace(total)
    return mass / xp.where(total == 0, xp.ones_like(total), total)
