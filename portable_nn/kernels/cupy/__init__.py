"""Fast paths on CuPy arrays. There are none yet: every operation runs there as its generic pair."""

from __future__ import annotations
