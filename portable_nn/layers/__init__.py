"""Layers: they own parameters, and every default lives here, once."""
from __future__ import annotations

from portable_nn.layers import initializers as initializers
from portable_nn.layers.activations import GELU as GELU
from portable_nn.layers.activations import ReLU as ReLU
from portable_nn.layers.activations import Sigmoid as Sigmoid
from portable_nn.layers.activations import Tanh as Tanh
from portable_nn.layers.batch_norm import BatchNorm1d as BatchNorm1d
from portable_nn.layers.calls import functional_call as functional_call
from portable_nn.layers.cells import GRUCell as GRUCell
from portable_nn.layers.cells import LSTMCell as LSTMCell
from portable_nn.layers.cells import from_joint_weights as from_joint_weights
from portable_nn.layers.cells import reorder_gates as reorder_gates
from portable_nn.layers.containers import ModuleDict as ModuleDict
from portable_nn.layers.containers import ModuleList as ModuleList
from portable_nn.layers.containers import Sequential as Sequential
from portable_nn.layers.dropout import Dropout as Dropout
from portable_nn.layers.embedding import Embedding as Embedding
from portable_nn.layers.embedding import EmbeddingBag as EmbeddingBag
from portable_nn.layers.flatten import Flatten as Flatten
from portable_nn.layers.linear import Linear as Linear
from portable_nn.layers.losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from portable_nn.layers.losses import CrossEntropyLoss as CrossEntropyLoss
from portable_nn.layers.losses import HalfMSELoss as HalfMSELoss
from portable_nn.layers.losses import MSELoss as MSELoss
from portable_nn.layers.module import Module as Module
from portable_nn.layers.normalization import LayerNorm as LayerNorm
from portable_nn.layers.parameter import Parameter as Parameter
from portable_nn.layers.recurrent import GRU as GRU
from portable_nn.layers.recurrent import LSTM as LSTM
from portable_nn.layers.storage import Buffer as Buffer
from portable_nn.layers.summary import Summary as Summary
from portable_nn.layers.summary import summary as summary
