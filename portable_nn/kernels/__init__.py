"""Fast paths, one file per library and operation, reached through the registry alone."""

from portable_nn.kernels.registry import available, disabled, explain, register

__all__ = ["available", "disabled", "explain", "register"]
