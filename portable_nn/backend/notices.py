"""What a user is told once: why something is slower than it could be, and what to do about it."""

from __future__ import annotations

import sys

_told: set[str] = set()


def notice(text: str) -> None:
    """One line on the terminal, once in a process."""
    if text not in _told:
        _told.add(text)
        print(f"portable_nn: {text}", file=sys.stderr, flush=True)
