"""LSTM and GRU equal PyTorch's in float64, over random configurations: results and all gradients to 1e-10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels, layers
from portable_nn.backend.namespace import array_namespace

torch = pytest.importorskip("torch")


def pair(kind: str, rng: np.random.Generator, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Our layer and PyTorch's with the same random weights."""
    ours = getattr(layers, kind)(*args, **options).to(dtype="float64")
    theirs = getattr(torch.nn, kind)(*args, **options).double()
    state = {name: rng.standard_normal(tuple(value.shape)) / 2 for name, value in theirs.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return ours, theirs


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected.detach().numpy(), rtol=1e-10, atol=1e-10)


def flat(out: Any) -> list[Any]:
    return [x for part in out for x in flat(part)] if isinstance(out, tuple) else [out]


def tracked(values: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    """The values as our Tensors and as PyTorch's, both with gradients."""
    return [Tensor(x, requires_grad=True) for x in values], [torch.tensor(x, requires_grad=True) for x in values]


def compare(ours: Any, theirs: Any, out: Any, expected: Any, inputs: list, twins: list,
            rng: np.random.Generator) -> None:
    """Results, then the gradients of inputs and parameters for random cotangents of every result."""
    out, expected = flat(out), flat(expected)
    cotangents = [rng.standard_normal(x.shape) for x in out]
    for x, twin in zip(out, expected, strict=True):
        close(x.numpy(), twin)
    xp = array_namespace(*out)
    sum(xp.sum(x * v) for x, v in zip(out, cotangents)).backward()
    sum((x * torch.tensor(v)).sum() for x, v in zip(expected, cotangents)).backward()
    named = dict(theirs.named_parameters())
    for x, twin in [*zip(inputs, twins, strict=True), *((p, named[name]) for name, p in ours.named_parameters())]:
        close(x.grad, twin.grad)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, hidden, num_layers = (int(rng.integers(1, 6)) for _ in range(3))
    batch, steps, directions = int(rng.integers(1, 5)), int(rng.integers(1, 9)), int(rng.integers(1, 3))
    ours, theirs = pair(kind, rng, features, hidden, num_layers=num_layers, bias=bool(rng.integers(2)),
                        batch_first=bool(rng.integers(2)), bidirectional=directions == 2)
    shapes = [(batch, steps, features) if ours.batch_first else (steps, batch, features)]
    shapes += [(num_layers * directions, batch, hidden)] * (rng.integers(2) * (2 if kind == "LSTM" else 1))
    values = [rng.standard_normal(shape) for shape in shapes]
    inputs, twins = tracked(values)
    state, twin = ((None if len(x) == 1 else x[1] if len(x) == 2 else tuple(x[1:])) for x in (inputs, twins))
    if rng.integers(2):
        lengths = rng.integers(1, steps + 1, batch)
        packed = torch.nn.utils.rnn.pack_padded_sequence(twins[0], torch.tensor(lengths), ours.batch_first, False)
        y, last = theirs(packed, twin)
        y = torch.nn.utils.rnn.pad_packed_sequence(y, ours.batch_first, total_length=steps)[0]
        compare(ours, theirs, ours(inputs[0], state, lengths), (y, last), inputs, twins, rng)
    else:
        compare(ours, theirs, ours(inputs[0], state), theirs(twins[0], twin), inputs, twins, rng)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_cells(kind: str, bias: bool, rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, rng, 3, 4, bias=bias)
    values = [rng.standard_normal(shape) for shape in [(5, 3)] + [(5, 4)] * (2 if kind == "LSTMCell" else 1)]
    inputs, twins = tracked(values)
    state, twin = (tuple(x[1:]) if kind == "LSTMCell" else x[1] for x in (inputs, twins))
    compare(ours, theirs, ours(inputs[0], state), theirs(twins[0], twin), inputs, twins, rng)


@pytest.mark.parametrize("path", ["kernel", "generic", "definition"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_many_chunks(kind: str, path: str, rng: np.random.Generator) -> None:
    """As large as a model's, on each of the three paths; the gradient of a single result reaches everything, too."""
    ours, theirs = pair(kind, rng, 7, 48, batch_first=True)
    x = rng.standard_normal((24, 60, 7))
    inputs, twins = tracked([x])
    with kernels.disabled(generic=path == "generic") if path != "kernel" else torch.enable_grad():
        assert ("kernels.numpy" in kernels.explain(kind.lower(), x, *(None,) * (2 if kind == "LSTM" else 1), *(
            p.data for p in ours.parameters()), None, reverse=False)) == (path == "kernel")
        out = ours(inputs[0])
    compare(ours, theirs, out[0][:, -1, :], theirs(twins[0])[0][:, -1], inputs, twins, rng)


def test_untouched_results_are_no_gradient(rng: np.random.Generator) -> None:
    """c alone: y and h have no cotangent."""
    ours, theirs = pair("LSTM", rng, 3, 4, batch_first=True)
    x = rng.standard_normal((2, 5, 3))
    inputs, twins = tracked([x])
    compare(ours, theirs, ours(inputs[0])[1][1], theirs(twins[0])[1][1], inputs, twins, rng)


def test_functional_takes_the_gates_as_pytorch_has_them(rng: np.random.Generator) -> None:
    theirs = torch.nn.LSTM(2, 3, batch_first=True).double()
    x = rng.standard_normal((2, 4, 2))
    y, _, _ = functional.lstm(x, None, None, *(p.detach().numpy() for p in theirs.parameters()), None, reverse=False)
    close(y, theirs(torch.tensor(x))[0])
