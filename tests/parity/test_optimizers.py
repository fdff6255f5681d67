"""Every optimiser takes PyTorch's steps: a hundred of them in float64, to 1e-10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import optim
from portable_nn.layers import Parameter, initializers

torch = pytest.importorskip("torch")

SHAPES = [(4, 3), (3,), (), (2, 1, 5)]
CASES = {
    "plain": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "dampening": ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "sgd-decay": ("SGD", {"momentum": 0.8, "weight_decay": 0.1}),
    "adam": ("Adam", {}),
    "adam-decay": ("Adam", {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-4}),
    "adam-no-averages": ("Adam", {"betas": (0.0, 0.0)}),
    "adamw": ("AdamW", {}),
    "amsgrad": ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    "adamw-amsgrad": ("AdamW", {"amsgrad": True, "betas": (0.5, 0.7)}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-centered": ("RMSprop", {"centered": True, "alpha": 0.9}),
    "rmsprop-all": ("RMSprop", {"centered": True, "momentum": 0.8, "weight_decay": 0.1, "eps": 1e-3}),
    "rmsprop-momentum": ("RMSprop", {"momentum": 0.9}),
    "adamw-decay": ("AdamW", {"weight_decay": 0.3, "eps": 1e-3}),
}


def _pairs(rng: np.random.Generator, shapes: Any = SHAPES, dtype: str = "float64") -> tuple[list[Any], list[Any]]:
    ours, theirs = [], []
    for number, shape in enumerate(shapes):
        values = rng.normal(size=shape).astype(dtype)
        parameter = Parameter(shape, initializers.zeros, dtype)
        parameter.data, parameter.name = np.array(values), f"p{number}"
        ours.append(parameter)
        theirs.append(torch.nn.Parameter(torch.tensor(values)))
    return ours, theirs


def _give(ours: list[Any], theirs: list[Any], gradients: list[Any]) -> None:
    for parameter, twin, g in zip(ours, theirs, gradients, strict=True):
        parameter.grad = g
        twin.grad = None if g is None else torch.tensor(g)


def _compare(ours: list[Any], theirs: list[Any], rtol: float = 1e-10) -> None:
    for parameter, twin in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(parameter.data, twin.detach().numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps(case: str, rng: np.random.Generator) -> None:
    kind, options = CASES[case]
    ours, theirs = _pairs(rng)
    optimizer = getattr(optim, kind)(ours, lr=0.05, **options)
    twin = getattr(torch.optim, kind)(theirs, lr=0.05, **options)
    for _ in range(100):
        _give(ours, theirs, [rng.normal(size=p.shape) for p in ours])
        optimizer.step()
        twin.step()
    _compare(ours, theirs)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_parameters_without_a_gradient_keep_their_own_count(kind: str, rng: np.random.Generator) -> None:
    options = {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1} if kind == "SGD" else {"weight_decay": 0.1}
    ours, theirs = _pairs(rng)
    optimizer = getattr(optim, kind)(ours, lr=0.05, **options)
    twin = getattr(torch.optim, kind)(theirs, lr=0.05, **options)
    for _ in range(100):
        _give(ours, theirs, [rng.normal(size=p.shape) if rng.random() < 0.6 else None for p in ours])
        optimizer.step()
        twin.step()
    _compare(ours, theirs)


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_groups_with_options_of_their_own(kind: str, rng: np.random.Generator) -> None:
    ours, theirs = _pairs(rng)
    second = {"lr": 0.2, "weight_decay": 0.0} | ({"momentum": 0.9} if kind == "SGD" else {"betas": (0.5, 0.9)})
    first = {"lr": 0.01, "weight_decay": 0.1}
    optimizer = getattr(optim, kind)([{"params": ours[:2]}, {"params": ours[2:], **second}], **first)
    twin = getattr(torch.optim, kind)([{"params": theirs[:2]}, {"params": theirs[2:], **second}], **first)
    for step in range(100):
        if step == 50:
            optimizer.groups[0]["lr"] = twin.param_groups[0]["lr"] = 0.003
        _give(ours, theirs, [rng.normal(size=p.shape) for p in ours])
        optimizer.step()
        twin.step()
    _compare(ours, theirs)


@pytest.mark.parametrize("max_norm", [0.5, 3.0, 1e6])
def test_clipping(max_norm: float, rng: np.random.Generator) -> None:
    """By hand with `clip_grad_norm`, and inside the step with `clip_norm`: both are PyTorch's clip_grad_norm_."""
    ours, theirs = _pairs(rng)
    inside = [Parameter(p.shape, initializers.zeros, "float64") for p in ours]
    for parameter, source in zip(inside, ours, strict=True):
        parameter.data = np.array(source.data)
    by_hand, whole = optim.Adam(ours, lr=0.05), optim.Adam(inside, lr=0.05, clip_norm=max_norm)
    twin = torch.optim.Adam(theirs, lr=0.05)
    for _ in range(100):
        gradients = [rng.normal(size=p.shape) if rng.random() < 0.8 else None for p in ours]
        _give(ours, theirs, gradients)
        norm, expected = optim.clip_grad_norm(ours, max_norm), torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        assert float(norm) == pytest.approx(float(expected), rel=1e-12)
        by_hand.step()
        twin.step()
        whole.step(gradients)
    _compare(ours, theirs)
    _compare(inside, theirs)


def test_two_dtypes_in_one_model(rng: np.random.Generator) -> None:
    """float32 and float64 parameters, interleaved."""
    ours, theirs = [], []
    for number in range(4):
        mine, his = _pairs(rng, [(3, 2)], "float32" if number % 2 else "float64")
        ours, theirs = ours + mine, theirs + his
    optimizer, twin = optim.AdamW(ours, lr=0.01, clip_norm=1.0), torch.optim.AdamW(theirs, lr=0.01)
    for _ in range(100):
        _give(ours, theirs, [rng.normal(size=p.shape).astype(p.data.dtype) for p in ours])
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        optimizer.step()
        twin.step()
    _compare(ours, theirs, rtol=2e-4)
    assert [p.data.dtype.name for p in ours] == ["float64", "float32"] * 2


def test_large_parameters(rng: np.random.Generator) -> None:
    """Beyond a block of the kernel and beyond what is copied into the arena, small ones on both sides."""
    ours, theirs = _pairs(rng, [(5,), (300, 301), (7,), (66_000,), (2, 2)])
    optimizer, twin = optim.Adam(ours, lr=0.05), torch.optim.Adam(theirs, lr=0.05)
    for _ in range(20):
        _give(ours, theirs, [np.asfortranarray(rng.normal(size=p.shape)) for p in ours])
        optimizer.step()
        twin.step()
    _compare(ours, theirs)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_state_moves_over(kind: str, rng: np.random.Generator) -> None:
    """PyTorch's state dict, given to our optimiser in mid-run, goes on as PyTorch does."""
    options = {"momentum": 0.9} if kind == "SGD" else {}
    ours, theirs = _pairs(rng)
    twin = getattr(torch.optim, kind)(theirs, lr=0.05, **options)
    for _ in range(10):
        _give(ours, theirs, [rng.normal(size=p.shape) for p in ours])
        twin.step()
    for parameter, source in zip(ours, theirs, strict=True):
        parameter.data = source.detach().numpy().copy()
    state = {number: {"step": int(s.get("step", 10)), **{k: v.numpy() for k, v in s.items() if k != "step"}}
             for number, s in twin.state_dict()["state"].items()}
    optimizer = getattr(optim, kind)(ours, lr=0.05, **options)
    optimizer.load_state_dict({"state": state, "param_groups": [{"params": [0, 1, 2, 3]}], "steps": 10})
    for _ in range(10):
        _give(ours, theirs, [rng.normal(size=p.shape) for p in ours])
        optimizer.step()
        twin.step()
    _compare(ours, theirs)
