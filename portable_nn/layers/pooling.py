"""Pooling over time: of windows, and of whole sequences with their padding left out."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import as_index, check_integer
from portable_nn.functional.pooling import pool_grid
from portable_nn.layers.module import Module


class MaxPool1d(Module):
    """The largest value of each window; of equal ones the first gets the gradient.

    Shape
    -----
    (B, C, T) -> (B, C, T'), T' = ⌊(T + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        Steps from one window to the next; `kernel_size` when left out.
    padding : int
        Steps at each end that no maximum is taken from, at most half of `kernel_size`.
    dilation : int
        Steps from one element of a window to the next.

    Raises
    ------
    ArgumentError, ShapeError
        A number is out of range; x is not (B, C, T), or shorter than one window.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool1d(2)(np.asarray([[[1.0, 3.0, 2.0, 0.0]]]))
    array([[[3., 2.]]])
    """

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        pool_grid("MaxPool1d", self.kernel_size, self.stride, padding, dilation)  # refuses what is out of range

    def forward(self, x: Any) -> Any:
        array_namespace(x)  # refuses what is no array
        return functional.max_pool(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding,
                                   dilation=self.dilation)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}")


class AvgPool1d(Module):
    """The mean of each window.

    Shape
    -----
    (B, C, T) -> (B, C, T'), T' = ⌊(T + 2 padding - kernel_size) / stride⌋ + 1

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        Steps from one window to the next; `kernel_size` when left out.
    padding : int
        Zeros at each end, at most half of `kernel_size`.
    count_include_pad : bool
        Whether those zeros count as values.

    Raises
    ------
    ArgumentError, ShapeError
        A number is out of range; x is not (B, C, T), or shorter than one window.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool1d(2)(np.asarray([[[1.0, 3.0, 2.0, 0.0]]]))
    array([[[2., 1.]]])
    """

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0,
                 count_include_pad: bool = True) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.count_include_pad = padding, count_include_pad
        pool_grid("AvgPool1d", self.kernel_size, self.stride, padding, 1)  # refuses what is out of range

    def forward(self, x: Any) -> Any:
        array_namespace(x)  # refuses what is no array
        return functional.avg_pool(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding,
                                   count_include_pad=self.count_include_pad)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"count_include_pad={self.count_include_pad}")


class _OverTime(Module):
    """What GlobalMaxPool1d and GlobalAvgPool1d share."""

    _function: Any

    def __init__(self, axis: int = -1) -> None:
        if not isinstance(axis, int) or axis == 0:
            raise ArgumentError("the axis of time, as an integer other than 0", repr(axis),
                                "pass -1 for (B, C, T), 1 for (B, T, D)")
        self.axis = axis

    def forward(self, x: Any, lengths: Any = None, mask: Any = None) -> Any:
        array_namespace(x)  # refuses what is no array
        if lengths is not None:
            if mask is not None:
                raise ArgumentError("lengths or a mask", "both", "leave one of them out")
            if x.ndim <= max(self.axis, 1):
                raise ShapeError("x with axes of batch and time", f"{x.shape}", "pass (B, C, T), or set axis")
            mask = hidden_steps(lengths, x.shape[0], x.shape[self.axis])
        return type(self)._function(x, mask, axis=self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class GlobalMaxPool1d(_OverTime):
    """The largest value of each channel over the whole sequence; of equal ones the first gets the gradient.

    Shape
    -----
    (B, C, T), lengths (B,) or mask (B, T) or neither -> (B, C)

    A step at or behind its row's length, or where the mask is True, is hidden: what x holds there counts for nothing.
    A row without any step gives zeros.

    Parameters
    ----------
    axis : int
        The axis of time: 1 for (B, T, D).

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        The axis is 0, or both lengths and a mask are given; shapes do not fit; lengths are no integers, the mask is not
        boolean.

    Examples
    --------
    >>> import numpy as np
    >>> GlobalMaxPool1d()(np.asarray([[[1.0, 3.0, 9.0]]]), lengths=np.asarray([2]))
    array([[3.]])
    """

    _function = staticmethod(functional.max_over_time)


class GlobalAvgPool1d(_OverTime):
    """The mean of each channel over the whole sequence.

    Shape
    -----
    (B, C, T), lengths (B,) or mask (B, T) or neither -> (B, C)

    A step at or behind its row's length, or where the mask is True, is hidden: what x holds there counts for nothing.
    A row without any step gives zeros.

    Parameters
    ----------
    axis : int
        The axis of time: 1 for (B, T, D).

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        As GlobalMaxPool1d.

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool1d()(np.asarray([[[1.0, 3.0, 9.0]]]), lengths=np.asarray([2]))
    array([[2.]])
    """

    _function = staticmethod(functional.mean_over_time)


def hidden_steps(lengths: Any, batch: int, steps: int) -> Any:
    """A mask (B, T), True at and behind each row's length."""
    check_integer("pooling over time", "lengths", lengths)
    if tuple(lengths.shape) != (batch,):
        raise ShapeError(f"one length for each row, shape ({batch},)", f"{lengths.shape}", "reshape them")
    xp = array_namespace(lengths)
    lengths = as_index(xp, lengths)
    time = xp.arange(steps, dtype=lengths.dtype, device=lengths.device)
    return time >= xp.expand_dims(lengths, axis=-1)
