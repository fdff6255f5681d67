"""What a training run shows: a bar while an epoch runs, and a line after it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def bar(batches: Iterable[Any], *, epoch: int, epochs: int, total: int | None, shown: bool) -> Iterable[Any]:
    """The batches, with a bar on a terminal."""
    if not shown or not sys.stderr.isatty():
        return batches
    from tqdm import tqdm

    return tqdm(batches, total=total, desc=f"epoch {epoch}/{epochs}", unit="batch", leave=False)


def line(row: dict[str, Any], epochs: int, shown: bool) -> None:
    """One epoch's figures."""
    if shown:
        figures = "  ".join(f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in row.items() if name not in ("epoch", "lr", "seconds") and not isinstance(value, list))
        print(f"epoch {row['epoch']}/{epochs}  {figures}  ({row['seconds']:.1f} s)", flush=True)
