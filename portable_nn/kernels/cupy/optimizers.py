"""Optimiser updates over the arena: see src/optimizers.cu for how a step is made of three launches."""

from __future__ import annotations

from itertools import chain
from typing import Any

import cupy
import numpy as np

from portable_nn.backend.devices import to_numpy
from portable_nn.kernels.cupy.launch import SCALARS, contiguous, is_floating, kernel
from portable_nn.kernels.cupy.scatter import ALONE, MOST, RowSums, sum_rows
from portable_nn.kernels.cupy.uploads import Upload
from portable_nn.kernels.registry import register

#: As in optimizers.cu.
PIECES, THREADS, CHUNK, WIDTH = 96, 256, 2048, 12
TABLE = np.dtype([("gradient", "u8", PIECES), ("begin", "i8", PIECES), ("size", "i8", PIECES),
                  ("first_block", "i4", PIECES), ("row", "i4", PIECES), ("index", "u8", PIECES), ("count", "i8")])
ROW_TABLE = np.dtype([("sums", "u8", MOST), ("index", "u8", MOST), ("begin", "i8", MOST), ("size", "i8", MOST),
                      ("row", "i4", MOST)])
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
        self._kept: list[tuple[Any, int, int]] = []
        self._sums: list[list[tuple[Any, int, int]]] = []  # of row-sparse ones, those of a launch together
        self._inspected: list[tuple[np.ndarray, int]] | None = None

    @property
    def blocks(self) -> int:
        """How many blocks look at the gradients."""
        return sum(blocks for _, blocks in self._looked())

    def _looked(self) -> list[tuple[np.ndarray, int]]:
        """The tables of the launches that look at the gradients, with their blocks."""
        if self._inspected is None:
            self._inspected = _tables([*self._kept, *chain(*self._sums)], read=True)
        return self._inspected

    def rule_of(self, options: dict[str, Any]) -> int:
        """The number of the rule in optimizers.cu."""
        if self._operation == "adam_update":
            return AMSGRAD if self._moments == 3 else ADAM
        if self._operation == "sgd_update":
            return DESCENT if self._moments == 0 else NESTEROV if options["nesterov"] else MOMENTUM
        if self._operation == "rmsprop_update":
            return RMSPROP + 2 * bool(options["centered"]) + bool(options["momentum"])
        return LION

    def load(self, pieces: list[tuple[Any, int, int]], rows: list[tuple[Any, Any, int, int, int]]) -> None:
        """Take this step's gradients, each with its first element in the run and its row of numbers; row-sparse ones as
        indices (n,), rows (n, D), which are summed where indices are the same, and the size of the table."""
        self._inspected = None
        self._kept = [(g if isinstance(g, RowSums) else contiguous(g), begin, row)
                      for g, begin, row in pieces if g.size]
        found = [part for part in rows if part[1].size and part[2]]
        self._sums = []
        for i in range(0, len(found), MOST):
            sums = sum_rows([(indices, x, size, ALONE) for indices, x, size, _, _ in found[i:i + MOST]])
            self._sums.append([(x, begin, row) for x, (*_, begin, row) in zip(sums, found[i:], strict=False)])

    def inspect(self, start: int, squares: int, bad: int) -> None:
        """Write a sum of squares and the first bad element of each block to these addresses of doubles."""
        for table, blocks in self._looked():
            kernel("optimizers", "inspect", self.char)((blocks,), (THREADS,), (table, start, squares, bad))
            squares, bad = squares + 8 * blocks, bad + 8 * blocks

    def update(self, rule: int, scalars: Any, record: Any) -> None:
        """Update all parameters that have a gradient."""
        record = 0 if record is None else record
        for launch in self._sums:
            places = max(sums.values.shape[0] for sums, _, _ in launch)
            kernel("optimizers", "update_rows", self.char)(
                (-(-places // 4), 1, len(launch)), (32, 4),
                (_row_table(launch), rule, *self._arrays, scalars, record))
        for table, blocks in _tables(self._kept):
            kernel("optimizers", "update", self.char)((blocks,), (THREADS,),
                                                      (table, rule, *self._arrays, scalars, record))


def _tables(pieces: list[tuple[Any, int, int]], *, read: bool = False) -> list[tuple[np.ndarray, int]]:
    """The tables of the launches over these gradients, with their blocks; with `read` over what there is to read."""
    return [_table(pieces[i:i + PIECES], read) for i in range(0, len(pieces), PIECES)]


def _table(pieces: list[tuple[Any, int, int]], read: bool) -> tuple[np.ndarray, int]:
    table, first, blocks = np.zeros(1, dtype=TABLE), [], 0
    values = [g.values if isinstance(g, RowSums) else g for g, _, _ in pieces]
    sizes = [x.size for x in (values if read else [g for g, _, _ in pieces])]
    for size in sizes:
        first.append(blocks)
        blocks += -(-size // CHUNK)
    count = len(pieces)
    table["gradient"][0, :count] = [g.data.ptr for g in values]
    table["begin"][0, :count] = [begin for _, begin, _ in pieces]
    table["size"][0, :count] = sizes
    table["first_block"][0, :count] = first
    table["row"][0, :count] = [row for _, _, row in pieces]
    table["index"][0, :count] = [g.index.data.ptr if isinstance(g, RowSums) else 0 for g, _, _ in pieces]
    table["count"] = count
    return table, blocks


def _row_table(pieces: list[tuple[RowSums, int, int]]) -> np.ndarray:
    """As `_table`, of row-sparse gradients."""
    table, count = np.zeros(1, dtype=ROW_TABLE), len(pieces)
    table["sums"][0, :count] = [sums.values.data.ptr for sums, _, _ in pieces]
    table["index"][0, :count] = [sums.index.data.ptr for sums, _, _ in pieces]
    table["begin"][0, :count] = [begin for _, begin, _ in pieces]
    table["size"][0, :count] = [sums.shape[0] for sums, _, _ in pieces]
    table["row"][0, :count] = [row for _, _, row in pieces]
    return table


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
        for dtype, count in layout:
            real = np.dtype(np.float64 if np.dtype(dtype).char == "d" else np.float32)
            places.append((end, count * WIDTH, real))
            end += -(-count * WIDTH * real.itemsize // 64) * 64
        self._upload, self._places = Upload(end), places
        self._settings = self._upload.view(0, SETTINGS, np.float64)
        self.scalars = [self._upload.view(*place) for place in places]
        self._own: Any = None
        self._views: dict[int, list[np.ndarray]] = {}
        self._scratch = cupy.zeros((2, 0), dtype=cupy.float64)
        self._outgrown: list[Any] = []
        self._blocks = 0

    def send(self, settings: tuple[float, ...], rows: list[list[tuple[float, ...]]]) -> None:
        """Fill the arrays: the settings, and for each run its rows of numbers."""
        slot = self._upload.slot()
        views = self._host_views(slot)
        views[0][:len(settings)] = settings
        for view, numbers in zip(views[1:], rows):
            for place, row in zip(view, numbers):
                place[:len(row)] = row
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
            self._outgrown.append(self._scratch)  # recorded steps go on writing there
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
