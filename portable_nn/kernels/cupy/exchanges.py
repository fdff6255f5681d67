"""What a recorded step is given at each launch, and what it returns, without a copy of the host's for any of it.

A graph begins and ends with a launch of `exchange.cu`. Before the graph is launched, the host writes into a slot of
pinned memory where the inputs lie and where copies of the results are to go, and beside that what else changes from
step to step (learning rate, step counts); the first launch brings the inputs and these numbers to where the recorded
launches read them, the last one the results to where the caller looks for them.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from portable_nn.kernels.cupy.launch import contiguous, empty, kernel
from portable_nn.kernels.cupy.uploads import SLOTS, Upload

#: As in exchange.cu.
CHUNK, THREADS = 16384, 256
PIECE, HEADER = 5, 16
#: Uploads that a step may have, and blocks of the first and last launch, which take several chunks each if need be.
UPLOADS, BLOCKS = 64, 512
_HALF = SLOTS // 2
_INT64 = cupy.dtype("int64")


class Exchange:
    """The inputs, numbers and results of one graph.

    Parameters
    ----------
    inputs : list of CuPy arrays
        As the step is given them when it is recorded.
    outputs : int
        How many arrays it returns.

    Attributes
    ----------
    statics : list of CuPy arrays
        Where the recorded launches find the inputs.
    """

    def __init__(self, inputs: list[Any], outputs: int) -> None:
        self.statics = [cupy.array(x, copy=True, order="C") for x in inputs]
        self._header = cupy.zeros((HEADER,), dtype=_INT64)
        self._tables = [empty((max(n, 1), PIECE), _INT64) for n in (len(inputs) + UPLOADS, outputs)]
        self._kernel = kernel("exchange", "exchange")
        self._outputs: list[Any] = []
        self._results: list[tuple[Any, Any]] = []
        self._uploads: list[Upload] = []
        self._chunks = sum(map(_chunks, self.statics)) + 2  # of uploads there are few, and small ones
        self._launch(0, 1)  # loads the kernel, which cannot be done while something is recorded; there is no slot yet

    def _launch(self, side: int, chunks: int) -> None:
        self._kernel((max(1, min(chunks, BLOCKS)),), (THREADS,), (self._header, self._tables[side], side))

    def begin(self) -> None:
        """The first launch."""
        self._launch(0, self._chunks)

    def end(self, outputs: list[Any]) -> None:
        """The last launch, if there are results."""
        self._outputs = [contiguous(x) for x in outputs]
        self._results = [(x.shape, x.dtype) for x in self._outputs]
        if outputs:
            self._launch(1, sum(map(_chunks, self._outputs)))

    def complete(self, uploads: list[Upload]) -> None:
        """After recording: make the slots. Each upload is filled from them from now on, first with what it was sent."""
        if len(uploads) > UPLOADS:
            raise AssertionError(f"more than {UPLOADS} uploads of one step")
        self._uploads, inputs = uploads, len(self.statics)
        self._first_output = inputs
        words = inputs + len(self._outputs) + (inputs + len(self._outputs)) % 2
        places = [8 * words]
        for upload in uploads:
            places.append(places[-1] + -(-upload.size // 16) * 16)
        size = self._make_ring(places)
        pieces = [(x.data.ptr, 0, 8 * i, x.nbytes) for i, x in enumerate(self.statics)]
        pieces += [(upload.array.data.ptr, -1, place, upload.size)
                   for upload, place in zip(uploads, places, strict=False)]
        results = [(0, x.data.ptr, 8 * (inputs + i), x.nbytes) for i, x in enumerate(self._outputs)]
        ends = [_fill(table, rows) for table, rows in zip(self._tables, (pieces, results), strict=True)]
        self._header[...] = cupy.asarray(np.array(
            [self._ring.ctypes.data, size, SLOTS, 0, 0, len(pieces), len(results), *ends, *[0] * (HEADER - 9)],
            dtype=np.int64))

    def _make_ring(self, places: list[int]) -> int:
        """The slots; returns the bytes of one."""
        size = max(places[-1], 16)
        # Not from CuPy's pool, as `Upload`'s.
        self._memory = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(SLOTS * size), 0)
        self._ring = np.frombuffer(self._memory, dtype=np.uint8, count=SLOTS * size).reshape(SLOTS, size)
        self._ring[...] = 0
        self._words = [memoryview(slot.view(np.uint64)) for slot in self._ring]
        self._views = [[slot[place:place + upload.size] for upload, place in zip(self._uploads, places, strict=False)]
                       for slot in self._ring]
        for views in self._views:
            for upload, view in zip(self._uploads, views, strict=True):
                view[...] = upload.sent
        self._events = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]  # recorded after each half of the slots
        self._next = 0
        return size

    def open(self, inputs: list[Any]) -> None:
        """Begin to write a slot: where the inputs are; until `launch`, what the uploads are sent goes into it too."""
        number = self._next % SLOTS
        if number % _HALF == 0:
            self._events[number // _HALF].synchronize()
        words = self._words[number]
        # What had to be copied is given back to the pool as soon as it is launched, and used again after that.
        self._held = [x if x.flags.c_contiguous else cupy.ascontiguousarray(x) for x in inputs]
        for i, x in enumerate(self._held):
            words[i] = x.data.ptr
        for upload, view in zip(self._uploads, self._views[number], strict=True):
            upload.into = view

    def close(self) -> None:
        """Nothing is written to the slot any more."""
        for upload in self._uploads:
            upload.into = None

    def launch(self, graph: Any, stream: Any) -> list[Any]:
        """Launch the graph with the slot; returns copies of the results."""
        number, place = self._next % SLOTS, self._first_output
        words, found = self._words[number], []
        for shape, dtype in self._results:
            out = empty(shape, dtype)
            words[place] = out.data.ptr
            place += 1
            found.append(out)
        graph.launch(stream)
        self._next += 1
        if self._next % _HALF == 0:
            stream.record(self._events[number // _HALF])
        return found


def _chunks(x: Any) -> int:
    return -(-x.nbytes // CHUNK)


def _fill(table: Any, rows: list[tuple[int, int, int, int]]) -> int:
    """Write the pieces (target, source, place, bytes) of one launch; returns how many chunks they are."""
    host, end = np.zeros(table.shape, dtype=np.int64), 0
    for row, piece in zip(host, rows, strict=False):
        row[...] = (*piece, end)
        end += -(-piece[3] // CHUNK)
    table[...] = cupy.asarray(host)
    return end
