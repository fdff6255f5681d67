"""Multi-head attention and Transformers as models use them; what every layer must do is in tests/contracts."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import Tensor, layers
from portable_nn.backend.errors import DTypeError
from portable_nn.layers import (
    MultiheadAttention,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from tests.helpers import Backend, to_numpy


def sequences(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def test_weights_are_of_each_head_and_sum_to_one(backend: Backend, rng: np.random.Generator) -> None:
    layer = MultiheadAttention(6, 2).to(backend.device, xp=backend.xp)
    x, padding = backend.asarray(sequences(rng, 2, 4, 6)), np.zeros((2, 4), dtype=bool)
    padding[0, 2:] = padding[1] = True
    y, weights = layer(x, padding_mask=backend.asarray(padding), return_weights=True)
    found = to_numpy(weights)
    assert found.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(found[0].sum(axis=-1), 1, rtol=1e-6)
    assert np.all(found[0][..., 2:] == 0)
    assert np.all(found[1] == 0)
    bias = to_numpy(layer.out_proj.bias.data)
    np.testing.assert_allclose(to_numpy(y)[1], np.tile(bias, (4, 1)))  # nothing to be seen: the bias alone


def test_masks_may_be_tensors(rng: np.random.Generator) -> None:
    """As batches of a data set yield them."""
    layer, x = MultiheadAttention(6, 2), sequences(rng, 2, 3, 6)
    padding = np.asarray([[False, False, True]] * 2)
    y = layer(Tensor(x), padding_mask=Tensor(padding), mask=np.zeros((3, 3), dtype=bool))
    np.testing.assert_allclose(y.numpy(), layer(x, padding_mask=padding), rtol=1e-6)
    y.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_a_padded_row_is_the_short_row(rng: np.random.Generator) -> None:
    encoder = TransformerEncoder(TransformerEncoderLayer(6, 2, 8, norm_first=True), 2).eval()
    x = sequences(rng, 1, 3, 6)
    padded = np.concatenate([x, sequences(rng, 1, 2, 6)], axis=1)
    y = encoder(padded, padding_mask=np.asarray([[False] * 3 + [True] * 2]))
    np.testing.assert_allclose(y[:, :3], encoder(x), rtol=1e-4, atol=1e-6)


def test_causal_layers_do_not_see_what_is_later(rng: np.random.Generator) -> None:
    decoder = TransformerDecoder(TransformerDecoderLayer(6, 2, 8), 2).eval()
    x, memory = sequences(rng, 1, 5, 6), sequences(rng, 1, 3, 6)
    y = decoder(x, memory, causal=True)
    x[0, 3] += 1
    changed = decoder(x, memory, causal=True)
    np.testing.assert_allclose(changed[:, :3], y[:, :3], rtol=1e-6)
    assert np.all(np.abs(changed[:, 3:] - y[:, 3:]).max(axis=-1) > 1e-3)


def test_copies_draw_values_of_their_own() -> None:
    """PyTorch's stacks begin with the same values in every layer; copies of a layer that has values keep them."""
    encoder = TransformerEncoder(TransformerEncoderLayer(6, 2, 8), 2).initialize(0)
    state = encoder.state_dict()
    assert not np.array_equal(state["layers.0.linear1.weight"], state["layers.1.linear1.weight"])
    same = TransformerEncoder(TransformerEncoderLayer(6, 2, 8).initialize(0), 2).state_dict()
    np.testing.assert_array_equal(same["layers.0.linear1.weight"], same["layers.1.linear1.weight"])


def test_dropout_draws_follow_seed_and_step(rng: np.random.Generator) -> None:
    layer, x = MultiheadAttention(8, 2, dropout=0.5).initialize(3), sequences(rng, 2, 5, 8)
    first, second = layer(x), layer(x)
    assert not np.array_equal(first, second)
    layer.random_position = (3, 0)
    np.testing.assert_array_equal(layer(x), first)
    np.testing.assert_array_equal(layer.eval()(x), layer(x))


def test_stack_of_no_layers_and_summary(rng: np.random.Generator) -> None:
    x = sequences(rng, 2, 3, 6)
    np.testing.assert_array_equal(TransformerEncoder(TransformerEncoderLayer(6, 2), 0)(x), x)
    text = str(layers.summary(TransformerEncoderLayer(6, 2, 8), x))
    assert "not called" not in text.replace("nothing", "")
    assert "self_attn.out_proj" in text


def test_positions_of_long_sequences_are_exact_in_float32() -> None:
    """Angles are computed in float64: at step 20,000 float32 is off by a thousandth."""
    x = np.zeros((1, 20_001, 4), dtype=np.float32)
    y = layers.PositionalEncoding(4)(x)
    np.testing.assert_allclose(y[0, -1], [np.sin(20_000), np.cos(20_000), np.sin(200), np.cos(200)], atol=1e-7)


def test_learned_positions_in_another_dtype() -> None:
    with pytest.raises(DTypeError, match="float32"):
        layers.LearnedPositions(5, 2)(np.zeros((1, 3, 2)))


def test_one_step_learns(rng: np.random.Generator) -> None:
    """Gradients reach every parameter of encoder, decoder and positions."""
    class Model(layers.Module):
        def __init__(self) -> None:
            self.positions = layers.LearnedPositions(9, 6)
            self.encoder = TransformerEncoder(TransformerEncoderLayer(6, 2, 8), 2, layers.RMSNorm(6))
            self.decoder = TransformerDecoder(TransformerDecoderLayer(6, 2, 8, activation="gelu"), 1)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.decoder(self.positions(y), self.encoder(self.positions(x)), causal=True)

    model = Model()
    loss = (model(Tensor(sequences(rng, 2, 7, 6)), Tensor(sequences(rng, 2, 9, 6))) ** 2).sum()
    loss.backward()
    assert all(np.any(p.grad != 0) for p in model.parameters())
