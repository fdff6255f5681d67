"""Where `fit` gets its batches from: data in memory, split and shuffled by key, or an iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from portable_nn.autodiff import Tensor
from portable_nn.backend.devices import convert
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError
from portable_nn.backend.namespace import array_namespace, is_array
from portable_nn.backend.random import Stream, permutation
from portable_nn.data import Batches, check_finite, row_count, rows, to_tensors
from portable_nn.layers import Module
from portable_nn.training.prefetching import Resident, fits, make_sender, prefetched


class Batch(NamedTuple):
    """Inputs, targets and sample weights as Tensors, and what the batch counts for: its rows, or their weights' sum."""

    x: Any
    y: Any
    weight: Any
    mass: Any


class Rows(NamedTuple):
    """A batch not yet gathered: the numbers of its rows, a Tensor on the device, and how many they are."""

    index: Any
    mass: int


class Feed:
    """Batches of Tensors on the model's device and in its dtype, epoch after epoch.

    Parameters
    ----------
    data : (x, y) or (x, y, sample_weight), windows, or an iterable of such batches
    """

    def __init__(self, data: Any, model: Module, *, batch_size: int, seed: int = 0, shuffle: bool = True) -> None:
        self.model = model
        self.data: Any = data
        self.batches: Batches | None = None
        self._parts: Any = None
        self._resident: Resident | None = None
        self._sender: Any = None
        if is_in_memory(data):
            parts = as_parts(data)
            check_finite(parts)
            self._parts = parts
            self.batches = Batches(parts, batch_size=batch_size, seed=seed, epoch=0, shuffle=shuffle, drop_last=False,
                                   device=None, dtype=None)
        elif not isinstance(data, Iterable):
            raise DTypeError("(x, y), (x, y, sample_weight), windows, or an iterable of batches", f"{data!r:.60}",
                             "pass train=(x, y)")

    @property
    def length(self) -> int | None:
        """Batches per epoch, where it is known."""
        source = self.batches if self.batches is not None else self.data
        return len(source) if hasattr(source, "__len__") else None

    def epoch(self, number: int, *, late: bool = False) -> Iterator[Any]:
        """The batches of one epoch; with `late`, of data kept on a device as `Rows`, for `complete` to gather."""
        dtype, count = self.model.dtype, 0
        if late and self._keep(self.model.device, dtype) is not None and len(self._parts) == 2 and self._is_shuffled():
            for index in self._resident.rows(number):  # type: ignore[union-attr]
                yield Rows(Tensor(index), index.shape[0])
            return
        for parts in self._tensors(number, self.model.device, dtype):
            x, y, *rest = parts
            weight = rest[0] if rest else None
            yield Batch(x, y, weight, row_count(y) if weight is None else _sum(weight.data, dtype))
            count += 1
        if not count:
            raise DataError("at least one batch in each epoch", f"none in epoch {number + 1}",
                            "pass an iterable that can be gone through again, such as a list, not a generator")

    def complete(self, batch: Any) -> Batch:
        """The batch itself; of `Rows`, the batch gathered on the device."""
        if not isinstance(batch, Rows):
            return batch
        x, y = self._resident.gather(batch.index.data)  # type: ignore[union-attr]
        return Batch(x, y, None, batch.mass)

    def _is_shuffled(self) -> bool:
        return self.batches is not None and self.batches.order is not None

    def _keep(self, device: str, dtype: str) -> Resident | None:
        """The data on the device, if they fit there."""
        if self._resident is not None and self._resident.place != (device, dtype):
            self._resident = None
        if self.batches is not None and self._resident is None and fits(self._parts, device, dtype):
            self._resident = Resident(self.batches, self._parts, device=device, dtype=dtype)
        return self._resident

    def _tensors(self, number: int, device: str, dtype: str) -> Iterator[tuple[Any, ...]]:
        """The batches as Tensors: gathered on the device, sent ahead to it, or where they are."""
        kept = self._keep(device, dtype)
        if kept is not None:
            return kept.epoch(number)
        self._sender = self._sender or make_sender(device)
        if self._sender is not None:
            return prefetched(self._source(number), self._sender, device=device, dtype=dtype, check=_pair)
        return (to_tensors(_pair(parts), device=device, dtype=dtype) for parts in self._source(number))

    def _source(self, number: int) -> Iterator[Any]:
        if self.batches is not None:
            batches = self.batches if self.batches.order is None else self.batches.epoch(number)
            return (batches.raw(i) for i in range(len(batches)))
        return iter(self.data.epoch(number) if hasattr(self.data, "epoch") else self.data)


def _pair(parts: Any) -> tuple[Any, ...]:
    if not isinstance(parts, (tuple, list)) or len(parts) not in (2, 3):
        raise DTypeError("batches that are (x, y) or (x, y, sample_weight)", f"{type(parts).__name__}",
                         "pass arrays as one tuple (numpy.asarray(x), numpy.asarray(y)), or yield tuples")
    return tuple(parts)


def _sum(weight: Any, dtype: str) -> Any:
    xp = array_namespace(weight)
    return xp.sum(convert(weight, dtype=dtype))


def is_in_memory(data: Any) -> bool:
    """Whether `data` is (x, y), (x, y, sample_weight) or windows, and not an iterable of batches."""
    return hasattr(data, "as_rows") or (isinstance(data, tuple) and len(data) in (2, 3) and not _is_batch(data[0]))


def _is_batch(part: Any) -> bool:
    """Whether an element of a tuple is itself a batch: a tuple of which targets cannot be told from inputs is data."""
    return not (is_array(part) or hasattr(part, "as_rows") or hasattr(part, "tocsr") or isinstance(part, (tuple, dict)))


def as_parts(data: Any) -> tuple[Any, ...]:
    """Data as a tuple of inputs, targets and perhaps weights."""
    return tuple(data.as_rows()) if hasattr(data, "as_rows") else tuple(data)


def split_validation(train: Any, validation: Any, seed: int) -> tuple[Any, Any]:
    """Training and validation data, where the latter may be a share of the former."""
    last = _is_share_at_the_end(validation)
    share = validation[1] if last else validation
    if not last and not isinstance(share, (str, Real)):
        return train, validation
    if isinstance(share, str) or not 0 < share < 1:
        raise ArgumentError("a validation share between 0 and 1", f"{share!r}", 'pass for example 0.1 or ("last", 0.1)')
    if not is_in_memory(train):
        raise ArgumentError("arrays to take a share of for validation", "an iterable of batches",
                            "pass validation=(x, y) or an iterable of batches")
    parts = as_parts(train)
    count = row_count(parts)
    held = round(count * share)
    if not 0 < held < count:
        raise DataError("rows for training and for validation", f"{held} of {count} for validation",
                        "pass more data or another share")
    if last:
        return rows(parts, slice(0, count - held)), rows(parts, slice(count - held, count))
    order = permutation(Stream(seed, "validation"), count)
    return rows(parts, np.sort(order[held:])), rows(parts, np.sort(order[:held]))


def _is_share_at_the_end(validation: Any) -> bool:
    if not (isinstance(validation, tuple) and len(validation) == 2 and isinstance(validation[0], str)):
        return False
    if validation[0] != "last" or not isinstance(validation[1], Real):
        raise ArgumentError('validation=("last", share)', f"{validation!r:.60}", 'pass for example ("last", 0.1)')
    return True
