"""Pure functions of arrays or Tensors: what layers compute, with gradients; hyper-parameters have no defaults here."""

from __future__ import annotations

from portable_nn.functional.activations import gelu as gelu
from portable_nn.functional.activations import relu as relu
from portable_nn.functional.activations import sigmoid as sigmoid
from portable_nn.functional.activations import tanh as tanh
from portable_nn.functional.add_norm import add_dropout as add_dropout
from portable_nn.functional.add_norm import add_norm as add_norm
from portable_nn.functional.attention import attention as attention
from portable_nn.functional.attention import attention_weights as attention_weights
from portable_nn.functional.batch_norm import batch_norm as batch_norm
from portable_nn.functional.convolution import conv1d as conv1d
from portable_nn.functional.dropout import dropout as dropout
from portable_nn.functional.embed_sequence import embed_sequence as embed_sequence
from portable_nn.functional.embedding import embedding as embedding
from portable_nn.functional.embedding import embedding_bag as embedding_bag
from portable_nn.functional.likelihoods import binary_cross_entropy as binary_cross_entropy
from portable_nn.functional.likelihoods import nll as nll
from portable_nn.functional.linear import linear as linear
from portable_nn.functional.linear_dropout import linear_dropout as linear_dropout
from portable_nn.functional.losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from portable_nn.functional.losses import cross_entropy as cross_entropy
from portable_nn.functional.losses import squared_error as squared_error
from portable_nn.functional.mean import mean as mean
from portable_nn.functional.mean_losses import mean_absolute_error as mean_absolute_error
from portable_nn.functional.mean_losses import mean_binary_cross_entropy as mean_binary_cross_entropy
from portable_nn.functional.mean_losses import (
    mean_binary_cross_entropy_with_logits as mean_binary_cross_entropy_with_logits,
)
from portable_nn.functional.mean_losses import mean_cross_entropy as mean_cross_entropy
from portable_nn.functional.mean_losses import mean_huber_error as mean_huber_error
from portable_nn.functional.mean_losses import mean_quantile_error as mean_quantile_error
from portable_nn.functional.mean_losses import mean_squared_error as mean_squared_error
from portable_nn.functional.normalization import layer_norm as layer_norm
from portable_nn.functional.packed_attention import packed_attention as packed_attention
from portable_nn.functional.pooling import avg_pool as avg_pool
from portable_nn.functional.pooling import max_over_time as max_over_time
from portable_nn.functional.pooling import max_pool as max_pool
from portable_nn.functional.pooling import mean_over_time as mean_over_time
from portable_nn.functional.rectifiers import leaky_relu as leaky_relu
from portable_nn.functional.rectifiers import silu as silu
from portable_nn.functional.rectifiers import softplus as softplus
from portable_nn.functional.recurrent import gru as gru
from portable_nn.functional.recurrent import lstm as lstm
from portable_nn.functional.residuals import absolute_error as absolute_error
from portable_nn.functional.residuals import huber_error as huber_error
from portable_nn.functional.residuals import quantile_error as quantile_error
from portable_nn.functional.rms_norm import rms_norm as rms_norm
from portable_nn.functional.skipgram import skipgram_loss as skipgram_loss
from portable_nn.functional.skipgram import sparse_skipgram_loss as sparse_skipgram_loss
from portable_nn.functional.softmax import log_softmax as log_softmax
from portable_nn.functional.softmax import softmax as softmax
from portable_nn.functional.sparse_embedding import sparse_embedding as sparse_embedding
from portable_nn.functional.sparse_embedding import sparse_embedding_bag as sparse_embedding_bag
from portable_nn.functional.stack import stack as stack
