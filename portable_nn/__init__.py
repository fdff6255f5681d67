"""Neural networks in Python Array API code: one definition runs, and trains, on NumPy, CuPy and any conforming array.

    import portable_nn as pnn
    from portable_nn import layers, optim

Names are looked up when they are first used, so that importing the package costs little more than NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portable_nn import autodiff as autodiff
    from portable_nn import backend as backend
    from portable_nn import data as data
    from portable_nn import functional as functional
    from portable_nn import kernels as kernels
    from portable_nn import layers as layers
    from portable_nn import models as models
    from portable_nn import optim as optim
    from portable_nn import training as training
    from portable_nn.autodiff import Tensor as Tensor
    from portable_nn.autodiff import checkpoint as checkpoint
    from portable_nn.autodiff import custom_gradient as custom_gradient
    from portable_nn.autodiff import elementwise_grad as elementwise_grad
    from portable_nn.autodiff import grad as grad
    from portable_nn.autodiff import gradcheck as gradcheck
    from portable_nn.autodiff import is_recording as is_recording
    from portable_nn.autodiff import no_grad as no_grad
    from portable_nn.autodiff import value_and_grad as value_and_grad
    from portable_nn.backend.devices import on_device as on_device
    from portable_nn.backend.devices import to_device as to_device
    from portable_nn.backend.devices import to_numpy as to_numpy
    from portable_nn.backend.errors import ArgumentError as ArgumentError
    from portable_nn.backend.errors import CaptureError as CaptureError
    from portable_nn.backend.errors import DataError as DataError
    from portable_nn.backend.errors import DeviceError as DeviceError
    from portable_nn.backend.errors import DTypeError as DTypeError
    from portable_nn.backend.errors import FileError as FileError
    from portable_nn.backend.errors import GradientError as GradientError
    from portable_nn.backend.errors import MissingDependencyError as MissingDependencyError
    from portable_nn.backend.errors import NonFiniteError as NonFiniteError
    from portable_nn.backend.errors import PortableNNError as PortableNNError
    from portable_nn.backend.errors import ShapeError as ShapeError
    from portable_nn.backend.namespace import array_namespace as array_namespace
    from portable_nn.functional.products import precision as precision
    from portable_nn.layers import functional_call as functional_call
    from portable_nn.layers.summary import summary as summary
    from portable_nn.models import load as load
    from portable_nn.models import load_weights as load_weights
    from portable_nn.models import save as save
    from portable_nn.models import save_weights as save_weights
    from portable_nn.training import capture as capture
    from portable_nn.training import evaluate as evaluate
    from portable_nn.training import fit as fit
    from portable_nn.training import predict as predict

__version__ = "0.1.0"

_ROOMS = ("autodiff", "backend", "data", "functional", "kernels", "layers", "models", "optim", "training")
#: Where each public name lives.
_HOMES = {name: home for home, names in {
    "autodiff": ("Tensor", "checkpoint", "custom_gradient", "elementwise_grad", "grad", "gradcheck", "is_recording",
                 "no_grad", "value_and_grad"),
    "backend.devices": ("on_device", "to_device", "to_numpy"),
    "backend.errors": ("ArgumentError", "CaptureError", "DTypeError", "DataError", "DeviceError", "FileError",
                       "GradientError", "MissingDependencyError", "NonFiniteError", "PortableNNError", "ShapeError"),
    "backend.namespace": ("array_namespace",),
    "functional.products": ("precision",),
    "layers": ("functional_call", "summary"),
    "models": ("load", "load_weights", "save", "save_weights"),
    "training": ("capture", "evaluate", "fit", "predict"),
}.items() for name in names}

__all__ = ["__version__", *_ROOMS, *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"portable_nn.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'portable_nn' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"portable_nn.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
