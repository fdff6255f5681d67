"""How layers are held to PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.autodiff import Tensor

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def agree(ours: Any, theirs: Any, *inputs: Any, differentiable: tuple[int, ...] = (0,)) -> None:
    """Hold outputs and gradients of inputs and parameters to each other; their state comes to us and goes back."""
    import torch  # the tests that call this are skipped without it

    theirs = theirs.double()
    ours.to(dtype="float64").load_state_dict(theirs.state_dict())
    state = ours.state_dict()
    theirs.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
    assert list(state) == list(theirs.state_dict())
    def lift(kind: Any) -> list[Any]:
        return [None if x is None else kind(x, requires_grad=i in differentiable) for i, x in enumerate(inputs)]

    tensors, others = lift(Tensor), lift(torch.tensor)
    out, expected = ours(*tensors), theirs(*others)
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), **TOLERANCE)
    g = np.random.default_rng(1).standard_normal(out.shape)
    out.backward(g)
    expected.backward(torch.tensor(g))
    for i in differentiable:
        np.testing.assert_allclose(tensors[i].grad, others[i].grad.numpy(), **TOLERANCE)
    parameters = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad, parameters[name].grad.numpy(), **TOLERANCE)


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return 2 * np.random.default_rng(seed).standard_normal(shape)
