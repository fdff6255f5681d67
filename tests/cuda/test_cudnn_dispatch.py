"""attention through cuDNN: recorded in graphs, what is built and kept, and when our own kernel takes the call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import Tensor, functional, kernels, layers, optim
from portable_nn.backend import Stream, notices
from portable_nn.functional.products import precision
from tests.cuda.test_attention import make
from tests.helpers import to_numpy

OPTIONS: dict[str, Any] = {"dropout_p": 0.0, "stream": None}


def test_recorded_in_a_graph(gpu: Any, cudnn: Any, rng: np.random.Generator) -> None:
    import cupy

    from portable_nn.kernels.cupy.graphs import RecordingStream

    arrays, (g, _) = make(rng, ((2, 2), 64, 64, 32, 32), "float32")
    given = [x for x, _ in arrays]

    def step() -> list[Any]:
        tensors = [Tensor(x, requires_grad=True) for x in given]
        with precision("bfloat16"):
            out = functional.attention(*tensors, None, causal=True, scale=0.25, **OPTIONS)
            out.backward(g.astype(out.dtype))
        return [out.data, *(t.grad for t in tensors)]

    stream, pool = RecordingStream(), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()
    with cupy.cuda.using_allocator(pool.malloc), stream:
        for _ in range(3):
            eager = [x.get() for x in step()]
        stream.begin_capture()
        out = step()
        graph = stream.end_capture()
        graph.launch(stream)
        stream.synchronize()
        for a, b in zip(out, eager, strict=True):
            np.testing.assert_array_equal(a.get(), b)
    assert len(stream.kept) == 2  # the plans that launches need live as long as the graph


class Attentive(layers.Module):
    """Attention to itself, twice, with dropout."""

    def __init__(self) -> None:
        self.first, self.second = (layers.MultiheadAttention(16, 2, dropout=0.3) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x, causal=True), causal=True)


def test_captured_steps_draw_anew(gpu: Any, cudnn: Any, rng: np.random.Generator) -> None:
    """As eager ones, to the last bit; and every step, layer and call another mask."""
    from tests.cuda.steps import assert_same, everything, recordable_products

    batches = [rng.standard_normal((3, 32, 16)).astype("f") for _ in range(6)]
    found = []
    with recordable_products(), precision("bfloat16"):
        for capture in (False, True, True):
            model = Attentive().initialize(3).to("cuda:0")
            optimizer = optim.SGD(model.parameters(), lr=0.1)

            def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
                loss = (model(x) ** 2).mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                return loss

            step = pnn.capture(step) if capture else step
            losses = [to_numpy(step(Tensor(gpu.asarray(x)))).item() for x in batches]
            still = [to_numpy(model(gpu.asarray(batches[0]))) for _ in range(2)]
            assert not np.array_equal(*still)
            found.append((losses, everything(model, optimizer)))
    for losses, state in found[1:]:
        assert losses == found[0][0]
        assert_same(state, found[0][1])


def test_inference_builds_no_gradient(gpu: Any, cudnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps no sums; plans that were not used for long are let go of."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("the stand-in alone tells what was built")
    import cudnn as stand_in

    from portable_nn.kernels.cupy import cudnn_plans

    options = {"causal": False, "scale": 1.0, **OPTIONS}
    monkeypatch.setattr(cudnn_plans, "MOST", 3)
    cudnn_plans._kept().clear()
    stand_in.built.clear()
    with precision("bfloat16"):
        for width in (8, 16, 8, 24):
            x = cupy.ones((3, 9, width), dtype="f")
            functional.attention(x, x, x, None, **options)
        assert stand_in.built == ["attention without stats"] * 3
        x = Tensor(cupy.ones((3, 9, 8), dtype="f"), requires_grad=True)
        functional.attention(x, x, x, None, **options).sum().backward()
        assert stand_in.built[3:] == ["attention", "attention_backward"]
        x = cupy.ones((3, 9, 24), dtype="f")
        functional.attention(x, x, x, None, **options)
        assert len(stand_in.built) == 5 and len(cudnn_plans._kept()) == 3
        functional.attention(*[cupy.ones((3, 9, 8), dtype="f")] * 3, None, **options)
        assert len(stand_in.built) == 6


def test_a_graph_that_cudnn_refuses(gpu: Any, cudnn: Any, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Our kernel takes the call, and one line says so."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("the stand-in alone refuses a width of 104")
    monkeypatch.setattr(notices, "_told", set())
    options = {"causal": False, "scale": 1.0, **OPTIONS}
    x = cupy.ones((2, 6, 104), dtype="f")
    packed = cupy.ones((2, 6, 3, 1, 104), dtype="f")
    with precision("bfloat16"):
        for _ in range(2):
            assert (functional.attention(x, x, x, None, **options) == x).all()
            assert (functional.packed_attention(packed, None, **options) == 1).all()
            for operation, arrays in ((functional.attention, (x, x, x)), (functional.packed_attention, (packed,))):
                tensors = [Tensor(a, requires_grad=True) for a in arrays]
                operation(*tensors, None, **options).sum().backward()
                assert np.allclose(sum(t.grad.sum().get() for t in tensors), x.size, rtol=0.02)
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "slower kernel" in line]) == 1


def test_what_it_does_not_take(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """float32 itself, masks, odd widths, dropping all go to our kernel; without cuDNN all, and one line says so."""
    import cupy

    from portable_nn.kernels.cupy import cudnn_attention

    x, options = cupy.ones((2, 6, 8), dtype="f"), {"causal": False, "scale": 1.0, **OPTIONS}
    ours = "portable_nn.kernels.cupy.attention.forward"

    def chosen(x: Any = x, mask: Any = None, **others: Any) -> str:
        return kernels.explain("attention", x, x, x, mask, **{**options, **others})

    assert chosen() == ours
    monkeypatch.setattr(cudnn_attention, "obstacle", lambda: "it is not installed; pip install it")
    monkeypatch.setattr(notices, "_told", set())
    with precision("bfloat16"):
        assert chosen(mask=cupy.zeros((6, 6), dtype=bool)) == ours
        assert chosen(dropout_p=1.0, stream=Stream(0, "a")) == ours
        assert chosen(x[..., :5]) == ours
        assert not capsys.readouterr().err
        assert chosen() == chosen() == ours
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "slower" in lines[0] and "pip install" in lines[0]
