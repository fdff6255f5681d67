"""Layers: they own parameters, and every default lives here, once."""

from portable_nn.layers.linear import Linear
from portable_nn.layers.calls import functional_call
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Buffer, Parameter

__all__ = ["Buffer", "Linear", "Module", "Parameter", "functional_call"]
