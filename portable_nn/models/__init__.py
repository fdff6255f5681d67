"""Models, and how they are saved and loaded."""

from __future__ import annotations

from portable_nn.models.mlp import MLP as MLP
from portable_nn.models.saving import load as load
from portable_nn.models.saving import save as save
from portable_nn.models.text_classifier import TextClassifier as TextClassifier
from portable_nn.models.text_pipeline import TextPipeline as TextPipeline
