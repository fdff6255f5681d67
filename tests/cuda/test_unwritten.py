"""The gradient of a table that nobody looks at is not written down: updates read sums of rows, and find the zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import NonFiniteError, kernels, layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.autodiff.row_sparse import Unwritten
from tests.cuda.steps import recordable_products
from tests.cuda.test_updates import RULES
from tests.helpers import to_numpy

#: Rows, width: narrow and wide, whole packs of 16 bytes and not, more rows than a block's chunk, rows wider than that.
TABLES = [(41, 12), (41, 7), (3000, 1), (3, 2052), (500, 33)]


def place(x: Any, device: str) -> Any:
    if device == "cpu":
        return x
    import cupy

    return cupy.asarray(x)


def model(device: str, size: int, width: int, kind: type = layers.Embedding, dtype: str = "float32") -> Any:
    made = layers.Sequential(kind(size, width), layers.Linear(width, 2)).initialize(1)
    return made.to(device, dtype=dtype)


def losses(net: Any, step: int, device: str, size: int) -> Any:
    """Of a batch with rows that occur again and again, and others that do not; every third step has none at all."""
    rng = np.random.default_rng(step)
    indices = np.minimum(rng.zipf(1.3, (4, 9)) - 1, size - 1) if step % 3 else rng.integers(0, size, (4, 9))
    y = net(Tensor(place(indices, device)))
    return (y * y).mean()


def train(device: str, make: Any, table: tuple[int, int], *, steps: int = 4, **options: Any) -> tuple[list, Any]:
    net = model(device, *table, **options)
    optimizer = make(net.parameters())
    for step in range(steps):
        losses(net, step, device, table[0]).backward()
        assert isinstance(net[0].weight.slot.gradient, Unwritten) == (device != "cpu")
        optimizer.step()
        optimizer.zero_grad()
    return [to_numpy(p.data) for p in net.parameters()], optimizer


@pytest.mark.parametrize("rule", [*RULES, "clipped"])
def test_every_rule(gpu: Any, rule: str) -> None:
    make = RULES.get(rule, lambda p: optim.AdamW(p, lr=0.01, clip_norm=0.1))
    expected, found = (train(device, make, TABLES[0])[0] for device in ("cpu", "cuda:0"))
    for x, y in zip(expected, found, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [layers.Embedding, layers.EmbeddingBag])
@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_shape(gpu: Any, table: tuple[int, int], kind: type, dtype: str) -> None:
    expected, found = (train(device, RULES["adam"], table, kind=kind, dtype=dtype)[0] for device in ("cpu", "cuda:0"))
    for x, y in zip(expected, found, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-6)


def test_many_indices(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if they were too many for one block to sort: of a large table the gradient is left unwritten all the same."""
    from portable_nn.kernels.cupy import embedding, scatter

    for module in (embedding, scatter):
        monkeypatch.setattr(module, "FEW", 5)
    for kind in (layers.Embedding, layers.EmbeddingBag):
        test_every_shape(gpu, (500, 33), kind, "float32")


def test_the_order_of_threads_changes_no_bit(gpu: Any, order: int) -> None:
    bits = b"".join(x.tobytes() for x in train("cuda:0", RULES["adam"], (500, 33))[0])
    assert _bits.setdefault("bits", bits) == bits


_bits: dict[str, bytes] = {}


def test_whoever_looks_sees_an_array(gpu: Any) -> None:
    import cupy

    found = {}
    for device in ("cpu", "cuda:0"):
        net = model(device, 41, 12)
        losses(net, 1, device, 41).backward()
        table = net[0].weight
        if device != "cpu":
            assert isinstance(table.slot.gradient, Unwritten)
            assert type(table.grad) is cupy.ndarray
            assert table.grad is table.grad
        once = to_numpy(table.grad).copy()
        for step in (2, 3):  # added up: written down on the way
            losses(net, step, device, 41).backward()
        leaf, indices = Tensor(table.data, requires_grad=True), Tensor(place(np.asarray([1, 1, 40]), device))

        def squares(weight: Any, indices: Any = indices) -> Any:
            y = pnn.functional.embedding(indices, weight)
            return (y * y).mean()

        squares(leaf).backward()
        squares(leaf * 2).backward()  # a rule is given the gradient
        found[device] = [once, to_numpy(table.grad), to_numpy(leaf.grad), to_numpy(pnn.grad(squares)(table.data))]
    for x, y in zip(*found.values(), strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dense_first", [False, True])
def test_a_table_that_also_multiplies(gpu: Any, dense_first: bool) -> None:
    """Weights of a first and a last layer in one: a gradient that is an array and one that is not meet, either way."""
    found = []
    for device in ("cpu", "cuda:0"):
        table = layers.Embedding(41, 12).initialize(1).to(device)
        indices = Tensor(place(np.asarray([[1, 2, 2], [3, 3, 40]]), device))
        logits = pnn.functional.linear(table(indices), table.weight.tensor, None, activation=None)
        (logits * logits).mean().backward()  # within one pass
        terms = [(table.weight.tensor ** 2).sum(), (table(indices) ** 2).mean()]
        for term in terms if dense_first else reversed(terms):
            term.backward()  # and over several
        found.append(to_numpy(table.weight.grad))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_bad_gradients_are_found_and_named(gpu: Any) -> None:
    net = model("cuda:0", 3, 4)
    optimizer = optim.Adam(net.parameters())
    net[1].weight.data = net[1].weight.data * np.float32(np.nan)
    net[1].weight.trainable = net[1].bias.trainable = False
    before = to_numpy(net[0].weight.data).copy()
    losses(net, 1, "cuda:0", 3).backward()
    with pytest.raises(NonFiniteError, match=r"0\.weight"):
        optimizer.step(check_finite=True)
    latch = optimizer.make_latch()
    optimizer.step(latch=latch)
    assert latch.report()[2] == 0
    np.testing.assert_array_equal(to_numpy(net[0].weight.data), before)


def test_definitions_and_moves_in_between(gpu: Any) -> None:
    """An optimiser without kernels, clipping by hand and a cast of the model get the gradient written down."""
    found = []
    for device in ("cpu", "cuda:0"):
        net = model(device, 41, 12)
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        for step in range(4):
            losses(net, step, device, 41).backward()
            if step == 1:
                with kernels.disabled():
                    optimizer.step()
            elif step == 2:
                optim.clip_grad_norm(net.parameters(), 0.1)
                optimizer.step()
            elif step == 3:
                net.to(dtype="float64")
                optimizer.step()
            else:
                optimizer.step()
            optimizer.zero_grad()
        found.append([to_numpy(p.data) for p in net.parameters()])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-6)


def test_captured(gpu: Any) -> None:
    import cupy

    with recordable_products():
        found = []
        for capture in (False, True):
            net = model("cuda:0", 41, 12, layers.EmbeddingBag)
            optimizer = optim.Adam(net.parameters(), lr=0.01)

            def step(indices: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
                y = net(indices)
                loss = (y * y).sum()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                return loss

            run = pnn.capture(step) if capture else step
            rng = np.random.default_rng(0)
            for _ in range(8):
                run(Tensor(cupy.asarray(rng.integers(0, 41, (4, 9)))))
            found.append([to_numpy(p.data) for p in net.parameters()])
        for x, y in zip(*found, strict=True):
            np.testing.assert_array_equal(x, y)
