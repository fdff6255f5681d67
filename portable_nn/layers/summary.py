"""What a model is made of: one line per layer, with its path, output shape, parameters and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from portable_nn.autodiff.frame import inside
from portable_nn.autodiff.tree import leaves
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.libraries import dtype_name
from portable_nn.backend.namespace import is_array
from portable_nn.layers.calls import open_frame
from portable_nn.layers.storage import item_bytes

_HEADS = ("layer", "type", "output", "parameters", "memory", "activations")


@dataclass
class Row:
    """One module of a summary.

    Attributes
    ----------
    path, type : str
    shapes : list of tuple of int
        Shape of each array of the output, the last one where the module was called several times.
    calls : int
        How often the module was called.
    trainable, frozen : int
        Numbers of parameters of the module itself, without those below it; shared ones count where they come first.
    parameter_bytes, activation_bytes : int
        Memory of its parameters and buffers, and of its outputs over all calls.
    """

    path: str
    type: str
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    calls: int = 0
    trainable: int = 0
    frozen: int = 0
    parameter_bytes: int = 0
    activation_bytes: int = 0
    has_children: bool = False


@dataclass
class Summary:
    """The rows of a model, in the order of its modules; its `str` is a table.

    Attributes
    ----------
    rows : list of Row
    trainable, frozen : int
        Numbers of parameters of the whole model.
    parameter_bytes : int
        Memory of all parameters and buffers.
    activation_bytes : int
        Memory of the outputs of the innermost modules: about what a recorded call keeps for the backward pass.
    """

    rows: list[Row]

    @property
    def trainable(self) -> int:
        return sum(row.trainable for row in self.rows)

    @property
    def frozen(self) -> int:
        return sum(row.frozen for row in self.rows)

    @property
    def parameter_bytes(self) -> int:
        return sum(row.parameter_bytes for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        return sum(row.activation_bytes for row in self.rows if not row.has_children)

    def __str__(self) -> str:
        table = [_HEADS, *map(_cells, self.rows)]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(_HEADS))]
        lines = [_line(cells, widths) for cells in table]
        rule = "-" * max(map(len, lines))
        frozen = f", {self.frozen:,} frozen" if self.frozen else ""
        return "\n".join([lines[0], rule, *lines[1:], rule,
                          f"parameters: {self.trainable:,} trainable{frozen}, {_readable(self.parameter_bytes)}",
                          f"activations: {_readable(self.activation_bytes)}"])


def summary(model: Any, *inputs: Any) -> Summary:
    """Run a model once on an example and tell what it is made of.

    The model stays as it is: its mode, its random position and its buffers, and values not drawn yet are not drawn.

    Parameters
    ----------
    model : Module
    *inputs : arrays
        What the model is called with, of any batch size.

    Returns
    -------
    Summary
        Print it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_nn.layers import Linear, ReLU, Sequential
    >>> print(summary(Sequential(Linear(4, 8), ReLU(), Linear(8, 2)), np.ones((5, 4), dtype=np.float32)))
    layer  type        output  parameters  memory  activations
    ----------------------------------------------------------
    .      Sequential  (5, 2)           0     0 B         40 B
    0      Linear      (5, 8)          40   160 B        160 B
    1      ReLU        (5, 8)           0     0 B        160 B
    2      Linear      (5, 2)          18    72 B         40 B
    ----------------------------------------------------------
    parameters: 58 trainable, 232 B
    activations: 360 B
    """
    if not hasattr(model, "named_modules"):
        raise ArgumentError("a Module", f"{model!r:.60}", "pass summary(model, input)")
    rows = _rows(model)

    def observe(module: Any, output: Any) -> None:
        row = rows.get(id(module))
        if row is None:  # a module made inside forward is no part of the model
            return
        arrays = [x for x in leaves(output) if is_array(x)]
        row.calls += 1
        row.shapes = [tuple(x.shape) for x in arrays]
        row.activation_bytes += sum(map(_bytes, arrays))

    missing = {handle: handle.zeros() for handle in model._handles().values() if not handle.is_initialized}
    frame, args, options, _, _ = open_frame(model, inputs, {}, missing, observe)
    with inside(frame):
        model(*args, **options)
    return Summary(list(rows.values()))


def _rows(model: Any) -> dict[int, Row]:
    """A row for each module, with what is known before a call."""
    rows, seen = {}, set()
    for path, module in model.named_modules():
        row = rows[id(module)] = Row(path or ".", type(module).__name__, has_children=bool(module._modules))
        for handle in (*module._parameters.values(), *module._buffers.values()):
            if id(handle) in seen:
                continue
            seen.add(id(handle))
            row.parameter_bytes += handle.nbytes
            if hasattr(handle, "trainable"):
                row.trainable += handle.size if handle.trainable else 0
                row.frozen += 0 if handle.trainable else handle.size
    return rows


def _cells(row: Row) -> tuple[str, ...]:
    shapes = ", ".join(map(str, row.shapes)) or ("not called" if not row.calls else "none")
    count = f"{row.trainable + row.frozen:,}" + (" frozen" if row.frozen and not row.trainable else "")
    return (row.path, row.type, shapes + (f" x {row.calls}" if row.calls > 1 else ""), count,
            _readable(row.parameter_bytes), _readable(row.activation_bytes))


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Words to the left, numbers to the right."""
    padded = (cell.ljust(width) if i < 3 else cell.rjust(width)
              for i, (cell, width) in enumerate(zip(cells, widths, strict=True)))
    return "  ".join(padded).rstrip()


def _bytes(x: Any) -> int:
    return math.prod(x.shape) * item_bytes(dtype_name(x.dtype))


def _readable(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
