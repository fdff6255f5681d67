"""What a training loop notes of each loss, on the device and in one launch."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, kernel
from portable_nn.kernels.registry import register


def note_loss(loss: Any, mass: Any, total: Any, record: Any) -> None:
    """total += loss · mass, in place, and the loss into the record of the step under way; `mass` may be a number."""
    masses, mass = (0, float(mass)) if isinstance(mass, (int, float)) else (contiguous(mass), 0.0)
    kernel("notes", "note_loss", loss.dtype.char)((1,), (1,), (contiguous(loss), masses, mass, total, record))


def supports(loss: Any, mass: Any, total: Any) -> bool:
    return loss.size == 1 and loss.dtype.char in "fd" and total.dtype == loss.dtype and (
        isinstance(mass, (int, float)) or (mass.dtype == loss.dtype and mass.size == 1))


register("note_loss", "cupy", note_loss, supports=supports)
