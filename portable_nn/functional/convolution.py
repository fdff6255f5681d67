"""Convolution over time, as one matrix product over all windows."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32, product
from portable_nn.functional.windows import Grid, check_grid, check_steps, padded, put_back


def _columns(xp, x, grid, groups):
    """All windows as rows: (G, B T', C/G K)."""
    (batch, channels, steps), count = x.shape, grid.count(x.shape[2])
    x = padded(xp, x, grid.padding, 0.0)
    columns = xp.stack([x[key] for key in grid.keys(steps)], axis=3)           # (B, C, T', K)
    if groups == 1:
        columns = xp.permute_dims(columns, (0, 2, 1, 3))
    else:
        columns = xp.reshape(columns, (batch, groups, channels // groups, count, grid.kernel))
        columns = xp.permute_dims(columns, (1, 0, 3, 2, 4))                    # (G, B, T', C/G, K)
    return xp.reshape(columns, (groups, batch * count, channels // groups * grid.kernel))


def _matrices(xp, weight, groups):
    """The weight (O, C/G, K) as matrices (G, O/G, C/G K)."""
    out, inputs, kernel = weight.shape
    return xp.reshape(weight, (groups, out // groups, inputs * kernel))


def _definition(x, weight, bias, /, *, grid, groups):
    xp = array_namespace(x, weight, bias)
    batch, count, out = x.shape[0], grid.count(x.shape[2]), weight.shape[0]
    y = product(_columns(xp, x, grid, groups), xp.matrix_transpose(_matrices(xp, weight, groups)))
    y = xp.permute_dims(xp.reshape(y, (groups, batch, count, out // groups)), (1, 0, 3, 2))
    y = xp.reshape(y, (batch, out, count))
    return y if bias is None else y + xp.expand_dims(bias, axis=-1)


def _backward(xp, g, x, weight, grid, groups, needs):
    (batch, out, count), channels = g.shape, x.shape[1]
    rows = xp.permute_dims(xp.reshape(g, (batch, groups, out // groups, count)), (1, 0, 3, 2))
    rows = xp.reshape(rows, (groups, batch * count, out // groups))            # (G, B T', O/G)
    g_x = g_weight = None
    if needs[0]:
        columns = xp.matmul(rows, _matrices(xp, weight, groups))
        columns = xp.reshape(columns, (groups, batch, count, channels // groups, grid.kernel))
        columns = xp.reshape(xp.permute_dims(columns, (1, 0, 3, 2, 4)), (batch, channels, count, grid.kernel))
        g_x = put_back([columns[..., k] for k in range(grid.kernel)], grid, x.shape)
    if needs[1]:
        g_weight = xp.reshape(xp.matmul(xp.matrix_transpose(rows), _columns(xp, x, grid, groups)), weight.shape)
    return g_x, g_weight, xp.sum(g, axis=(0, 2)) if needs[2] else None


def _check(x, weight, bias, *, grid, groups):
    check_floating("conv1d", x, weight, bias)
    check_steps("conv1d", x, grid)
    out, inputs = weight.shape[:2]
    if x.shape[1] != inputs * groups or out % groups:
        raise ShapeError(f"x of shape (B, {inputs * groups}, T) and a weight whose first axis {groups} groups divide",
                         f"{x.shape} and {weight.shape}", f"build the layer with in_channels={x.shape[1]}")
    if bias is not None and bias.shape != (out,):
        raise ShapeError(f"bias of shape ({out},)", f"{bias.shape}", "reshape it")


_conv1d = fused("conv1d", definition=_definition, backward=_backward, check=_check)


def conv1d(x: Any, weight: Any, bias: Any, *, stride: int, padding: int | tuple[int, int] | str, dilation: int,
           groups: int) -> Any:
    """y[b, o, t] = bias[o] + Σ weight[o, c, k] x[b, c, t · stride + k · dilation - padding] over c and k.

    Parameters
    ----------
    x : floating array of shape (B, C, T)
    weight : array of shape (O, C / groups, K)
    bias : array of shape (O,), or None
    stride, dilation : int
    padding : int, (left, right), "same" or "valid"
        Zeros at the ends. "same" keeps T and needs stride 1; where the zeros are odd in number the end gets one more.
    groups : int
        The channels, in and out, fall into so many groups that do not see each other.

    Returns
    -------
    array of shape (B, O, T')
        T' = ⌊(T + left + right - dilation (K - 1) - 1) / stride⌋ + 1

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        Shapes do not fit, or x is shorter than one window; dtypes are not floating or differ; devices differ.
    ArgumentError
        A number is out of range; "same" with a stride.

    References
    ----------
    As `torch.nn.functional.conv1d`: a cross-correlation, the kernel is not turned round.
    """
    if weight.ndim != 3:
        raise ShapeError("weight of shape (O, C / groups, K)", f"{weight.shape}", "reshape it")
    if not isinstance(groups, int) or groups < 1:
        raise ArgumentError("groups of 1 or more", repr(groups), "pass a divisor of the channels")
    grid = Grid(weight.shape[2], stride, dilation, resolve_padding(padding, weight.shape[2], stride, dilation))
    check_grid("conv1d", grid)
    return _conv1d(in_float32(x), weight, bias, grid=grid, groups=groups)


def resolve_padding(padding: Any, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding in any form as (left, right)."""
    if padding == "same":
        if stride != 1:
            raise ArgumentError('stride 1 for padding="same"', f"stride {stride}", "pass a number of zeros instead")
        total = dilation * (kernel - 1)
        return total // 2, total - total // 2
    if padding == "valid":
        return 0, 0
    if isinstance(padding, int):
        return padding, padding
    if not isinstance(padding, (tuple, list)) or len(padding) != 2:
        raise ArgumentError('padding as an integer, a pair of them, "same" or "valid"', repr(padding),
                            "pass for example padding=1")
    return padding[0], padding[1]
