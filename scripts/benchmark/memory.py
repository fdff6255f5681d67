"""How much memory a process uses, and the most it has used since it was last asked to forget."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status(field: str) -> float:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1]) * 1024
    raise LookupError(field)


def trim() -> None:
    """Give back to the system what the allocator keeps of freed memory, where it can be told to."""
    gc.collect()
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # the C library may be another than GNU's
            ctypes.CDLL(None).malloc_trim(0)


def level() -> float | None:
    """Bytes in memory now; on macOS the most so far, on Windows None, for these cannot tell."""
    if _STATUS.exists():
        return _status("VmRSS")
    return peak()


def forget_peak() -> None:
    """Let `peak` start from what is in memory now, where the system can do that."""
    if _CLEAR.exists():
        _CLEAR.write_text("5", encoding="ascii")


def peak() -> float | None:
    """The most bytes that were in memory at once since `forget_peak`."""
    if _STATUS.exists():
        return _status("VmHWM")
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
