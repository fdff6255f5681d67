"""The library's exceptions: each message says what was expected, what came, and what to do about it."""

from __future__ import annotations


class PortableNNError(Exception):
    """Base of every exception raised on purpose by this library.

    Parameters
    ----------
    expected, received, fix : str
        What the call needs, what it was given, and what the caller can do. Each is a phrase; the message joins them.
    """

    def __init__(self, expected: str, received: str, fix: str) -> None:
        super().__init__(expected, received, fix)

    def __str__(self) -> str:
        expected, received, fix = self.args
        return f"expected {expected}; got {received}. {fix[:1].upper()}{fix[1:]}{'' if fix.endswith('.') else '.'}"


class ShapeError(PortableNNError, ValueError):
    """An array has the wrong number of axes or the wrong length along one."""


class DTypeError(PortableNNError, TypeError):
    """An array has a data type the operation does not take."""


class DeviceError(PortableNNError, ValueError):
    """Arrays of two devices or two libraries met in one call, or a device does not exist."""


class DataError(PortableNNError, ValueError):
    """Values are unusable: a label out of range, NaN in the data, empty text, a missing column."""


class ArgumentError(PortableNNError, ValueError):
    """An option is outside its range or contradicts another."""


class FileError(PortableNNError, ValueError):
    """A file or folder is missing, truncated, or does not hold what it says."""


class GradientError(PortableNNError, RuntimeError):
    """A gradient cannot be computed: no rule, a freed graph, or a parameter changed since the forward pass."""


class NonFiniteError(PortableNNError, ArithmeticError):
    """A loss or gradient became NaN or infinite during training."""


class CaptureError(PortableNNError, RuntimeError):
    """A step that is to be captured does what cannot be repeated without Python, such as reading a value back."""


class MissingDependencyError(PortableNNError, ImportError):
    """An optional package or a GPU is needed and not there."""
