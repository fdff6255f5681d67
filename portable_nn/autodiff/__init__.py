"""Automatic differentiation as one more Array API namespace."""

from __future__ import annotations

from portable_nn.autodiff.checkpoint import checkpoint
from portable_nn.autodiff.custom import custom_gradient
from portable_nn.autodiff.engine import is_recording, no_grad
from portable_nn.autodiff.gradcheck import gradcheck
from portable_nn.autodiff.tensor import Tensor
from portable_nn.autodiff.transforms import elementwise_grad, grad, value_and_grad

__all__ = ["Tensor", "checkpoint", "custom_gradient", "elementwise_grad", "grad", "gradcheck", "is_recording",
           "no_grad",
           "value_and_grad"]
