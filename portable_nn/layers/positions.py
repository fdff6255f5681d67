"""Where in a sequence a vector stands, added to it: as waves, or as learned vectors."""

from __future__ import annotations

import math
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import check_floating
from portable_nn.layers.attention import check_dropout
from portable_nn.layers.calls import raw
from portable_nn.layers.initializers import Normal
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class PositionalEncoding(Module):
    """y = dropout(x + p), where p of position t is sin(t / 10000^(2i/D)) in column 2i and cos of it in column 2i + 1.

    Shape
    -----
    (B, T, d_model) -> the same; (T, B, d_model) with `batch_first=False`

    Parameters
    ----------
    d_model : int
        D, the width of x.
    dropout : float
        The share of elements dropped in training mode.
    batch_first : bool
        False for time before batch.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> PositionalEncoding(4)(np.zeros((1, 2, 4), dtype=np.float32)).round(2)
    array([[[0.  , 1.  , 0.  , 1.  ],
            [0.84, 0.54, 0.01, 1.  ]]], dtype=float32)
    """

    def __init__(self, d_model: int, dropout: float = 0.0, batch_first: bool = True) -> None:
        self.d_model = check_size("d_model", d_model, 1)
        self.dropout, self.batch_first = check_dropout(dropout), batch_first

    def forward(self, x: Any) -> Any:
        xp = array_namespace(x)
        length = check_sequence(x, self.d_model, self.batch_first)
        waves = _waves(getattr(xp, "raw", xp), length, self.d_model, x.dtype, x.device)      # (T, D)
        y = x + (waves if self.batch_first else xp.expand_dims(waves, axis=1))
        if not self.training or self.dropout == 0:
            return y
        return functional.dropout(y, p=self.dropout, stream=self.next_stream())

    def extra_repr(self) -> str:
        return (f"{self.d_model}" + (f", dropout={self.dropout}" if self.dropout else "")
                + ("" if self.batch_first else ", batch_first=False"))


class LearnedPositions(Module):
    """y = x + W[t], a learned vector for each position t.

    Shape
    -----
    (B, T, d_model) -> the same; (T, B, d_model) with `batch_first=False`; T is at most max_length

    Parameters
    ----------
    max_length, d_model : int
        Rows and columns of the table.
    batch_first : bool
        False for time before batch.

    Attributes
    ----------
    weight : Parameter (max_length, d_model)
        Drawn from a normal distribution of deviation 0.02.

    Raises
    ------
    ShapeError
        x is longer than max_length, or not of this width.

    References
    ----------
    A. Radford et al., "Language models are unsupervised multitask learners", 2019 (GPT-2, whose deviation it is).

    Examples
    --------
    >>> import numpy as np
    >>> LearnedPositions(10, 4)(np.zeros((2, 3, 4), dtype=np.float32)).shape
    (2, 3, 4)
    """

    def __init__(self, max_length: int, d_model: int, batch_first: bool = True) -> None:
        self.max_length, self.d_model = check_size("max_length", max_length), check_size("d_model", d_model, 1)
        self.batch_first = batch_first
        self.weight = Parameter((max_length, d_model), Normal(0.02))

    def forward(self, x: Any) -> Any:
        rows = self.rows(check_sequence(x, self.d_model, self.batch_first))
        xp = array_namespace(x, rows)
        check_floating("LearnedPositions", raw(x), raw(rows))
        return x + (rows if self.batch_first else xp.expand_dims(rows, axis=1))

    def rows(self, length: int) -> Any:
        """The vectors (T, d_model) of the first positions."""
        if length > self.max_length:
            raise ShapeError(f"a sequence of at most {self.max_length} steps", f"{length}",
                             "cut it, or build the layer with a larger max_length")
        weight: Any = self.weight
        return weight if length == self.max_length else weight[:length, :]

    def extra_repr(self) -> str:
        return f"{self.max_length}, {self.d_model}{'' if self.batch_first else ', batch_first=False'}"


def check_sequence(x: Any, width: int, batch_first: bool) -> int:
    """The length of a batch of sequences.

    Raises
    ------
    ShapeError, DTypeError
        x has not three axes, or another width; it is not floating.
    """
    array_namespace(x)  # refuses what is no array
    if len(x.shape) != 3 or x.shape[2] != width:
        raise ShapeError(f"x of shape ({'B, T' if batch_first else 'T, B'}, {width})", f"{tuple(x.shape)}",
                         "check the width that the layer was built with, and add an axis of batch if there is none")
    check_floating("a batch of sequences", raw(x))
    return x.shape[1 if batch_first else 0]


def _waves(xp: Any, length: int, width: int, dtype: Any, device: Any) -> Any:
    """The encodings (T, D), computed in float64 where the device has it: positions may be large."""
    wide = xp.__array_namespace_info__().dtypes(device=device, kind="real floating").get("float64", dtype)
    pairs = -(-width // 2)
    times = xp.astype(xp.arange(length, dtype=xp.int32, device=device), wide)
    powers = xp.astype(xp.arange(pairs, dtype=xp.int32, device=device), wide) * (-2 * math.log(10000) / width)
    angles = xp.expand_dims(times, axis=1) * xp.exp(powers)                                  # (T, D/2)
    both = xp.reshape(xp.stack([xp.sin(angles), xp.cos(angles)], axis=2), (length, 2 * pairs))
    return xp.astype(both[:, :width], dtype, copy=False)
