"""The checks of gradients see a gradient that is off by a thousandth, in each fused operation that layers use."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

from portable_nn import functional
from portable_nn.autodiff.gradcheck import gradcheck
from portable_nn.backend.errors import GradientError
from portable_nn.functional.fused import Fused
from portable_nn.kernels import disabled
from tests.helpers import make_backends
from tests.specs import LAYERS
from tests.specs_attention import ATTENTION_LAYERS
from tests.specs_channels import CHANNELS
from tests.specs_losses import LOSSES

SPECS = [*LAYERS, *CHANNELS, *LOSSES, *ATTENTION_LAYERS]
MODULES = [importlib.import_module(f"portable_nn.functional.{info.name}")
           for info in pkgutil.iter_modules(functional.__path__)]
OPERATIONS = {x.name: x for module in MODULES for x in vars(module).values() if isinstance(x, Fused)}
#: Operations -> the layer whose row checks it.
USED = {"linear": "Linear", "relu": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "GELU",
        "layer_norm": "LayerNorm", "dropout": "Dropout", "embedding": "Embedding", "embedding_bag": "EmbeddingBag",
        "cross_entropy": "CrossEntropyLoss", "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
        "squared_error": "MSELoss", "mean": "MSELoss", "batch_norm": "BatchNorm1d",
        "conv1d": "Conv1d", "max_pool": "MaxPool1d", "avg_pool": "AvgPool1d",
        "max_over_time": "GlobalMaxPool1d", "binary_cross_entropy": "BCELoss", "nll": "NLLLoss",
        "absolute_error": "L1Loss", "huber_error": "HuberLoss", "quantile_error": "QuantileLoss",
        "packed_attention": "MultiheadAttention", "attention": "MultiheadAttention",
        "leaky_relu": "LeakyReLU", "silu": "SiLU", "softplus": "Softplus", "softmax": "Softmax",
        "log_softmax": "LogSoftmax", "rms_norm": "RMSNorm"}
#: Operation -> the case that uses it, where that is not the layer's first.
CASES = {"attention": "memory"}


def test_every_layer_with_an_operation_of_its_own_is_here() -> None:
    composed = {"GlobalAvgPool1d",
                "Flatten", "Sequential", "ModuleList", "ModuleDict", "HalfMSELoss", "PositionalEncoding",
                "LearnedPositions", "TransformerEncoderLayer", "TransformerDecoderLayer", "TransformerEncoder",
                "TransformerDecoder"}
    assert {spec.kind.__name__ for spec in SPECS} == composed | set(USED.values())


@pytest.mark.parametrize("name", USED)
def test_a_corrupted_backward_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = OPERATIONS[name]
    rule: Any = operation.backward
    case = next(case for spec in SPECS if spec.kind.__name__ == USED[name] for case in spec.cases
                if case.id == CASES.get(name, case.id))
    inputs = tuple(make_backends("numpy")[0].asarray(x) for x in case.inputs(np.random.default_rng(0)))
    module = case.make().to(dtype="float64").initialize(1)
    with disabled(generic=True):
        assert gradcheck(module, inputs)
        wrong = lambda *args: tuple(None if g is None else 1.001 * g for g in rule(*args))  # noqa: E731
        monkeypatch.setattr(operation, "backward", wrong)
        with pytest.raises(GradientError):
            gradcheck(module, inputs)
