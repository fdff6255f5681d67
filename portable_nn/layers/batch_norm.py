"""y = (x - mean) / √(var + ε) · w + b, with mean and variance over the batch."""

from __future__ import annotations

import math
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.calls import raw
from portable_nn.layers.initializers import ones, zeros
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class BatchNorm1d(Module):
    """Normalise each channel: y = (x - mean) / √(var + ε) · w + b.

    In training mode mean and (biased) variance are those of the batch, over all axes but that of the channels, and the
    running statistics move towards them: running ← (1 - momentum) · running + momentum · batch, where the variance is
    the unbiased one. In evaluation mode the running statistics are used.

    Shape
    -----
    (B, C) or (B, C, T) -> the same

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        ε, inside the root.
    momentum : float or None
        None for the plain average over all batches so far.
    affine : bool
        Whether to have w and b.
    track_running_stats : bool
        Whether to have running statistics; without them those of the batch are used in evaluation mode too.

    Attributes
    ----------
    weight, bias : Parameter (C,), or None
        Ones and zeros at first.
    running_mean, running_var : Buffer (C,)
        Zeros and ones at first.
    num_batches_tracked : Buffer ()
        Integer, how many batches the statistics have seen.

    Raises
    ------
    ShapeError
        x has other channels, or where the batch's own statistics are needed, only one value per channel.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization", 2015, algorithms 1 and 2; as `torch.nn.BatchNorm1d`.

    Examples
    --------
    >>> import numpy as np
    >>> norm = BatchNorm1d(1, eps=0.0)
    >>> norm(np.asarray([[1.0], [3.0]], dtype=np.float32))
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> norm.running_mean.data, norm.running_var.data
    (array([0.2], dtype=float32), array([1.1], dtype=float32))
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True) -> None:
        self.num_features = check_size("num_features", num_features, 1)
        if not eps >= 0:
            raise ArgumentError("eps of 0 or more", repr(eps), "pass a small number, such as 1e-5")
        if momentum is not None and not (isinstance(momentum, (int, float)) and 0 <= momentum <= 1):
            raise ArgumentError("momentum from 0 to 1, or None", repr(momentum), "pass for example 0.1")
        self.eps, self.momentum, self.affine, self.track_running_stats = eps, momentum, affine, track_running_stats
        self.weight = Parameter((num_features,), ones) if affine else None
        self.bias = Parameter((num_features,), zeros) if affine else None
        if track_running_stats:
            self.register_buffer("running_mean", (num_features,), zeros)
            self.register_buffer("running_var", (num_features,), ones)
            self.register_buffer("num_batches_tracked", (), zeros, "int64")

    def forward(self, x: Any) -> Any:
        array_namespace(x)  # refuses what is no array
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise ShapeError(f"x of shape (B, {self.num_features}) or (B, {self.num_features}, T)", f"{x.shape}",
                             "build the layer with num_features = the second axis of x")
        if self.track_running_stats and not self.training:
            return functional.batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var,
                                         eps=self.eps)[0]
        y, mean, var = functional.batch_norm(x, self.weight, self.bias, None, None, eps=self.eps)
        if self.track_running_stats:
            self._track(mean, var, math.prod(x.shape) // self.num_features)
        return y

    def _track(self, mean: Any, var: Any, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values per channel."""
        # No gradient flows through what is only kept.
        mean, var, *old = map(raw, (mean, var, self.running_mean, self.running_var, self.num_batches_tracked))
        xp = array_namespace(mean)
        batches = old[2] + xp.ones_like(old[2])
        share = 1 / xp.astype(batches, old[0].dtype) if self.momentum is None else self.momentum
        self.update_buffer("num_batches_tracked", batches)
        for name, before, now in (("running_mean", old[0], mean), ("running_var", old[1], var * (count / (count - 1)))):
            self.update_buffer(name, before * (1 - share) + xp.astype(now, before.dtype) * share)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")
