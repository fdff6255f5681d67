"""The history is a plain table, and a line is printed for each epoch."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from portable_nn.training import History, fit
from tests.training.tasks import classes, setup


def test_the_table() -> None:
    history = History()
    assert str(history) == "no epoch yet"
    history.append({"epoch": 1, "train": 0.43124, "validation": np.float32(0.5), "accuracy": np.float64(0.81)})
    history.append({"epoch": 10, "train": 1e-7})
    history.best_epoch = 1
    assert str(history).splitlines() == [
        "epoch   train  validation  accuracy",
        "    1  0.4312         0.5      0.81",
        "   10   1e-07           -         -",
        "weights of epoch 1, the best",
    ]
    assert history["train"] == [0.43124, 1e-7] and history["accuracy"] == [0.81, None] and len(history) == 2
    assert [row["epoch"] for row in history] == [1, 10] and repr(history) == str(history)
    with pytest.raises(KeyError, match="no column 'loss'"):
        history["loss"]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    history = fit(*setup(), train=classes(), validation=0.2, metrics=["accuracy", "confusion_matrix"], epochs=2)
    out, err = capsys.readouterr()
    row = history.rows[1]
    assert out.splitlines()[1] == (f"epoch 2/2  train {row['train']:.4g}  validation {row['validation']:.4g}  "
                                   f"accuracy {row['accuracy']:.4g}  ({row['seconds']:.1f} s)")
    assert err == ""
    fit(*setup(), train=classes(), progress=False)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(*setup(), train=classes(), epochs=2, batch_size=20)
    text = terminal.getvalue()
    assert "epoch 1/2" in text and "epoch 2/2" in text and "/3" in text and "batch" in text
    assert text.rstrip(" ").endswith("\r")  # the bar is gone when the epoch's line is printed
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_bar_goes_when_a_batch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    x, y = classes()
    with pytest.raises(Exception, match="label"):
        fit(*setup(), train=(x, y + 1), batch_size=20)
    assert terminal.getvalue().rstrip(" ").endswith("\r")
