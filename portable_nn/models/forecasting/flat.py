"""Bodies that see the past as one row of features: linear, and with hidden layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers import Module, Parameter, initializers
from portable_nn.models.forecasting.inputs import ForecastInputs, ForecastSizes
from portable_nn.models.mlp import MLP
from portable_nn.models.options import positive


class Condense(Module):
    """The inputs as one row of features: the recent past as it is, what matters less as means.

    In this order: the target's last `recent` rows; its older rows in means of `older`; each covariate's last `recent`
    rows in means of `coarse`, and the mean, maximum and minimum of its last whole days; what is known of the horizon in
    means of `ahead`; the calendar of the start. Rows that do not fill a block, the oldest of the past and the last of
    the horizon, are left out.

    Shape
    -----
    ForecastInputs of B rows -> (B, out_features)

    Parameters
    ----------
    sizes : ForecastSizes
    recent : int, optional
        By default the whole context.
    older, coarse, ahead : int
        Rows of a mean.
    day : int
        Rows of a day; 0 for no daily figures.
    centre : bool
        Subtract the mean of the context from the target: what is seen is then the same at every level of the series.
    """

    def __init__(self, sizes: ForecastSizes, *, recent: int | None = None, older: int = 1, coarse: int = 1,
                 ahead: int = 1, day: int = 0, centre: bool = False) -> None:
        self.sizes = sizes
        self.recent = sizes.context if recent is None else positive("recent", recent)
        self.older, self.coarse = positive("older", older), positive("coarse", coarse)
        self.ahead, self.centre = positive("ahead", ahead), bool(centre)
        if self.recent > sizes.context or coarse > self.recent or ahead > sizes.horizon:
            raise ArgumentError(f"coarse up to recent, recent up to {sizes.context}, ahead up to {sizes.horizon}",
                                f"coarse={coarse}, recent={self.recent}, ahead={ahead}", "choose smaller ones")
        if type(day) is not int or day < 0:
            raise ArgumentError("day as a number of rows, or 0", repr(day), "pass for example day=48")
        self.day = day
        days = sizes.context // day if day else 0
        past = self.recent + (sizes.context - self.recent) // older
        beside = sizes.covariates * (self.recent // coarse + 3 * days)
        self.out_features = past + beside + sizes.known * (sizes.horizon // ahead) + sizes.start

    def forward(self, inputs: ForecastInputs) -> Any:
        xp = array_namespace(inputs.past)
        past, context = inputs.past, self.sizes.context
        target, covariates = past[:, :, :1], past[:, :, 1:]                                   # (B, T, 1), (B, T, C)
        if self.centre:
            target = target - xp.mean(target, axis=1, keepdims=True)
        found = [target[:, context - self.recent:, :], means(xp, target[:, :context - self.recent, :], self.older),
                 means(xp, covariates[:, context - self.recent:, :], self.coarse)]
        if self.day and self.sizes.covariates:
            days = blocks(xp, covariates, self.day)                                          # (B, days, day, C)
            found += [xp.mean(days, axis=2), xp.max(days, axis=2), xp.min(days, axis=2)]
        horizon = self.sizes.horizon // self.ahead * self.ahead
        found += [means(xp, inputs.known[:, :horizon, :], self.ahead), inputs.start]
        # No columns, no features: reductions of empty arrays are not the standard's.
        flat = [xp.reshape(part, (part.shape[0], -1)) for part in found if 0 not in part.shape[1:]]
        return xp.concat(flat, axis=1)                                                        # (B, out_features)

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return {"recent": self.recent, "older": self.older, "coarse": self.coarse, "ahead": self.ahead,
                "day": self.day, "centre": self.centre}


class LinearBody(Module):
    """A linear map of the condensed inputs for each member, zero at first.

    Shape
    -----
    ForecastInputs of B rows -> (B, members, horizon)

    Parameters
    ----------
    sizes : ForecastSizes
    members : int
    **condense
        Options of `Condense`.
    """

    def __init__(self, sizes: ForecastSizes, members: int, **condense: Any) -> None:
        self.condense = Condense(sizes, **condense)
        self.nets = layers.ModuleList(layers.Linear(self.condense.out_features, sizes.horizon) for _ in range(members))
        for net in self.nets:
            start_at_zero(net)

    def forward(self, inputs: ForecastInputs) -> Any:
        return each(self.nets, self.condense(inputs))

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return self.condense.config()


class MLPBody(Module):
    """A network with hidden layers over the condensed inputs for each member, whose last layer is zero at first.

    Shape
    -----
    ForecastInputs of B rows -> (B, members, horizon)

    Parameters
    ----------
    sizes : ForecastSizes
    members : int
    hidden : sequence of int
        Features of each hidden layer.
    dropout : float
        Share of hidden features set to zero in training mode.
    activation : "relu", "gelu", "tanh" or "sigmoid"
    **condense
        Options of `Condense`.
    """

    def __init__(self, sizes: ForecastSizes, members: int, *, hidden: Sequence[int] = (256,), dropout: float = 0.4,
                 activation: str = "gelu", **condense: Any) -> None:
        self.condense = Condense(sizes, **condense)
        self.hidden, self.dropout, self.activation = list(hidden), dropout, activation
        shape = [self.condense.out_features, *hidden, sizes.horizon]
        self.nets = layers.ModuleList(MLP(shape, activation=activation, dropout=dropout) for _ in range(members))
        for net in self.nets:
            start_at_zero(net.steps[-1])

    def forward(self, inputs: ForecastInputs) -> Any:
        return each(self.nets, self.condense(inputs))

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return {"hidden": self.hidden, "dropout": self.dropout, "activation": self.activation, **self.condense.config()}


def each(nets: Any, x: Any) -> Any:
    return array_namespace(x).stack([net(x) for net in nets], axis=1)  # (B, I) -> (B, members, horizon)


def start_at_zero(linear: Any) -> None:
    """Members begin as naive forecasts, and learn what to add."""
    linear.weight = Parameter(linear.weight.shape, initializers.zeros)
    linear.bias = Parameter(linear.bias.shape, initializers.zeros)


def blocks(xp: Any, x: Any, size: int) -> Any:
    """(B, T, C) -> (B, T // size, size, C), without the oldest rows where they do not fill a block."""
    rows, length, columns = x.shape
    count = length // size
    return xp.reshape(x[:, length - count * size:, :], (rows, count, size, columns))


def means(xp: Any, x: Any, size: int) -> Any:
    return x if size == 1 or 0 in x.shape[1:] else xp.mean(blocks(xp, x, size), axis=2)
