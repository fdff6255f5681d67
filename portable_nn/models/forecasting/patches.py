"""The past as a short sequence of patches, and what turns the features of a sequence into forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers import Module
from portable_nn.models.forecasting.flat import blocks, means, start_at_zero
from portable_nn.models.forecasting.inputs import ForecastInputs, ForecastSizes
from portable_nn.models.mlp import MLP
from portable_nn.models.options import positive


class Patches(Module):
    """The past in steps of several rows: the axis of time stays, and is as much shorter.

    The oldest rows, where they do not fill a patch, are left out.

    Shape
    -----
    ForecastInputs of B rows -> (B, steps, out_features), where out_features = patch · (1 + covariates)

    Parameters
    ----------
    sizes : ForecastSizes
    patch : int
        Rows of a step.
    centre : bool
        Subtract the mean of the context from the target: what is seen is then the same at every level of the series.

    References
    ----------
    Y. Nie et al., "A time series is worth 64 words", 2023, section 3.1.
    """

    def __init__(self, sizes: ForecastSizes, patch: int, centre: bool) -> None:
        if positive("patch", patch) > sizes.context:
            raise ArgumentError(f"a patch of up to {sizes.context} rows, the context", repr(patch),
                                "choose a smaller one")
        self.patch, self.centre = patch, bool(centre)
        self.steps, self.out_features = sizes.context // patch, patch * (1 + sizes.covariates)

    def forward(self, inputs: ForecastInputs) -> Any:
        xp = array_namespace(inputs.past)
        past = inputs.past                                                                    # (B, T, 1 + C)
        if self.centre:
            target = past[:, :, :1]
            past = xp.concat([target - xp.mean(target, axis=1, keepdims=True), past[:, :, 1:]], axis=2)
        return xp.reshape(blocks(xp, past, self.patch), (past.shape[0], self.steps, self.out_features))

    def extra_repr(self) -> str:
        return f"patch={self.patch}, centre={self.centre}"


class Heads(Module):
    """A network for each member, over its features of the past and what is known of the horizon.

    Shape
    -----
    features, for each member (B, features), ForecastInputs of B rows -> (B, members, horizon), zeros at first

    Parameters
    ----------
    sizes : ForecastSizes
    members, features : int
    ahead : int
        What is known of the horizon enters in means of so many rows.
    hidden : sequence of int
        Features of the networks' hidden layers.
    dropout : float
        Share of hidden features set to zero in training mode.
    """

    def __init__(self, sizes: ForecastSizes, members: int, features: int, ahead: int, hidden: Sequence[int],
                 dropout: float) -> None:
        if positive("ahead", ahead) > sizes.horizon:
            raise ArgumentError(f"ahead up to {sizes.horizon}, the horizon", repr(ahead), "choose a smaller one")
        self.ahead, self.rows = ahead, sizes.horizon // ahead * ahead
        width = features + sizes.known * (sizes.horizon // ahead) + sizes.start
        self.nets = layers.ModuleList(MLP([width, *hidden, sizes.horizon], activation="gelu", dropout=dropout)
                                      for _ in range(members))
        for net in self.nets:
            start_at_zero(net.steps[-1])

    def forward(self, features: Sequence[Any], inputs: ForecastInputs) -> Any:
        xp = array_namespace(inputs.past)
        known = means(xp, inputs.known[:, :self.rows, :], self.ahead)
        # No columns, no features: reductions of empty arrays are not the standard's.
        beside = [xp.reshape(part, (part.shape[0], -1)) for part in (known, inputs.start) if 0 not in part.shape[1:]]
        found = [net(xp.concat([own, *beside], axis=1)) for net, own in zip(self.nets, features, strict=True)]
        return xp.stack(found, axis=1)                                                    # (B, members, horizon)

    def extra_repr(self) -> str:
        return f"ahead={self.ahead}"
