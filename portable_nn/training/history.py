"""What happened in each epoch, as a plain table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class History:
    """The figures of a training run, one row per epoch.

    Attributes
    ----------
    rows : list of dict
        Each with `epoch` (from 1), `train` (loss), `validation` (loss, if there is validation data), the metrics under
        their names, `lr` and `seconds`.
    best_epoch : int or None
        The epoch whose weights early stopping has restored.
    interrupted : bool
        Whether the run was ended with Ctrl-C.
    """

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows: list[dict[str, Any]] = rows or []
        self.best_epoch: int | None = None
        self.interrupted = False

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of one epoch; NumPy numbers and arrays become Python's."""
        self.rows.append({name: value.tolist() if hasattr(value, "tolist") else value for name, value in row.items()})

    def __getitem__(self, column: str) -> list[Any]:
        """One column, with None where an epoch lacks it; KeyError where all do."""
        if self.rows and not any(column in row for row in self.rows):
            raise KeyError(f"no column {column!r} among {list(self.rows[0])}")
        return [row.get(column) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __str__(self) -> str:
        if not self.rows:
            return "no epoch yet"
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [columns] + [[_cell(row.get(name)) for name in columns] for row in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
        if self.best_epoch is not None:
            lines.append(f"weights of epoch {self.best_epoch}, the best")
        if self.interrupted:
            lines.append("interrupted")
        return "\n".join(lines)

    __repr__ = __str__


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
