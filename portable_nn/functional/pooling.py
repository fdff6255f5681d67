"""Maxima and means over time: of windows, or of whole sequences with their padding left out."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32
from portable_nn.functional.windows import Grid, check_grid, check_steps, padded, put_back


def lowest(xp: Any, dtype: Any) -> float:
    """The lowest finite number of a floating dtype."""
    return float(xp.finfo(dtype).min)


def _best(xp, x, grid):
    """The largest value of each window, and which of its steps that is: the first of equal ones, or the first NaN."""
    filled = padded(xp, x, grid.padding, lowest(xp, x.dtype))
    first, *others = [filled[key] for key in grid.keys(x.shape[2])]
    chosen = xp.zeros(first.shape, dtype=xp.int32, device=x.device)
    for k, part in enumerate(others, 1):
        better = xp.logical_and(xp.logical_not(part <= first), first == first)
        first = xp.where(better, part, first)
        chosen = xp.where(better, xp.full_like(chosen, k), chosen)
    return first, chosen


def _define_max_pool(x, /, *, grid):
    return _best(array_namespace(x), x, grid)[0]


def _max_pool_backward(xp, g, x, grid):
    chosen = _best(xp, x, grid)[1]
    return (put_back([xp.where(chosen == k, g, xp.zeros_like(g)) for k in range(grid.kernel)], grid, x.shape),)


def _shares(xp, x, grid, counts_padding):
    """What each window's sum is multiplied by: a number, or an array (T',)."""
    left, right = grid.padding
    if counts_padding or not left + right:
        return 1 / grid.kernel
    # In floats, for integer arrays do not divide everywhere; exact, as no sequence has 2^24 steps.
    starts = xp.arange(grid.count(x.shape[2]), dtype=x.dtype, device=x.device) * float(grid.stride) - float(left)
    ends = starts + float(grid.kernel)
    ends = xp.where(ends > x.shape[2], xp.full_like(ends, float(x.shape[2])), ends)
    return 1 / (ends - xp.where(starts < 0, xp.zeros_like(starts), starts))


def _define_avg_pool(x, /, *, grid, counts_padding):
    xp = array_namespace(x)
    filled = padded(xp, x, grid.padding, 0.0)
    first, *others = [filled[key] for key in grid.keys(x.shape[2])]
    for part in others:
        first = first + part
    return first * _shares(xp, x, grid, counts_padding)


def _avg_pool_backward(xp, g, x, grid, counts_padding):
    return (put_back([g * _shares(xp, x, grid, counts_padding)] * grid.kernel, grid, x.shape),)


def _hide(xp, x, mask, axis, value):
    """x with `value` where the mask (B, T) is True, and whether each row has steps that are not hidden."""
    shape = (mask.shape[0],) + tuple(mask.shape[1] if i == axis % x.ndim else 1 for i in range(1, x.ndim))
    mask = xp.reshape(mask, shape)
    return xp.where(mask, xp.full_like(x, value), x), xp.logical_not(mask)


def _chosen(xp, x, mask, axis):
    """Where the largest value along the axis is, the first of equal ones or of NaNs; nowhere if all is hidden."""
    seen = None
    if mask is not None:
        x, seen = _hide(xp, x, mask, axis, lowest(xp, x.dtype))
    steps = tuple(x.shape[axis] if i == axis % x.ndim else 1 for i in range(x.ndim))
    index = xp.reshape(xp.arange(x.shape[axis], dtype=xp.int32, device=x.device), steps)
    candidates = xp.logical_or(x == xp.max(x, axis=axis, keepdims=True), x != x)
    if seen is not None:
        candidates = xp.logical_and(candidates, seen)
    places = xp.where(candidates, index, xp.full_like(index, x.shape[axis]))
    return xp.logical_and(candidates, places == xp.min(places, axis=axis, keepdims=True))


def _define_max_over_time(x, mask, /, *, axis):
    xp = array_namespace(x, mask)
    if 0 in x.shape:
        return xp.sum(x, axis=axis)
    return xp.sum(xp.where(_chosen(xp, x, mask, axis), x, xp.zeros_like(x)), axis=axis)


def _max_over_time_backward(xp, g, x, mask, axis):
    if 0 in x.shape:
        return xp.zeros_like(x), None
    return xp.where(_chosen(xp, x, mask, axis), xp.expand_dims(g, axis=axis), xp.zeros_like(x)), None


def _check_pool(x, *, grid, counts_padding=True):
    check_floating("pooling", x)
    check_steps("pooling", x, grid)
    if sum(grid.padding) and x.shape[2] < grid.dilation:
        raise ShapeError(f"at least {grid.dilation} steps, so that no window is padding alone", f"{x.shape[2]}",
                         "pool with a smaller dilation, or without padding")


def _check_over_time(x, mask, *, axis):
    check_floating("pooling over time", x)
    if x.ndim < 2 or not -x.ndim < axis < x.ndim or axis % x.ndim == 0:
        raise ShapeError("x with an axis of batch and, behind it, one of time", f"x of shape {x.shape}, axis {axis}",
                         "pass axis=1 for (B, T, D), axis=2 for (B, C, T)")
    if mask is not None:
        if not array_namespace(mask).isdtype(mask.dtype, "bool"):
            raise DTypeError("a boolean mask, True where a step is hidden", f"{mask.dtype}",
                             "compare it, as in mask > 0")
        if tuple(mask.shape) != (x.shape[0], x.shape[axis]):
            raise ShapeError(f"a mask of shape {(x.shape[0], x.shape[axis])}, one value for each step", f"{mask.shape}",
                             "reshape it")


_max_pool = fused("max_pool", definition=_define_max_pool, backward=_max_pool_backward, check=_check_pool)
_avg_pool = fused("avg_pool", definition=_define_avg_pool, backward=_avg_pool_backward, check=_check_pool)
_max_over_time = fused("max_over_time", definition=_define_max_over_time, backward=_max_over_time_backward,
                       check=_check_over_time)


def pool_grid(operation: str, kernel_size: int, stride: int, padding: int, dilation: int) -> Grid:
    """The windows of a pooling, if its arguments are in range."""
    grid = Grid(kernel_size, stride, dilation, (padding, padding))
    check_grid(operation, grid)
    if padding > kernel_size // 2:
        raise ArgumentError(f"padding of at most half the kernel, {kernel_size // 2}", f"{padding}",
                            "pad less: a window of padding alone has neither a maximum nor a mean")
    return grid


def max_pool(x: Any, *, kernel_size: int, stride: int, padding: int, dilation: int) -> Any:
    """The largest value of each window of x (B, C, T); of equal ones the first gets the gradient.

    Parameters
    ----------
    x : floating array of shape (B, C, T)
    kernel_size, stride, dilation : int
    padding : int
        Steps at each end that no maximum is taken from, at most half of `kernel_size`.

    Returns
    -------
    array of shape (B, C, T')
        T' = ⌊(T + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        x is not (B, C, T), or shorter than one window; x is not floating; a number is out of range.

    References
    ----------
    As `torch.nn.functional.max_pool1d`.
    """
    return _max_pool(x, grid=pool_grid("max_pool", kernel_size, stride, padding, dilation))


def avg_pool(x: Any, *, kernel_size: int, stride: int, padding: int, count_include_pad: bool) -> Any:
    """The mean of each window of x (B, C, T), padded with zeros, which count as values with `count_include_pad`.

    Shapes and errors are those of `max_pool`; as `torch.nn.functional.avg_pool1d`.
    """
    return _avg_pool(in_float32(x), grid=pool_grid("avg_pool", kernel_size, stride, padding, 1),
                     counts_padding=bool(count_include_pad))


def max_over_time(x: Any, mask: Any, *, axis: int) -> Any:
    """The largest value over the time axis, hidden steps left out; of equal ones the first gets the gradient.

    Parameters
    ----------
    x : floating array of shape (B, ..., T, ...)
    mask : bool array of shape (B, T), or None
        True where a step is hidden. What x holds there counts for nothing, not even if it is NaN. A row without any
        step gives zeros.
    axis : int
        The axis of time: 1 for (B, T, D), 2 or -1 for (B, C, T).

    Returns
    -------
    array of x's shape without the axis

    Raises
    ------
    ShapeError, DTypeError
        There is no such axis, or it is the first; the mask is not of shape (B, T), or not boolean; x is not floating.

    References
    ----------
    R. Collobert et al., "Natural language processing (almost) from scratch", 2011, section 3.3.
    """
    return _max_over_time(x, mask, axis=axis)


def mean_over_time(x: Any, mask: Any, *, axis: int) -> Any:
    """The mean over the time axis of the steps that are not hidden; arguments, shapes and errors as `max_over_time`."""
    xp = array_namespace(x, mask)
    _check_over_time(x, mask, axis=axis)
    x = in_float32(x)
    if mask is None:
        return xp.sum(x, axis=axis) * (1 / max(x.shape[axis], 1))
    x, seen = _hide(xp, x, mask, axis, 0.0)
    count = xp.sum(xp.astype(seen, x.dtype), axis=axis)
    return xp.sum(x, axis=axis) / xp.where(count > 0, count, xp.ones_like(count))
