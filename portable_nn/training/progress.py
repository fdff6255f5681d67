"""What a training run shows: a bar while an epoch runs, and a line after it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portable_nn.training.run import Training


@contextmanager
def bar(batches: Iterable[Any], training: Training, total: int | None, shown: bool) -> Iterator[Iterator[Any]]:
    """The batches of one epoch, with a bar on a terminal, which is gone when the epoch ends, in whatever way."""
    if not shown or not sys.stderr.isatty():
        yield iter(batches)
        return
    from tqdm import tqdm

    with tqdm(batches, total=total, desc=f"epoch {training.epoch + 1}/{training.epochs}", unit="batch",
              leave=False) as counted:
        yield iter(counted)


def line(row: dict[str, Any], epochs: int, shown: bool) -> None:
    """One epoch's figures: `epoch 3/20  train 0.4312  validation 0.4561  accuracy 0.8100  (0.4 s)`."""
    if not shown:
        return
    figures = [f"{name} {value:#.4g}" for name, value in row.items()
               if name not in ("epoch", "lr", "seconds") and isinstance(value, (int, float))]
    print("  ".join([f"epoch {row['epoch']}/{epochs}", *figures, f"({row['seconds']:.1f} s)"]), flush=True)
