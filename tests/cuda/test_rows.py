"""Kernels that work on rows, against formulas in float64: all dtypes, widths, alignments and orders of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn.kernels import available
from tests.cuda.checks import DTYPES, assert_rounded, place, read

#: One warp a row and several; whole packs of 16 bytes and not; the widest many packs a thread.
SHAPES = [(1, 1), (5, 3), (3, 32), (2, 33), (9, 64), (33, 384), (1, 1000), (3, 1024), (2, 1025), (2, 2052), (1, 8200),
          (1, 65_537)]


def kernel(operation: str) -> Any:
    return [k for k in available("cupy") if k.operation == operation][-1]


def run(operation: str, arrays: tuple, g: Any, needs: tuple, **options: Any) -> tuple:
    """The result of a kernel and the gradients, all on the device."""
    import cupy

    chosen = kernel(operation)
    assert chosen.supports(*arrays, **options)
    out, saved = chosen.forward(*arrays, **options)
    known = {"saved": saved, "needs": needs, "parents": (None,) * len(arrays)}
    return out, *chosen.backward(cupy, g, *[known[name] for name in chosen.asked])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cases(shape: tuple[int, int], dtypes: tuple[str, ...] = DTYPES) -> list[str]:
    """All dtypes on small shapes; on the widest, which take the emulator long, the two ends."""
    return list(dtypes if shape[0] * shape[1] < 9000 else dtypes[::3])


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(gpu: Any, shape: tuple[int, int], shift: int, rng: np.random.Generator) -> None:
    for name in cases(shape):
        x, x64 = place(4 * rng.standard_normal(shape), name, shift)
        g, g64 = place(rng.standard_normal(shape), name, shift)
        y64 = softmax(x64)
        out, g_x = run("softmax", (x,), g, (True,), axis=-1)
        assert_rounded(out, y64, name)
        kept = read(out)  # the gradient is computed from the result as it is stored
        assert_rounded(g_x, kept * (g64 - (kept * g64).sum(axis=-1, keepdims=True)), name)
        out, g_x = run("log_softmax", (x,), g, (True,), axis=-1)
        assert_rounded(out, x64 - x64.max(-1, keepdims=True)
                       - np.log(np.exp(x64 - x64.max(-1, keepdims=True)).sum(-1, keepdims=True)), name)
        assert_rounded(g_x, g64 - np.exp(read(out)) * g64.sum(-1, keepdims=True), name)


def test_softmax_of_infinities(gpu: Any, order: int) -> None:
    rows = np.zeros((4, 70))
    rows[0, :69], rows[1, 3], rows[2] = -np.inf, np.nan, -np.inf
    x, _ = place(rows, "float32")
    out = read(kernel("softmax").forward(x, axis=-1)[0])
    np.testing.assert_array_equal(out[0], [*[0.0] * 69, 1.0])
    assert np.isnan(out[1]).all()
    assert np.isnan(out[2]).all()
    np.testing.assert_allclose(out[3], 1 / 70, rtol=1e-6)


@pytest.mark.parametrize("weights", [(True, True), (True, False), (False, False)], ids=["both", "weight", "none"])
@pytest.mark.parametrize("shape", [*(s for s in SHAPES if s[1] < 8200), (1, 8192)], ids=str)
def test_norms(gpu: Any, shape: tuple[int, int], weights: tuple[bool, bool], rng: np.random.Generator) -> None:
    for name in cases(shape):
        x, x64 = place(rng.standard_normal(shape) + 1, name)
        g, g64 = place(rng.standard_normal(shape), name, 1)
        w, w64 = place(rng.standard_normal(shape[1]), name) if weights[0] else (None, np.ones(shape[1]))
        b, b64 = place(rng.standard_normal(shape[1]), name) if weights[1] else (None, np.zeros(shape[1]))
        for centred in (True, False):
            mean = x64.mean(-1, keepdims=True) if centred else 0.0
            rstd = 1 / np.sqrt(((x64 - mean) ** 2).mean(-1, keepdims=True) + 1e-5)
            x_hat, g_hat = (x64 - mean) * rstd, g64 * w64
            g_x = rstd * (g_hat - (g_hat.mean(-1, keepdims=True) if centred else 0)
                          - x_hat * (g_hat * x_hat).mean(-1, keepdims=True))
            terms = float(np.max(np.abs(rstd * g_hat) + np.abs(rstd * x64)))
            if centred:
                needs = (True, *weights)
                out, *gradients = run("layer_norm", (x, w, b), g, needs, eps=1e-5)
                expected = [x_hat * w64 + b64, g_x, (g64 * x_hat).sum(0), g64.sum(0)]
            else:
                needs = (True, weights[0])
                out, *gradients = run("rms_norm", (x, w), g, needs, eps=1e-5)
                expected = [x_hat * w64, g_x, (g64 * x_hat).sum(0)]
            for got, want, needed in zip([out, *gradients], expected, (True, *needs), strict=True):
                assert (got is not None) == needed
                if needed:
                    assert_rounded(got, want, name, terms if want is g_x else 0.0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(gpu: Any, shape: tuple[int, int], weighted: bool, rng: np.random.Generator) -> None:
    import cupy

    for name in cases(shape):
        x, x64 = place(4 * rng.standard_normal(shape), name)
        labels = rng.integers(0, shape[1], shape[0])
        w, w64 = place(rng.uniform(0.5, 2, shape[1]), name) if weighted else (None, np.ones(shape[1]))
        g, g64 = place(rng.standard_normal(shape[0]), name)
        out, g_x, _, _ = run("cross_entropy", (x, cupy.asarray(labels), w), g, (True, False, False))
        rows = np.arange(shape[0])
        y64 = softmax(x64)
        shifted = x64 - x64.max(-1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(-1)) - shifted[rows, labels]
        assert_rounded(out, losses * w64[labels], name)
        y64[rows, labels] -= 1
        assert_rounded(g_x, y64 * (g64 * w64[labels])[:, None], name)


def test_a_label_out_of_range_reads_nothing(gpu: Any) -> None:
    import cupy

    x, _ = place(np.ones((3, 5)), "float32")
    losses = read(kernel("cross_entropy").forward(x, cupy.asarray(np.array([-1, 2, 5])), None)[0])
    assert np.isnan(losses[[0, 2]]).all()
    assert np.isfinite(losses[1])


@pytest.fixture(params=[0, 2**60], ids=["wide", "narrow"])
def packs(request: pytest.FixtureRequest, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over rows take 16 bytes a thread wherever they can, or nowhere."""
    from portable_nn.kernels.cupy import columns

    monkeypatch.setattr(columns, "_LARGE", request.param)


@pytest.mark.usefixtures("packs")
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("shape", [(1, 8), (31, 33), (257, 64), (70, 512)], ids=str)
def test_slopes_and_their_sums(gpu: Any, shape: tuple[int, int], activation: str, rng: np.random.Generator) -> None:
    """As of the activation by itself, whose slope is tested elsewhere."""
    from portable_nn.kernels.cupy.linear import _before_activation

    for name in DTYPES:
        z, _ = place(rng.standard_normal(shape), name)
        g, g64 = place(rng.standard_normal(shape), name)
        options = {"approximate": "none"} if activation == "gelu" else {}
        out, slopes = run(activation, (z,), g, (True,), **options)
        g_z, sums = _before_activation(g, z if activation == "gelu" else out, activation, g.dtype)
        assert_rounded(g_z, read(slopes), name, 2e3 * float(np.max(np.abs(g64))) if name in DTYPES[2:] else 4.0)
        assert_rounded(sums, read(g_z).sum(0), name, float(np.max(np.abs(read(g_z)).sum(0))) / 2)


@pytest.mark.usefixtures("packs")
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 40), (31, 33), (257, 64), (3000, 20), (300, 1032)], ids=str)
def test_sums_over_rows(gpu: Any, shape: tuple[int, int], order: int, rng: np.random.Generator) -> None:
    from portable_nn.kernels.cupy.columns import sum_rows

    for name in DTYPES if shape[1] < 1000 or order == 0 else DTYPES[:1]:
        x, x64 = place(rng.standard_normal(shape), name)
        assert_rounded(sum_rows(x), x64.sum(0), name, float(np.max(np.abs(x64).sum(0), initial=0.0)) / 4)


@pytest.mark.parametrize(("shape", "axis"), [
    ((3, 5, 40), 1), ((3, 5, 40), 0), ((3, 5, 40), (0, 1)), ((3, 5, 40), None), ((2, 3, 4, 17), (1, 2)), ((70, 33), 0),
    ((300, 20), -2), ((40_000,), None), ((6, 7), 1), ((3, 5, 40), (0, 2)), ((), None), ((0, 20), 0), ((4, 1, 20), 1)],
    ids=str)
def test_sums_and_means_of_the_namespace(gpu: Any, shape: tuple[int, ...], axis: Any, rng: np.random.Generator) -> None:
    """Whichever kernel they go to; those of no rows are CuPy's, which gives zeros or warns."""
    for name in DTYPES:
        x, x64 = place(rng.standard_normal(shape), name)
        for function in ("sum", "mean"):
            for keepdims in (False, True):
                if function == "mean" and not x64.size:
                    continue
                got = getattr(gpu.xp, function)(x, axis=axis, keepdims=keepdims)
                want = getattr(np, function)(x64, axis=axis, keepdims=keepdims)
                assert_rounded(got, np.asarray(want), name, float(np.max(np.abs(x64).sum(axis), initial=0.0)) / 4)


def test_the_order_of_blocks_changes_no_sum(gpu: Any, order: int, rng: np.random.Generator) -> None:
    """Whichever block finishes last adds up the same partial sums; it leaves the counters as it found them."""
    from portable_nn.kernels.cupy.columns import sum_rows

    x, _ = place(rng.standard_normal((3000, 70)), "float32")
    found = [sum_rows(x).get().tobytes() for _ in range(3)]
    assert {*found, _digests.setdefault("sum_rows", [found[0]])[0]} == {found[0]}


def test_every_stream_has_a_workspace_of_its_own(gpu: Any) -> None:
    import cupy

    from portable_nn.kernels.cupy.graphs import RecordingStream
    from portable_nn.kernels.cupy.workspace import COUNTERS, workspace

    own, streams = workspace(), [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    found = {own}
    for stream in streams:
        with stream:
            found.add(workspace())
            assert workspace() in found
    with RecordingStream() as stream:
        found.add(workspace())
        assert workspace() == stream.shared.ptr  # its graphs keep it
    assert len(found) == 4
    assert workspace() == own
    assert COUNTERS >= 512  # tiles of columns that are summed in several chunks


@pytest.mark.parametrize("count", [1, 7, 256, 1025, 70_001])
def test_sum_of_squares(gpu: Any, count: int, order: int, rng: np.random.Generator) -> None:
    for name in DTYPES[:2] + DTYPES[3:]:
        x, x64 = place(rng.standard_normal(count), name, count % 2)
        result = kernel("square_sum").forward(x)
        assert result.shape == ()
        assert_rounded(result, np.asarray((x64**2).sum()), name)


def test_order_of_threads_changes_nothing(gpu: Any, order: int, rng: np.random.Generator) -> None:
    """What is left to chance would show here; on a GPU, as a difference between two runs."""
    x, _ = place(rng.standard_normal((3, 5000)), "float32")
    w, _ = place(rng.standard_normal(5000), "float32")
    digests = []
    for _ in range(2):
        arrays = run("layer_norm", (x, w, w), x, (True, True, True), eps=1e-5)
        digests.append([a.get().tobytes() for a in arrays])
    assert digests[0] == digests[1]
    known = _digests.setdefault("layer_norm", digests[0])
    assert known == digests[0]


_digests: dict[str, list[bytes]] = {}
