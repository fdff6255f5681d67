"""Bodies that read the past in order: an LSTM, and a Transformer encoder, over patches of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import layers
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers import Module
from portable_nn.models.forecasting.inputs import ForecastInputs, ForecastSizes
from portable_nn.models.forecasting.patches import Heads, Patches
from portable_nn.models.options import positive


class LSTMBody(Module):
    """An LSTM over patches of the past for each member; its last state, the last patch as it is, and what is known of
    the horizon make the forecasts.

    Shape
    -----
    ForecastInputs of B rows -> (B, members, horizon)

    Parameters
    ----------
    sizes : ForecastSizes
    members : int
        Each has an LSTM and a network behind it of its own.
    width : int
        Features of the LSTM's state.
    num_layers : int
    patch : int
        Rows of a step: a week of half hours in patches of 48 is 7 steps, its days.
    ahead : int
        What is known of the horizon enters in means of so many rows.
    hidden : sequence of int
        Features of the hidden layers behind the LSTM.
    input_dropout : float
        Share of the steps' rows set to zero in training mode.
    dropout : float
        Share of hidden features, and of what passes from layer to layer, set to zero in training mode.
    centre : bool
        Subtract the mean of the context from the target.
    """

    def __init__(self, sizes: ForecastSizes, members: int, *, width: int = 128, num_layers: int = 1, patch: int = 1,
                 ahead: int = 1, hidden: Sequence[int] = (128,), input_dropout: float = 0.0, dropout: float = 0.2,
                 centre: bool = False) -> None:
        self.patches = Patches(sizes, patch, centre)
        self.input_dropout = layers.Dropout(input_dropout)
        between = dropout if positive("num_layers", num_layers) > 1 else 0.0
        size = self.patches.out_features
        self.lstms = layers.ModuleList(layers.LSTM(size, positive("width", width), num_layers, dropout=between)
                                       for _ in range(members))
        self.heads = Heads(sizes, members, width + size, ahead, hidden, dropout)
        self.options = {"width": width, "num_layers": num_layers, "patch": patch, "ahead": ahead,
                        "hidden": list(hidden), "input_dropout": input_dropout, "dropout": dropout,
                        "centre": bool(centre)}

    def forward(self, inputs: ForecastInputs) -> Any:
        x = self.patches(inputs)                                                              # (B, steps, size)
        xp = array_namespace(x)
        states = [lstm(self.input_dropout(x))[1][0][-1, ...] for lstm in self.lstms]          # members × (B, width)
        return self.heads([xp.concat([h, x[:, -1, :]], axis=1) for h in states], inputs)

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return dict(self.options)


class TransformerBody(Module):
    """A Transformer encoder over patches of the past; the mean of its steps, the last one, the last patch as it is, and
    what is known of the horizon make the forecasts.

    Shape
    -----
    ForecastInputs of B rows -> (B, members, horizon)

    Parameters
    ----------
    sizes : ForecastSizes
    members : int
        They share the encoder; each has a network of its own behind it.
    width : int
        Features of a step.
    num_heads : int
        Heads of attention; divides the width.
    feed_forward : int
        Features between the two maps of each layer.
    num_layers : int
    patch : int
        Rows of a step.
    ahead : int
        What is known of the horizon enters in means of so many rows.
    hidden : sequence of int
        Features of the hidden layers behind the encoder.
    dropout : float
        Share of hidden features behind the encoder set to zero in training mode.
    attention_dropout : float
        The same within the encoder.
    centre : bool
        Subtract the mean of the context from the target.

    References
    ----------
    Y. Nie et al., "A time series is worth 64 words", 2023, section 3.1.
    """

    def __init__(self, sizes: ForecastSizes, members: int, *, width: int = 64, num_heads: int = 4,
                 feed_forward: int = 128, num_layers: int = 2, patch: int = 1, ahead: int = 1,
                 hidden: Sequence[int] = (128,), dropout: float = 0.2, attention_dropout: float = 0.1,
                 centre: bool = False) -> None:
        self.patches = Patches(sizes, patch, centre)
        self.project = layers.Linear(self.patches.out_features, positive("width", width))
        self.positions = layers.LearnedPositions(self.patches.steps, width)
        layer = layers.TransformerEncoderLayer(width, num_heads, positive("feed_forward", feed_forward),
                                               attention_dropout, "gelu", norm_first=True)
        self.encoder = layers.TransformerEncoder(layer, positive("num_layers", num_layers), layers.LayerNorm(width))
        self.heads = Heads(sizes, members, 2 * width + self.patches.out_features, ahead, hidden, dropout)
        self.options = {"width": width, "num_heads": num_heads, "feed_forward": feed_forward, "num_layers": num_layers,
                        "patch": patch, "ahead": ahead, "hidden": list(hidden), "dropout": dropout,
                        "attention_dropout": attention_dropout, "centre": bool(centre)}

    def forward(self, inputs: ForecastInputs) -> Any:
        x = self.patches(inputs)                                                              # (B, steps, size)
        y = self.encoder(self.positions(self.project(x)))                                     # (B, steps, width)
        xp = array_namespace(y)
        features = xp.concat([xp.mean(y, axis=1), y[:, -1, :], x[:, -1, :]], axis=1)
        return self.heads([features] * len(self.heads.nets), inputs)

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return dict(self.options)
