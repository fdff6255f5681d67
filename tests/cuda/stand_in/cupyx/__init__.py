"""What the library asks of cupyx; see the stand-in `cupy` beside it."""

from __future__ import annotations
