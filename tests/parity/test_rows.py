"""Row-sparse gradients and SparseAdam against PyTorch's: a hundred steps in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", ["SparseAdam", "SGD"])
@pytest.mark.parametrize("layer", ["Embedding", "EmbeddingBag"])
def test_a_hundred_steps(kind: str, layer: str, rng: np.random.Generator) -> None:
    ours, theirs = (getattr(nn, layer)(20, 3, sparse=True) for nn in (layers, torch.nn))
    ours.to(dtype="float64").load_state_dict(theirs.double().state_dict())
    options: dict[str, Any] = {"betas": (0.8, 0.95), "eps": 1e-4} if kind == "SparseAdam" else {}
    optimizer = getattr(optim, kind)(ours.parameters(), lr=0.05, **options)
    twin = getattr(torch.optim, kind)(theirs.parameters(), lr=0.05, **options)
    for _ in range(100):
        indices = rng.integers(0, 20, (4, 2))  # with repetitions
        optimizer.zero_grad()
        twin.zero_grad()
        out, expected = ours(Tensor(indices)), theirs(torch.tensor(indices))
        g = rng.standard_normal(out.shape)
        out.backward(g)
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(ours.weight.grad.dense(), theirs.weight.grad.to_dense().numpy(), rtol=1e-12,
                                   atol=1e-14)
        optimizer.step()
        twin.step()
    np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-10, atol=1e-10)
