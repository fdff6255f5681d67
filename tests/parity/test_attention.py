"""Attention, Transformers and their kin agree with PyTorch in float64, in configurations that hypothesis draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portable_nn import functional, layers
from portable_nn.autodiff import Tensor

torch = pytest.importorskip("torch")

sizes, seeds, flags = st.integers(1, 5), st.integers(0, 10**6), st.booleans()
configurations = settings(max_examples=25, deadline=None)


def share_state(ours: Any, theirs: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Random values, that come to us from PyTorch's state dict and go back from ours."""
    theirs = theirs.double()
    theirs.load_state_dict({name: torch.tensor(rng.standard_normal(tuple(x.shape)) / 2)
                            for name, x in theirs.state_dict().items()})
    ours.to(dtype="float64").load_state_dict(theirs.state_dict())
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
    return ours, theirs


def track(*values: np.ndarray) -> tuple[list[Any], list[Any]]:
    return [Tensor(x, requires_grad=True) for x in values], [torch.tensor(x, requires_grad=True) for x in values]


def agree(outs: Any, expected: Any, inputs: list, twins: list, ours: Any, theirs: Any) -> None:
    """Results, and gradients of inputs and parameters for random cotangents: to 1e-10, and to 1e-12 of the largest."""
    rng = np.random.default_rng(1)
    loss = other = 0
    for out, want in zip(outs, expected, strict=True):
        g = rng.standard_normal(out.shape)
        loss, other = loss + (out * g).sum(), other + (want * torch.tensor(g)).sum()
    loss.backward()
    other.backward()
    named = dict(theirs.named_parameters())
    pairs = [(x.grad, twin.grad) for x, twin in zip(inputs, twins, strict=True)]
    pairs += [(p.grad, named[name].grad) for name, p in ours.named_parameters()]
    pairs += [(x.numpy(), want.detach()) for x, want in zip(outs, expected)]
    largest = max([1.0, *(float(want.abs().max()) for _, want in pairs if want.numel())])
    for x, want in pairs:
        np.testing.assert_allclose(x, want.numpy(), rtol=1e-10, atol=1e-12 * largest)


def draw_masks(rng: np.random.Generator, batch: int, queries: int, keys: int) -> tuple[Any, Any]:
    """A mask and a padding mask, either may be None; every query sees a key, for where none is PyTorch gives NaN."""
    mask = rng.random((queries, keys)) < 0.5 if rng.integers(2) else None
    padding = rng.random((batch, keys)) < 0.4 if rng.integers(2) else None
    for hidden in (mask, padding):
        if hidden is not None:
            hidden[:, 0] = False
    return mask, padding


def theirs_of(mask: Any) -> Any:
    """PyTorch's layers mean the same by True as ours: hidden."""
    return None if mask is None else torch.tensor(mask)


def later(steps: int) -> np.ndarray:
    return np.triu(np.ones((steps, steps), dtype=bool), 1)


def swap(x: np.ndarray, batch_first: bool) -> np.ndarray:
    return x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))


@configurations
@given(sizes, sizes, sizes, sizes, sizes, flags, flags, st.sampled_from(["self", "memory", "three", "widths"]),
       st.sampled_from([1.0, 30.0]), seeds)
@example(2, 1, 4, 5, 5, False, False, "memory", 30.0, 13)  # one weight is all: the gradient of the scores is exactly 0
def test_multihead_attention(batch: int, queries: int, keys: int, heads: int, size: int, bias: bool, first: bool,
                             kind: str, scale: float, seed: int) -> None:
    rng, width = np.random.default_rng(seed), heads * size
    widths = {"kdim": 3, "vdim": 2} if kind == "widths" else {}
    ours, theirs = share_state(
        layers.MultiheadAttention(width, heads, bias=bias, batch_first=first, **widths),
        torch.nn.MultiheadAttention(width, heads, bias=bias, batch_first=first, **widths), rng)
    keys = queries if kind == "self" else keys
    shapes = [(batch, queries, width), *((batch, keys, widths.get(name, width)) for name in ("kdim", "vdim"))]
    count = {"self": 1, "memory": 2}.get(kind, 3)
    inputs, twins = track(*(swap(scale * rng.standard_normal(shape), first) for shape in shapes[:count]))
    mask, padding = draw_masks(rng, batch, queries, keys)
    outs = ours(*inputs, mask=mask, padding_mask=padding, return_weights=True)
    three = [*twins, *[twins[-1]] * (3 - count)]
    masks = {"attn_mask": theirs_of(mask), "key_padding_mask": theirs_of(padding)}
    expected = theirs(*three, **masks, average_attn_weights=False)
    agree(outs, expected, inputs, twins, ours, theirs)


@configurations
@given(sizes, sizes, sizes, st.sampled_from(["self", "memory", "encoder"]), flags, flags, seeds)
def test_lengths(batch: int, steps: int, heads: int, kind: str, masked: bool, causal: bool, seed: int) -> None:
    """Numbers of keys in place of a mask of them, alone and beside another."""
    rng = np.random.default_rng(seed)
    make = {"encoder": lambda nn: nn.TransformerEncoderLayer(2 * heads, heads, 4, 0.0, batch_first=True)}.get(
        kind, lambda nn: nn.MultiheadAttention(2 * heads, heads, batch_first=True))
    ours, theirs = share_state(make(layers), make(torch.nn), rng)
    lengths = rng.integers(1, steps + 1, batch)
    padding, mask = np.arange(steps) >= lengths[:, None], rng.random((steps, steps)) < 0.5 if masked else None
    if mask is not None:
        mask[:, 0] = False
    inputs, twins = track(*(rng.standard_normal((batch, steps, 2 * heads)) for _ in range(1 + (kind == "memory"))))
    out = ours(*inputs, padding_mask=lengths, mask=mask, causal=causal)
    hidden = theirs_of(later(steps) if mask is None else later(steps) | mask) if causal else theirs_of(mask)
    if kind == "encoder":
        expected = theirs(*twins, src_mask=hidden, src_key_padding_mask=theirs_of(padding))
    else:
        expected = theirs(*twins, *[twins[-1]] * (3 - len(twins)), attn_mask=hidden,
                          key_padding_mask=theirs_of(padding))[0]
    agree([out], [expected], inputs, twins, ours, theirs)


@configurations
@given(sizes, sizes, sizes, sizes, flags, seeds)
def test_masks_by_row_and_head(batch: int, queries: int, keys: int, heads: int, by_head: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = share_state(layers.MultiheadAttention(2 * heads, heads),
                               torch.nn.MultiheadAttention(2 * heads, heads, batch_first=True), rng)
    mask = rng.random((batch, heads if by_head else 1, queries, keys)) < 0.5
    mask[..., 0] = False
    inputs, twins = track(*(rng.standard_normal((batch, n, 2 * heads)) for n in (queries, keys)))
    out = ours(*inputs, mask=mask if by_head else mask[:, 0])
    stacked = np.broadcast_to(mask, (batch, heads, queries, keys)).reshape(-1, queries, keys)
    expected = theirs(twins[0], twins[1], twins[1], attn_mask=torch.tensor(stacked.copy()), need_weights=False)[0]
    agree([out], [expected], inputs, twins, ours, theirs)


@configurations
@given(st.lists(sizes, max_size=3).map(tuple), sizes, sizes, sizes, sizes, flags, flags,
       st.sampled_from([None, 0.7, 25.0]), seeds)
def test_scaled_dot_product(lead: tuple, queries: int, keys: int, width: int, values: int, causal: bool, masked: bool,
                            scale: float | None, seed: int) -> None:
    """Of a boolean mask PyTorch's function means the opposite."""
    rng = np.random.default_rng(seed)
    shapes = [(*lead, queries, width), (*lead, keys, width), (*lead, keys, values)]
    inputs, twins = track(*(rng.standard_normal(shape) for shape in shapes))
    mask = None
    if masked and not causal:
        mask = rng.random((*lead, queries, keys)) < 0.5
        mask[..., 0] = False
    out = functional.attention(*inputs, mask, causal=causal, scale=scale, dropout_p=0.0, stream=None)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *twins, attn_mask=None if mask is None else torch.tensor(~mask), is_causal=causal, scale=scale)
    agree([out], [expected], inputs, twins, layers.ReLU(), torch.nn.ReLU())


def transformer_options(rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    heads = int(rng.integers(1, 4))
    return {"d_model": heads * int(rng.integers(1, 4)), "nhead": heads, "dim_feedforward": int(rng.integers(1, 8)),
            "dropout": 0.0, "activation": str(rng.choice(["relu", "gelu"])), "layer_norm_eps": 1e-3,
            "batch_first": bool(rng.integers(2)), "norm_first": bool(rng.integers(2)),
            "bias": bool(rng.integers(2))}, int(rng.integers(1, 4))


def stack(nn: Any, kind: str, options: dict[str, Any], count: int, norm: bool, **more: Any) -> Any:
    layer = getattr(nn, f"Transformer{kind}Layer")(**options)
    if count == 1 and not norm:
        return layer
    return getattr(nn, f"Transformer{kind}")(layer, count, nn.LayerNorm(options["d_model"]) if norm else None, **more)


@configurations
@given(sizes, sizes, flags, flags, seeds)
def test_encoder(batch: int, steps: int, norm: bool, causal: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    options, count = transformer_options(rng)
    ours, theirs = share_state(stack(layers, "Encoder", options, count, norm),
                               stack(torch.nn, "Encoder", options, count, norm, **(
                                   {"enable_nested_tensor": False} if count > 1 or norm else {})), rng)
    inputs, twins = track(swap(rng.standard_normal((batch, steps, options["d_model"])), options["batch_first"]))
    mask, padding = draw_masks(rng, batch, steps, steps)
    out = ours(*inputs, mask=mask, padding_mask=padding, causal=causal)
    hidden = mask if not causal else later(steps) if mask is None else later(steps) | mask
    names = ("src_mask", "src_key_padding_mask") if count == 1 and not norm else ("mask", "src_key_padding_mask")
    expected = theirs(*twins, **dict(zip(names, (theirs_of(hidden), theirs_of(padding)))))
    agree([out], [expected], inputs, twins, ours, theirs)


@configurations
@given(sizes, sizes, sizes, flags, flags, seeds)
def test_decoder(batch: int, steps: int, keys: int, norm: bool, causal: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    options, count = transformer_options(rng)
    ours, theirs = share_state(stack(layers, "Decoder", options, count, norm),
                               stack(torch.nn, "Decoder", options, count, norm), rng)
    inputs, twins = track(*(swap(rng.standard_normal((batch, n, options["d_model"])), options["batch_first"])
                            for n in (steps, keys)))
    mask, padding = draw_masks(rng, batch, steps, steps)
    memory_mask, memory_padding = draw_masks(rng, batch, steps, keys)
    out = ours(*inputs, mask=mask, padding_mask=padding, causal=causal, memory_mask=memory_mask,
               memory_padding_mask=memory_padding)
    hidden = mask if not causal else later(steps) if mask is None else later(steps) | mask
    expected = theirs(*twins, tgt_mask=theirs_of(hidden), tgt_key_padding_mask=theirs_of(padding),
                      memory_mask=theirs_of(memory_mask), memory_key_padding_mask=theirs_of(memory_padding))
    agree([out], [expected], inputs, twins, ours, theirs)


@configurations
@given(st.sampled_from([("LeakyReLU", (0.2,)), ("LeakyReLU", ()), ("SiLU", ()), ("Softplus", ()),
                        ("Softplus", (2.0, 3.0)), ("Softmax", (-1,)), ("Softmax", (0,)), ("LogSoftmax", (-1,)),
                        ("LogSoftmax", (0,))]),
       st.lists(sizes, min_size=1, max_size=3).map(tuple), st.sampled_from([1.0, 30.0, 1000.0]), seeds)
def test_elementwise(kind: tuple[str, tuple], shape: tuple, scale: float, seed: int) -> None:
    (name, options), rng = kind, np.random.default_rng(seed)
    inputs, twins = track(scale * rng.standard_normal(shape))
    ours, theirs = getattr(layers, name)(*options), getattr(torch.nn, name)(*options)
    agree([ours(*inputs)], [theirs(*twins)], inputs, twins, ours, theirs)


@configurations
@given(st.lists(sizes, min_size=1, max_size=2), st.sampled_from([None, 1e-5, 1.0]), flags, st.lists(sizes, max_size=2),
       seeds)
def test_rms_norm(shape: list[int], eps: float | None, affine: bool, lead: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = share_state(layers.RMSNorm(tuple(shape), eps, affine), torch.nn.RMSNorm(tuple(shape), eps, affine),
                               rng)
    inputs, twins = track(rng.standard_normal((*lead, *shape)))
    agree([ours(*inputs)], [theirs(*twins)], inputs, twins, ours, theirs)


def test_defaults_and_first_values_are_pytorchs() -> None:
    """But for `batch_first`."""
    torch.manual_seed(0)
    for name, arguments in (("MultiheadAttention", (64, 2)), ("TransformerEncoderLayer", (64, 2)),
                            ("TransformerDecoderLayer", (64, 2)), ("RMSNorm", (64,)), ("LeakyReLU", ()),
                            ("Softplus", ())):
        ours, theirs = getattr(layers, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for option in ("dropout", "eps", "norm_first", "negative_slope", "beta", "threshold", "elementwise_affine"):
            if hasattr(theirs, option) and not isinstance(getattr(theirs, option), torch.nn.Module):
                assert getattr(ours, option) == getattr(theirs, option), (name, option)
        state, other = ours.state_dict(), theirs.state_dict()
        assert {k: x.shape for k, x in state.items()} == {k: tuple(x.shape) for k, x in other.items()}
        for key, x in state.items():  # of one distribution: the same bounds, up to how far draws reach to them
            np.testing.assert_allclose(abs(x).max(), abs(other[key].numpy()).max(), rtol=0.35, err_msg=key)
