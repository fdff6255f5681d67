"""Convolution over time."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.convolution import resolve_padding
from portable_nn.functional.windows import Grid, check_grid
from portable_nn.layers.initializers import torch_uniform
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class Conv1d(Module):
    """y[b, o, t] = b[o] + Σ W[o, c, k] x[b, c, t · stride + k · dilation - padding] over c and k.

    Shape
    -----
    (B, in_channels, T) -> (B, out_channels, T'), PyTorch's layout,
    T' = ⌊(T + 2 padding - dilation (kernel_size - 1) - 1) / stride⌋ + 1

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    stride : int
        Steps from one window to the next.
    padding : int, (left, right), "same" or "valid"
        Zeros at the ends; "same" keeps T. `(dilation * (kernel_size - 1), 0)` keeps T and looks only back.
    dilation : int
        Steps from one element of the kernel to the next.
    groups : int
        The channels, in and out, fall into so many groups that do not see each other.
    bias : bool
        Whether to add b.

    Attributes
    ----------
    weight : Parameter (out_channels, in_channels / groups, kernel_size)
        Drawn uniformly from ±1/√(in_channels / groups · kernel_size), as is the bias.
    bias : Parameter (out_channels,), or None

    Raises
    ------
    ArgumentError
        A number is out of range, the groups do not divide the channels, or "same" comes with a stride.
    ShapeError
        x has other channels, or is shorter than one window.

    References
    ----------
    As `torch.nn.Conv1d`: a cross-correlation, the kernel is not turned round.

    Examples
    --------
    >>> import numpy as np
    >>> Conv1d(3, 8, kernel_size=5, padding="same")(np.ones((2, 3, 20), dtype=np.float32)).shape
    (2, 8, 20)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 padding: int | tuple[int, int] | str = 0, dilation: int = 1, groups: int = 1,
                 bias: bool = True) -> None:
        self.in_channels = check_size("in_channels", in_channels)
        self.out_channels = check_size("out_channels", out_channels)
        self.kernel_size, self.groups = check_size("kernel_size", kernel_size, 1), check_size("groups", groups, 1)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(f"channels that {groups} groups divide", f"{in_channels} and {out_channels}",
                                "choose groups that divide both in_channels and out_channels")
        ends = resolve_padding(padding, kernel_size, stride, dilation)
        check_grid("Conv1d", Grid(kernel_size, stride, dilation, ends))
        self.stride, self.padding, self.dilation = stride, padding, dilation
        initializer = torch_uniform(in_channels // groups * kernel_size)
        self.weight = Parameter((out_channels, in_channels // groups, kernel_size), initializer)
        self.bias = Parameter((out_channels,), initializer) if bias else None

    def forward(self, x: Any) -> Any:
        array_namespace(x)  # refuses what is no array
        return functional.conv1d(x, self.weight, self.bias, stride=self.stride, padding=self.padding,
                                 dilation=self.dilation, groups=self.groups)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
                f"bias={self.bias is not None}")
