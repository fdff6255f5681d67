"""Initializers: what a parameter's first values are, as a function of its random stream and shape.

`fan_in` and `fan_out` are the numbers of inputs and outputs of a weight of shape (out, in, *kernel).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from portable_nn.backend import random
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.random import Stream


@dataclass(frozen=True)
class Constant:
    """Every element is `value`."""

    value: float = 0.0

    def __call__(self, stream: Stream, shape: tuple[int, ...], *, dtype: Any, xp: Any, device: Any) -> Any:
        return xp.full(shape, self.value, dtype=dtype, device=device)


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float

    def __call__(self, stream: Stream, shape: tuple[int, ...], *, dtype: Any, xp: Any, device: Any) -> Any:
        return random.uniform(stream, shape, self.low, self.high, dtype=dtype, xp=xp, device=device)


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0 unless given."""

    std: float = 1.0
    mean: float = 0.0

    def __call__(self, stream: Stream, shape: tuple[int, ...], *, dtype: Any, xp: Any, device: Any) -> Any:
        return random.normal(stream, shape, self.mean, self.std, dtype=dtype, xp=xp, device=device)


@dataclass(frozen=True)
class VarianceScaling:
    """Zero-mean values of variance scale / fan, so that signals keep their size from layer to layer.

    Parameters
    ----------
    scale : float
    fan : "in", "out" or "average"
    distribution : "uniform" or "normal"
    """

    scale: float
    fan: str
    distribution: str

    def __post_init__(self) -> None:
        known = self.fan in ("in", "out", "average") and self.distribution in ("uniform", "normal")
        if not (known and self.scale > 0):
            raise ArgumentError('scale above 0, fan "in", "out" or "average", distribution "uniform" or "normal"',
                                repr(self), "check their spelling")

    def __call__(self, stream: Stream, shape: tuple[int, ...], *, dtype: Any, xp: Any, device: Any) -> Any:
        if len(shape) < 2:
            raise ShapeError("a weight of shape (out, in, …) to scale by its fan", f"{shape}", "use Normal or Uniform")
        kernel = math.prod(shape[2:])
        fans = {"in": shape[1] * kernel, "out": shape[0] * kernel, "average": (shape[0] + shape[1]) * kernel / 2}
        variance = self.scale / max(fans[self.fan], 1)
        if self.distribution == "normal":
            return Normal(math.sqrt(variance))(stream, shape, dtype=dtype, xp=xp, device=device)
        bound = math.sqrt(3 * variance)
        return Uniform(-bound, bound)(stream, shape, dtype=dtype, xp=xp, device=device)


@dataclass(frozen=True)
class Given:
    """These values, along one axis."""

    values: tuple[float, ...]

    def __call__(self, stream: Stream, shape: tuple[int, ...], *, dtype: Any, xp: Any, device: Any) -> Any:
        return xp.asarray(list(self.values), dtype=dtype, device=device)


@dataclass(frozen=True)
class ZeroRow:
    """As another initializer, but with zeros in one row, such as that of a padding index."""

    inner: Any
    row: int

    def __call__(self, stream: Stream, shape: tuple[int, ...], *, dtype: Any, xp: Any, device: Any) -> Any:
        values = self.inner(stream, shape, dtype=dtype, xp=xp, device=device)
        rows = xp.reshape(xp.arange(shape[0], dtype=xp.int32, device=device), (shape[0],) + (1,) * (len(shape) - 1))
        return xp.where(rows == self.row, xp.zeros_like(values), values)


zeros = Constant(0.0)
ones = Constant(1.0)
#: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, eq. 16.
glorot_uniform = VarianceScaling(1.0, "average", "uniform")
glorot_normal = VarianceScaling(1.0, "average", "normal")
#: He et al., "Delving deep into rectifiers", 2015, eq. 10.
he_uniform = VarianceScaling(2.0, "in", "uniform")
he_normal = VarianceScaling(2.0, "in", "normal")
#: LeCun et al., "Efficient backprop", 1998, section 4.6.
lecun_uniform = VarianceScaling(1.0, "in", "uniform")
lecun_normal = VarianceScaling(1.0, "in", "normal")


def torch_uniform(fan_in: int) -> Any:
    """What PyTorch draws for linear, recurrent and convolutional weights and biases: uniform on ±1/√fan_in."""
    if fan_in == 0:
        return zeros
    bound = 1 / math.sqrt(fan_in)
    return Uniform(-bound, bound)
