"""What scripts/bench.py is made of: workloads, the contenders that run them, and how they are timed and compared."""
from __future__ import annotations
