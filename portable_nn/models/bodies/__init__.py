"""The bodies of a text classifier: each turns a batch of texts into features (B, out_features), in a file of its own.

A body is a Module built from the vocabulary's size and options of its own. It has `out_features`, and `config()`, its
options as JSON holds them.
"""

from __future__ import annotations

from typing import Any

from portable_nn.models.bodies.bag import BagBody as BagBody
from portable_nn.models.bodies.convolutional import ConvolutionalBody as ConvolutionalBody
from portable_nn.models.bodies.recurrent import LSTMBody as LSTMBody
from portable_nn.models.bodies.transformer import TransformerBody as TransformerBody

#: What `TextClassifier(body=…)` may name.
BODIES: dict[str, Any] = {"bag": BagBody, "convolutional": ConvolutionalBody, "lstm": LSTMBody,
                          "transformer": TransformerBody}
