"""Batches for a GPU: copied ahead of their use from pinned memory, or gathered on the device from data kept there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from portable_nn.autodiff import Tensor
from portable_nn.backend.devices import convert, free_bytes, namespace_of_device
from portable_nn.backend.namespace import array_namespace
from portable_nn.data import Batches
from portable_nn.data.batching import map_arrays, move_and_cast
from portable_nn.data.rowwise import is_sparse, map_parts
from portable_nn.kernels import registry

#: Batches that are on their way while one is being used.
AHEAD = 2
#: The share of the free memory of a GPU that data may take to be kept there.
SHARE = 0.25


def make_sender(device: str) -> Any:
    """What copies to a device while it computes; None where nothing does."""
    if not device.startswith("cuda"):
        return None
    xp, native = namespace_of_device(device)
    entries = registry.loaded_entries("sender", xp)
    return entries[-1].forward(native) if entries else None


def prefetched(source: Iterator[Any], sender: Any, *, device: str, dtype: str,
               check: Callable[[Any], Any]) -> Iterator[Any]:
    """The batches of `source` as Tensors on the device, in their order, each sent while earlier ones are used.

    An error of the source, or of `check(parts)`, is raised where its batch would have come.
    """
    waiting: deque[tuple[Any, Any]] = deque()

    def place(x: Any) -> Any:
        if type(x) is not np.ndarray:
            moved = Tensor(move_and_cast(x, device=device, dtype=dtype))
            sender.wait()
            return moved
        floating = x.dtype.kind == "f"
        return Tensor(sender.send(x, np.dtype(dtype) if floating else x.dtype.newbyteorder("=")))

    def send(parts: Any) -> tuple[Any, Any]:
        sender.begin()
        try:
            placed = map_arrays(check(parts), place)
        except BaseException:
            sender.abandon()
            raise
        return placed, sender.end()

    ended = False
    try:
        while True:
            while not ended and len(waiting) <= AHEAD:
                try:
                    waiting.append(send(next(source)))
                except StopIteration:
                    ended = True
                except Exception as error:
                    waiting.append((error, None))
                    ended = True
            if not waiting:
                return
            parts, event = waiting.popleft()
            if isinstance(parts, Exception):
                raise parts
            sender.take(event)
            yield parts
    finally:
        for _, event in waiting:  # memory must not be given away while something is written to it
            if event is not None:
                sender.take(event)


class Resident:
    """Data kept on a device whole, whose batches are gathered there: the host sends the order of an epoch, once.

    Parameters
    ----------
    batches : Batches
    parts : tuple of arrays, or nested tuples and dicts of these
    """

    def __init__(self, batches: Batches, parts: Any, *, device: str, dtype: str) -> None:
        self._batches, self.place = batches, (device, dtype)
        self._parts = map_arrays(parts, lambda x: move_and_cast(x, device=device, dtype=dtype))

    def epoch(self, number: int) -> Iterator[Any]:
        """The batches of an epoch, as Tensors."""
        if self._batches.order is not None:
            for index in self.rows(number):
                yield self.gather(index)
            return
        size = self._batches.batch_size
        for start in range(0, len(self._batches) * size, size):
            yield map_arrays(self._parts, lambda x, start=start: Tensor(
                x[start:min(start + size, self._batches.rows), ...]))

    def rows(self, number: int) -> Iterator[Any]:
        """The numbers of the rows of each batch of an epoch, on the device."""
        batches = self._batches.epoch(number)
        order, size = convert(batches.order, device=self.place[0]), batches.batch_size
        for start in range(0, len(batches) * size, size):
            yield order[start:min(start + size, batches.rows)]

    def gather(self, index: Any) -> Any:
        """These rows, as Tensors."""
        arrays: list[Any] = []
        map_arrays(self._parts, arrays.append)
        kernel = registry.find("gather_rows", array_namespace(index), (*arrays, index), {})
        if kernel is None:
            return map_arrays(self._parts, lambda x: Tensor(array_namespace(x).take(x, index, axis=0)))
        found = iter(kernel.forward(arrays, index))
        return map_arrays(self._parts, lambda x: Tensor(next(found)))


def fits(parts: Any, device: str, dtype: str) -> bool:
    """Whether data are arrays alone, on a GPU or small enough to be kept there."""
    sizes: list[float] = []

    def look(part: Any, _name: str) -> None:
        if is_sparse(part) or not hasattr(part, "dtype"):
            sizes.append(float("inf"))
        else:
            floating = array_namespace(part).isdtype(part.dtype, "real floating")
            width = np.dtype(dtype).itemsize if floating else getattr(part.dtype, "itemsize", 8)
            sizes.append(part.size * width)

    map_parts(parts, look)
    return device.startswith("cuda") and sum(sizes) <= SHARE * free_bytes(device)
