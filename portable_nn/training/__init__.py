"""The training loop, evaluation and prediction, history, callbacks and checkpoints."""

from __future__ import annotations

from portable_nn.training.callbacks import Callback, Checkpoint, EarlyStopping
from portable_nn.training.captured import capture
from portable_nn.training.evaluation import evaluate, predict
from portable_nn.training.history import History
from portable_nn.training.loop import fit
from portable_nn.training.plateau import ReduceOnPlateau
from portable_nn.training.run import Training

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "History", "ReduceOnPlateau", "Training", "capture", "evaluate",
           "fit", "predict"]
