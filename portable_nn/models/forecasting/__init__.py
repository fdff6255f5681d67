"""What a forecaster is made of: its inputs, its bodies, and on the host the encoder of series and the naive forecasts.

A body is a Module built from `ForecastSizes`, the number of members and options of its own. It turns `ForecastInputs`
of B rows into what each member adds to its naive forecast, (B, members, horizon), and has `config()`, its options as
JSON holds them.
"""

from __future__ import annotations

from typing import Any

from portable_nn.models.forecasting.encoder import ForecastWindows as ForecastWindows
from portable_nn.models.forecasting.encoder import SeriesEncoder as SeriesEncoder
from portable_nn.models.forecasting.flat import LinearBody as LinearBody
from portable_nn.models.forecasting.flat import MLPBody as MLPBody
from portable_nn.models.forecasting.inputs import ForecastInputs as ForecastInputs
from portable_nn.models.forecasting.inputs import ForecastSizes as ForecastSizes
from portable_nn.models.forecasting.naive import naive_forecasts as naive_forecasts
from portable_nn.models.forecasting.naive import ridge_forecasts as ridge_forecasts
from portable_nn.models.forecasting.sequential import LSTMBody as LSTMBody
from portable_nn.models.forecasting.sequential import TransformerBody as TransformerBody

#: What `Forecaster(body=…)` may name.
BODIES: dict[str, Any] = {"linear": LinearBody, "lstm": LSTMBody, "mlp": MLPBody, "transformer": TransformerBody}
