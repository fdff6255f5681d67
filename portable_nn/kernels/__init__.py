"""Fast paths, one file per library and operation, reached through the registry alone."""

from __future__ import annotations

from portable_nn.kernels.registry import available, disabled, explain, register

__all__ = ["available", "disabled", "explain", "register"]
