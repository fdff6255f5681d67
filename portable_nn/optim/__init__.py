"""Optimisers, learning-rate schedules and clipping."""

from __future__ import annotations

from portable_nn.optim.adam import Adam, AdamW
from portable_nn.optim.annealing import Exponential, OneCycle
from portable_nn.optim.clipping import clip_grad_norm, clip_grad_value
from portable_nn.optim.lion import Lion
from portable_nn.optim.optimizer import Optimizer
from portable_nn.optim.rmsprop import RMSprop
from portable_nn.optim.scaling import LossScaler
from portable_nn.optim.schedules import Constant, Cosine, Step, Warmup
from portable_nn.optim.sgd import SGD
from portable_nn.optim.sparse_adam import SparseAdam

__all__ = ["SGD", "Adam", "AdamW", "Constant", "Cosine", "Exponential", "Lion", "LossScaler", "OneCycle", "Optimizer",
           "RMSprop", "SparseAdam", "Step", "Warmup", "clip_grad_norm", "clip_grad_value"]
