"""What the library asks of nvmath-python, over the memory of the stand-in `cupy` beside it. It is NOT nvmath-python."""

from __future__ import annotations
