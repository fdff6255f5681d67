"""Optimiser updates over the arena: see src/optimizers.cu for how a step is made of three launches."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from portable_nn.backend.devices import to_numpy
from portable_nn.kernels.cupy.launch import SCALARS, as_int64, contiguous, empty, is_floating, kernel
from portable_nn.kernels.cupy.scatter import sort_indices
from portable_nn.kernels.cupy.uploads import Upload
from portable_nn.kernels.registry import register

#: Up to so many rows of a row-sparse gradient, every one looks at all indices; more of them are sorted.
FEW = 4096
#: As in optimizers.cu.
PIECES, THREADS, CHUNK, WIDTH = 96, 256, 2048, 12
TABLE = np.dtype([("gradient", "u8", PIECES), ("begin", "i8", PIECES), ("size", "i8", PIECES),
                  ("first_block", "i4", PIECES), ("row", "i4", PIECES), ("count", "i8")])
TOTAL, FROZEN, BAD_STEP, BAD_LOSS, BAD_ELEMENT, SCALE = 0, 5, 6, 7, 8, 9
RECORD, SETTINGS = 16, 8
ADAM, AMSGRAD, DESCENT, MOMENTUM, NESTEROV, RMSPROP, LION = 0, 1, 2, 3, 4, 5, 9


def _adam(beta1: float, beta2: float, eps: float, weight_decay: float, shrink: float, step_size: float,
          root_correction: float) -> tuple[float, ...]:
    return beta1, 1 - beta1, beta2, 1 - beta2, eps, weight_decay, shrink, step_size, root_correction


def _sgd(lr: float, momentum: float, weight_decay: float, keep: float, nesterov: bool) -> tuple[float, ...]:
    return lr, momentum, weight_decay, keep


def _rmsprop(lr: float, alpha: float, eps: float, weight_decay: float, momentum: float,
             centered: bool) -> tuple[float, ...]:
    return lr, alpha, 1 - alpha, eps, weight_decay, momentum


def _lion(lr: float, beta1: float, beta2: float, shrink: float) -> tuple[float, ...]:
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, shrink


#: Operation -> the numbers that its rules take, in their order, from the options of its definition.
NUMBERS = {"adam_update": _adam, "sgd_update": _sgd, "rmsprop_update": _rmsprop, "lion_update": _lion}


class Arena:
    """The kernels over one run: its values and moments, and this step's gradients.

    Parameters
    ----------
    values : array (n,)
    moments : list of arrays (n,)
    operation : str
    """

    def __init__(self, values: Any, moments: list[Any], *, operation: str) -> None:
        self.numbers, self._operation, self._moments = NUMBERS[operation], operation, len(moments)
        self.char = values.dtype.char
        self._arrays = (values, *moments, *[0] * (3 - len(moments)))
        self._tables: list[tuple[np.ndarray, int]] = []  # with their blocks
        self._kept: Any = None
        self._owners: Any = None

    @property
    def blocks(self) -> int:
        """How many blocks look at the gradients."""
        return sum(blocks for _, blocks in self._tables)

    def rule_of(self, options: dict[str, Any]) -> int:
        """The number of the rule in optimizers.cu."""
        if self._operation == "adam_update":
            return AMSGRAD if self._moments == 3 else ADAM
        if self._operation == "sgd_update":
            return DESCENT if self._moments == 0 else NESTEROV if options["nesterov"] else MOMENTUM
        if self._operation == "rmsprop_update":
            return RMSPROP + 2 * bool(options["centered"]) + bool(options["momentum"])
        return LION

    def load(self, pieces: list[tuple[Any, int, int]]) -> None:
        """Take this step's gradients, each with its first element in the run and its row of numbers."""
        self._owners = None
        self._kept = [(contiguous(g), begin, row) for g, begin, row in pieces if g.size]
        self._tables = [_table(self._kept[i:i + PIECES]) for i in range(0, len(self._kept), PIECES)]

    def load_rows(self, indices: Any, rows: Any) -> None:
        """Take this step's row-sparse gradient: (n,) and (n, D). Rows of one index are summed in their order."""
        count, width = rows.shape[0], rows.size // max(rows.shape[0], 1)
        indices, rows = as_int64(indices), contiguous(rows)
        summed, self._owners = empty(rows.shape, rows.dtype), empty((count,), "q")
        size = self._arrays[0].size // max(width, 1)
        if rows.size and count <= FEW:
            kernel("optimizers", "coalesce_rows", self.char)(
                (count,), (THREADS,), (indices, rows, count, width, size, summed, self._owners))
        elif rows.size:
            keys, positions = sort_indices(indices, size)
            kernel("optimizers", "coalesce_sorted", self.char)(
                (count,), (THREADS,), (keys, positions, rows, count, width, size, summed, self._owners))
        self._kept = [(summed, 0, 0)]
        self._tables = [_table(self._kept)] if rows.size else []

    def inspect(self, start: int, squares: int, bad: int) -> None:
        """Write a sum of squares and the first bad element of each block to these addresses of doubles."""
        for table, blocks in self._tables:
            kernel("optimizers", "inspect", self.char)((blocks,), (THREADS,), (table, start, squares, bad))
            squares, bad = squares + 8 * blocks, bad + 8 * blocks

    def update(self, rule: int, scalars: Any, record: Any) -> None:
        """Update all parameters that have a gradient."""
        record = 0 if record is None else record
        if self._owners is not None:
            (summed, *_), = self._kept
            if summed.size:
                width = summed.size // summed.shape[0]
                kernel("optimizers", "update_rows", self.char)(
                    (summed.shape[0],), (THREADS,),
                    (summed, self._owners, width, rule, *self._arrays, scalars, record))
            return
        for table, blocks in self._tables:
            kernel("optimizers", "update", self.char)((blocks,), (THREADS,),
                                                      (table, rule, *self._arrays, scalars, record))


def _table(pieces: list[tuple[Any, int, int]]) -> tuple[np.ndarray, int]:
    """The table of a launch, and its blocks."""
    table, first, blocks = np.zeros(1, dtype=TABLE), [], 0
    for g, _, _ in pieces:
        first.append(blocks)
        blocks += -(-g.size // CHUNK)
    count = len(pieces)
    table["gradient"][0, :count] = [g.data.ptr for g, _, _ in pieces]
    table["begin"][0, :count] = [begin for _, begin, _ in pieces]
    table["size"][0, :count] = [g.size for g, _, _ in pieces]
    table["first_block"][0, :count] = first
    table["row"][0, :count] = [row for _, _, row in pieces]
    table["count"] = count
    return table, blocks


class StepNumbers:
    """What changes from step to step, on the device: how to conclude, and each run's hyper-parameters.

    Parameters
    ----------
    like : array
    layout : list of (dtype, rows)
        Of each run, and how many rows of numbers it may need.
    """

    def __init__(self, like: Any, layout: list[tuple[Any, int]]) -> None:
        places, end = [], 8 * SETTINGS
        for dtype, rows in layout:
            real = np.dtype(np.float64 if np.dtype(dtype).char == "d" else np.float32)
            places.append((end, rows * WIDTH, real))
            end += -(-rows * WIDTH * real.itemsize // 64) * 64
        self._upload, self._places = Upload(end), places
        self._settings = self._upload.view(0, SETTINGS, np.float64)
        self.scalars = [self._upload.view(*place) for place in places]
        self._own: Any = None
        self._views: dict[int, list[np.ndarray]] = {}
        self._scratch = cupy.zeros((2, 0), dtype=cupy.float64)
        self._blocks = 0

    def send(self, settings: tuple[float, ...], rows: list[list[tuple[float, ...]]]) -> None:
        """Fill the arrays: the settings, and for each run its rows of numbers."""
        slot = self._upload.slot()
        views = self._host_views(slot)
        views[0][:len(settings)] = settings
        for view, numbers in zip(views[1:], rows, strict=True):
            for i, row in enumerate(numbers):
                view[i, :len(row)] = row
        self._upload.send()

    def _host_views(self, slot: np.ndarray) -> list[np.ndarray]:
        """The settings and each run's rows in a slot of host memory."""
        place = id(slot)
        if place not in self._views:
            self._views[place] = [slot[:8 * SETTINGS].view(np.float64), *[
                slot[start:start + count * real.itemsize].view(real).reshape(-1, WIDTH)
                for start, count, real in self._places]]
        return self._views[place]

    def begin(self, blocks: int) -> None:
        """Make room for what so many blocks find."""
        if self._scratch.shape[1] < blocks:
            self._scratch = cupy.zeros((2, blocks), dtype=cupy.float64)
        self._blocks = 0

    def inspect(self, arena: Arena, start: int) -> None:
        """Look at the gradients of one run, whose first element counts as number `start`."""
        first, width = self._scratch.data.ptr + 8 * self._blocks, self._scratch.shape[1]
        arena.inspect(start, first, first + 8 * width)
        self._blocks += arena.blocks

    def conclude(self, record: Any) -> None:
        """Write the factor, whether to apply, and what the latch remembers into a record."""
        first, width = self._scratch.data.ptr, self._scratch.shape[1]
        kernel("optimizers", "conclude", "f")((1,), (THREADS,),
                                              (first, first + 8 * width, self._blocks, record, self._settings))

    def own_record(self) -> Any:
        """A record for clipping alone."""
        if self._own is None:
            self._own = self.new_record()
        return self._own

    @staticmethod
    def new_record(scale: float = 1.0) -> Any:
        """A record of a run that begins."""
        record = cupy.zeros((RECORD,), dtype=cupy.float64)
        record[SCALE] = scale
        return record

    @staticmethod
    def scale_of(record: Any) -> Any:
        """Where in a record the scale of the loss is, and the finite steps since it last changed."""
        return record[SCALE:SCALE + 2]

    @staticmethod
    def total(record: Any) -> float:
        """The sum of the squares of all gradients. Waits for the device."""
        return float(to_numpy(record)[TOTAL])

    @staticmethod
    def fault(record: Any) -> tuple[int, float, int | None] | None:
        """Step, loss and element of what froze the updates (None where only the loss did), or None. Waits."""
        found = to_numpy(record)
        if not found[FROZEN]:
            return None
        element = int(found[BAD_ELEMENT])
        return int(found[BAD_STEP]), float(found[BAD_LOSS]), element if element >= 0 else None

    @staticmethod
    def see_loss(loss: Any, record: Any) -> None:
        """Note a loss of the step under way."""
        kernel("optimizers", "see_loss", loss.dtype.char)((1,), (1,), (contiguous(loss), record))


def _takes(values: Any, *, operation: str) -> bool:
    return operation in NUMBERS and is_floating(values)


register("arena", "cupy", Arena, supports=_takes)
register("step_numbers", "cupy", StepNumbers,
         supports=lambda values: type(values) is cupy.ndarray and values.dtype.char in SCALARS)
