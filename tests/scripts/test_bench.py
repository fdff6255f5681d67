"""scripts/bench.py: its arguments, its workloads, the rows of its JSON, and what its processes answer; never a time."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
KEYS = ["workload", "device", "precision", "threads", "ours_ms", "peer", "peer_ms", "ratio", "floor_ms", "rate_share",
        "ours_peak_mb", "peer_peak_mb"]


@pytest.fixture
def load(monkeypatch):
    """Imports a script, or a module of benchmark/, by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture
def workloads(load):
    return load("benchmark.workloads")


class FakeProcess:
    """Stands in for a contender's process: takes as many milliseconds a step as its name says."""

    def __init__(self, contender, threads, **options):
        self.contender = contender

    def ask(self, command, **options):
        seconds = {"ours": 2e-3, "torch eager": 6e-3, "jax": 4e-3, "scikit-learn": 9e-3}[self.contender]
        return {"build": None, "time": seconds, "time_fit": seconds, "product_rate": 1e11, "bandwidth": 1e10,
                "peak_memory": 5e6}[command]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_the_arguments_are_checked(load, capsys):
    bench = load("bench")
    options = bench.parse(["--workload", "mlp", "bow", "--threads", "2", "--json", "x.json"])
    assert (options.workload, options.threads, options.device, options.json) == (["mlp", "bow"], 2, "cpu",
                                                                                Path("x.json"))
    for wrong in (["--workload", "lstm"], ["--threads", "0"], ["--precision", "tf32"], ["--overhead", "--scaling"]):
        with pytest.raises(SystemExit):
            bench.parse(wrong)
    capsys.readouterr()


def test_the_json_holds_a_row_for_each_peer_and_a_line_for_each_workload_is_printed(load, monkeypatch, tmp_path,
                                                                                  capsys):
    bench, comparing = load("bench"), load("benchmark.comparing")
    monkeypatch.setattr(comparing, "Process", FakeProcess)
    file = tmp_path / "rows.json"
    assert bench.main(["--workload", "mlp", "skipgram", "--skip", "parity", "--json", str(file), "--peer",
                       "torch eager", "jax", "scikit-learn"]) == 0
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [KEYS] * 5
    assert [(row["workload"], row["peer"]) for row in rows] == [
        ("mlp", "torch eager"), ("mlp", "jax"), ("mlp", "scikit-learn"), ("skipgram", "torch eager"),
        ("skipgram", "jax")]
    assert rows[0] == {"workload": "mlp", "device": "cpu", "precision": "float32", "threads": 1, "ours_ms": 2.0,
                       "peer": "torch eager", "peer_ms": 6.0, "ratio": 3.0, "floor_ms": rows[0]["floor_ms"],
                       "rate_share": rows[0]["rate_share"], "ours_peak_mb": 5.0, "peer_peak_mb": 5.0}
    assert rows[2]["ratio"] == 4.5 and rows[2]["peer_peak_mb"] is None
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("mlp ")][0].split()[1:5] == ["2.000", "4.000", "jax", "2.00"]
    assert any(line.startswith("  fit, scikit-learn: ours 2.000 ms a step, theirs 9.000") for line in printed)


def test_a_missing_peer_is_named_once_and_left_out(load, monkeypatch, capsys):
    bench, comparing, processes = load("bench"), load("benchmark.comparing"), load("benchmark.processes")

    class WithoutTorch(FakeProcess):
        def __init__(self, contender, threads, **options):
            if contender.startswith("torch"):
                raise processes.Missing("No module named 'torch'")
            super().__init__(contender, threads, **options)

    monkeypatch.setattr(comparing, "Process", WithoutTorch)
    assert bench.main(["--workload", "bow", "lstm-64", "--skip", "parity", "memory", "--peer", "torch eager",
                       "jax"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("torch eager is left out: No module named 'torch'") == 1
    assert printed.count(" jax ") == 2


def test_on_a_gpu_goals_stand_beside_the_figures(load, monkeypatch, capsys):
    bench, comparing, processes = load("bench"), load("benchmark.comparing"), load("benchmark.processes")
    asked = []

    class OnAGPU(FakeProcess):
        def ask(self, command, **options):
            asked.append((options.get("spec", {}).get("dim"), options.get("precision")))
            value = super().ask(command, **options)
            return 2 * value if command == "peak_memory" and self.contender == "ours" else value

    monkeypatch.setattr(comparing, "Process", OnAGPU)
    assert bench.main(["--device", "cuda", "--workload", "mlp", "gpt-baby", "--skip", "parity", "--peer", "jax",
                       "torch eager"]) == 0
    assert {precision for dim, precision in asked if precision} == {"tf32", "bfloat16"}
    assert {precision for dim, precision in asked if dim == 384} == {"bfloat16"}
    mlp, gpt = (line for line in capsys.readouterr().out.splitlines() if line.startswith(("mlp ", "gpt-baby ")))
    assert mlp.endswith("tf32     goal 1.30; memory above PyTorch's MISSED")
    assert "bfloat16 goal 1.20; " in gpt and "of the products' rate, goal 28%" in gpt

    class Alone(OnAGPU):
        def __init__(self, contender, threads, **options):
            if contender != "ours":
                raise processes.Missing("no module")
            super().__init__(contender, threads, **options)

    monkeypatch.setattr(comparing, "Process", Alone)
    assert bench.main(["--device", "cuda", "--workload", "mlp", "--skip", "parity", "--seconds", "0"]) == 0
    assert "nobody" in (printed := capsys.readouterr().out)
    assert "goal 1.30, beside 0.104 ms on an H100 0.05 MISSED" in printed


def test_a_failure_of_ours_is_a_problem_of_one_workload(load, monkeypatch, capsys):
    bench, comparing, processes = load("bench"), load("benchmark.comparing"), load("benchmark.processes")

    class Failing(FakeProcess):
        def ask(self, command, **options):
            if command == "build" and self.contender == "ours" and options["spec"]["kind"] == "bow":
                raise processes.Failed("ours, build: it broke")
            return super().ask(command, **options)

    monkeypatch.setattr(comparing, "Process", Failing)
    assert bench.main(["--workload", "bow", "lstm-64", "--skip", "parity", "--peer", "jax"]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM: bow: ours, build: it broke" in printed and printed.count(" jax ") == 1


def test_the_medians_error_is_that_of_the_normal_distribution(load, rng):
    timing = load("benchmark.timing")
    errors = [timing.error_of([(1.0, 1 + 0.02 * value) for value in rng.standard_normal(101)]) for _ in range(200)]
    assert np.median(errors) == pytest.approx(1.2533 * 0.02 / 101**0.5, rel=0.05)


def test_all_processes_leave_out_what_forces_old_kernels(load, monkeypatch):
    processes = load("benchmark.processes")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = processes.environment(2)
    assert "OPENBLAS_CORETYPE" not in found and found["OMP_NUM_THREADS"] == "2"
    assert processes.environment(2, keep_forced=True)["OPENBLAS_CORETYPE"] == "Haswell"


def test_operations_and_bytes_are_those_counted_by_hand(load, workloads):
    shapes = load("benchmark.shapes")
    mlp = {"kind": "mlp", "batch": 2, "sizes": (3, 4, 5), "optimizer": "adam"}
    assert shapes.operations(mlp) == 2 * 2 * (2 * 3 * 4 + 3 * 4 * 5)
    assert shapes.traffic(mlp) == 6 * 4 * (3 * 4 + 4 + 4 * 5 + 5)
    inference = workloads.WORKLOADS["minilm-infer"]
    tokens = 32 * 128
    products = 6 * (4 * 384**2 + 2 * 384 * 1536 + 2 * 128 * 384)
    assert shapes.operations(inference) == 2 * tokens * products


def names():
    return ["mlp-small", "bow", "lstm-64", "encoder", "gpt-cpu", "gpt-baby", "minilm-infer", "skipgram"]


@pytest.mark.parametrize("name", names())
def test_parameters_are_those_of_the_shapes_alone(load, workloads, name):
    ours, shapes = load("benchmark.ours"), load("benchmark.shapes")
    spec = workloads.tiny(workloads.WORKLOADS[name])
    expected = {key: value.shape for key, value in ours.Ours(spec).weights().items()}
    assert shapes.parameter_shapes(spec) == expected
    assert {key: value.shape for key, value in shapes.draw_weights(spec, "float32").items()} == expected


@pytest.mark.parametrize("name", names())
def test_each_workload_runs_doubled_too(load, workloads, name):
    ours = load("benchmark.ours")
    spec = workloads.tiny(workloads.WORKLOADS[name])
    doubled = workloads.doubled(spec)
    assert set(doubled) == {"batch", "width"} | ({"time"} if "time" in spec else set())
    for larger in doubled.values():
        contender = ours.Ours(larger)
        for batch in workloads.make_batches(larger, 2):
            contender.step(contender.put(batch))


def test_a_process_answers_in_json_and_says_where_it_failed(load, workloads):
    processes = load("benchmark.processes")
    spec = workloads.tiny(workloads.WORKLOADS["skipgram"])
    with processes.Process("ours", 1) as process:
        process.ask("build", spec=spec, device="cpu", precision="float32")
        assert process.ask("time", steps=2) > 0
        assert process.ask("bandwidth", device="cpu", distinct=1e4) > 0
        with pytest.raises(processes.Failed, match="AttributeError.*nonsense"):
            process.ask("nonsense")
        rows = process.ask("profile", steps=2)
        assert {"optimiser", "zero_grad", "the rest"} < {row["operation"] for row in rows}
    with processes.Process("ours", 1) as process:
        assert process.ask("peak_memory", spec=spec, device="cpu", precision="float32") is not None or (
            sys.platform == "win32")
