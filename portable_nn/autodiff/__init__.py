"""Automatic differentiation as one more Array API namespace."""

from portable_nn.autodiff.engine import is_recording, no_grad
from portable_nn.autodiff.tensor import Tensor
from portable_nn.autodiff.transforms import elementwise_grad, grad, value_and_grad

__all__ = ["Tensor", "elementwise_grad", "grad", "is_recording", "no_grad", "value_and_grad"]
