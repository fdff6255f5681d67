"""The same script with `--device cuda`: what the examples train, save and say is what they do on the CPU.

Every model here has dropout, so weights that agree say that the masks did.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import portable_nn as pnn
from portable_nn import data, layers, models, optim
from portable_nn.data.datasets import Sentiment
from tests.cuda.steps import assert_same, recordable_products
from tests.examples.test_forecasting import forecasting, write_csv
from tests.examples.test_sentiment import sentiment, write_reviews
from tests.examples.test_skipgram import skipgram
from tests.examples.test_slides import numbers, slides

CUDA = ["--device", "cuda"]


def assert_alike(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal but for the order of sums, in every step of a run."""
    assert found.keys() == expected.keys() and expected
    for name, x in expected.items():
        other = found[name]
        if name.endswith("in_proj_bias"):  # a bias of keys shifts whole rows of scores: its gradient is rounding alone,
            x, other = (np.delete(a, slice(len(a) // 3, 2 * len(a) // 3)) for a in (x, other))  # of which Adam steps
        np.testing.assert_allclose(other, x, rtol=1e-3, atol=1e-4, err_msg=name)


def saved(main: Callable[[list[str]], int], folder: Path, *arguments: str) -> dict[str, np.ndarray]:
    """The weights that an example leaves."""
    assert main([*arguments, "--save", str(folder)]) == 0
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("number", range(1, 15))
def test_slides(gpu: Any, number: int) -> None:
    here, there = (numbers(slides.SLIDES[number - 1](slides.on(device))) for device in ("cpu", "cuda"))
    for name, value in here.items():
        if isinstance(value, (np.ndarray, float)) or (isinstance(value, tuple) and isinstance(value[0], float)):
            np.testing.assert_allclose(there[name], value, rtol=2e-3, atol=1e-4, err_msg=name)
        elif not isinstance(value, (str, pnn.training.History)):
            assert there[name] == value


@pytest.mark.parametrize("body", sorted(models.bodies.BODIES))
def test_sentiment(gpu: Any, body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = [*write_reviews(tmp_path / "reviews.csv", ["good", "bad"], 80), "--model", body, "--epochs", "2"]
    here, there = (saved(sentiment.main, tmp_path / device, *run, "--device", device) for device in ("cpu", "cuda"))
    assert_alike(there, here)
    with recordable_products():
        assert_same(there, saved(sentiment.main, tmp_path / "captured", *run, *CUDA, "--capture"))
    answers = []
    for folder, device in (("cpu", "cpu"), ("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")):
        capsys.readouterr()
        assert sentiment.main(["--load", str(tmp_path / folder), "--device", device, "--predict", "fine", "dull"]) == 0
        answers.append(capsys.readouterr().out)
    assert len(set(answers)) == 1 and "%" in answers[0]


@pytest.mark.parametrize(("kind", "body"), [("sine", "mlp"), ("sine", "lstm"), ("hours", "linear"), ("hours", "mlp"),
                                            ("hours", "lstm"), ("hours", "transformer")])
def test_forecasting(gpu: Any, kind: str, body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--data", "sine", "--epochs", "1"] if kind == "sine" else [
        *write_csv(tmp_path / "a.csv", rows=240, holiday=True), "--features", "heat", "--context", "24",
        "--horizon", "4", "--epochs", "1"]
    run += ["--model", body]
    here, there = (saved(forecasting.main, tmp_path / device, *run, "--device", device) for device in ("cpu", "cuda"))
    assert_alike(there, here)
    with recordable_products():
        assert_same(there, saved(forecasting.main, tmp_path / "captured", *run, *CUDA, "--capture"))
    capsys.readouterr()
    assert forecasting.main([*run, "--load", str(tmp_path / "cpu"), *CUDA]) == 0
    assert "forecast" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_precisions_reach_the_products(gpu: Any, precision: str, tmp_path: Path) -> None:
    run = ["--data", "sine", "--epochs", "1", "--model", "mlp", *CUDA]
    exact = saved(forecasting.main, tmp_path / "a", *run)
    low = saved(forecasting.main, tmp_path / "b", *run, "--precision", precision)
    off = max(np.max(np.abs(low[name] - exact[name])) for name in exact)
    assert off < 0.05 and (off > 0 or precision == "tf32")  # a GPU before Ampere has none


def test_word_vectors(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    words = [f"{first}{rest}" for first in "bdfgklmnpr" for rest in ("an", "en", "in", "on", "un", "ar")]
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(60)]
    monkeypatch.setattr(data, "load_sentiment", lambda name: Sentiment(texts, np.zeros(len(texts), dtype=np.int64)))
    run = ["--alone", "--epochs", "1", "--dim", "8", "--min-count", "1"]
    here, there = (saved(skipgram.main, tmp_path / device, *run, "--device", device) for device in ("cpu", "cuda"))
    assert_alike(there, here)
    with recordable_products():
        fast = saved(skipgram.main, tmp_path / "captured", *run, *CUDA, "--capture", "--precision", "bfloat16")
        assert_same(there, fast)  # the loss multiplies by itself


def test_a_model_moves_between_devices(gpu: Any, tmp_path: Path) -> None:
    """Trained, asked and saved on the GPU; loaded on the CPU; and back."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    found = {}
    for device in ("cpu", "cuda"):
        model = models.MLP((6, 16, 2), dropout=0.3).to(device)
        pnn.fit(model, layers.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.01), train=(x, y), epochs=2,
                validation=0.2, metrics=["accuracy"], batch_size=16, progress=False)
        pnn.save(model, tmp_path / device)
        found[device] = pnn.predict(model, x)
        assert isinstance(found[device], np.ndarray)
        assert pnn.evaluate(model, x, y)["accuracy"] == np.mean(found[device].argmax(1) == y)
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-4, atol=1e-5)
    for source in found:
        for device in found:
            model = pnn.load(tmp_path / source, device)
            np.testing.assert_allclose(pnn.predict(model, x), found[source], rtol=1e-5, atol=1e-6)
