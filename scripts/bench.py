"""Whole training steps beside PyTorch's, JAX's and scikit-learn's, on equal threads, in turn.

    python scripts/bench.py [--workload NAME ...] [--device cpu|cuda] [--threads N] [--json FILE]
    python scripts/bench.py --overhead | --scaling | --profile

Each contender runs in a process of its own, on the same processors; while one works, the others sleep. Before anything
is timed, it is checked that all compute the same: in float64, without dropout, from the same weights, the loss, the
gradients and the parameters after 5 steps. A workload is printed as one line: our milliseconds per step, those of the
fastest peer, their ratio (above 1: ours is faster), the floor (multiplications at the rate that this machine's products
reach, or bytes at the speed of its memory), how close we are to it, and the memory at the peak of a step, above the
level after import and building; on a GPU also the goal, and what misses it. Peers that are not installed are left out:
`nox -s bench` installs them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark import report
from benchmark.comparing import PEERS, Bench
from benchmark.processes import FORCED_KERNELS, Failed, Missing
from benchmark.workloads import WORKLOADS, names

#: How long one workload is profiled, seconds.
PROFILED = 3.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workload", nargs="+", choices=WORKLOADS, metavar="NAME", help="of " + ", ".join(WORKLOADS))
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=1, metavar="N", help="of BLAS and every other pool, on all sides")
    add("--precision", choices=("float32", "tf32", "bfloat16"),
        help="on CUDA; if left out, bfloat16 for gpt-baby and minilm-infer and tf32 for the others, as their goals are")
    add("--peer", nargs="+", choices=sorted({*PEERS["cpu"], *PEERS["cuda"]}), metavar="NAME",
        help="of " + ", ".join((*PEERS["cpu"], *PEERS["cuda"][1:3])))
    add("--seconds", type=float, default=8.0, help="the longest that two contenders take turns")
    add("--skip", nargs="+", choices=("parity", "memory"), default=[], help="what need not be looked at")
    add("--json", type=Path, metavar="FILE", help="write a row for each workload and peer here too")
    add("--eager", action="store_true", help="on CUDA: our steps as they are, not captured")
    add("--verbose", action="store_true", help="a line for every peer")
    add("--core", action="store_true", help="without the compiled helper: its import fails in our process")
    add("--keep-openblas", action="store_true", help=f"leave {' and '.join(FORCED_KERNELS)} as they are set")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--overhead", action="store_true", help="what one small recorded operation costs, and the import")
    what.add_argument("--scaling", action="store_true", help="how time and memory grow when a size doubles")
    what.add_argument("--profile", action="store_true", help="where our step spends its time, by operation")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and options.precision not in (None, "float32"):
        parser.error("--precision goes with --device cuda")
    if options.threads < 1:
        parser.error("--threads is 1 or more")
    return options


def profile(bench: Bench, name: str) -> None:
    """Print where a step of ours spends its time."""
    from benchmark import profiling

    with bench.process("ours") as ours:
        ours.ask("build", **bench.setting(WORKLOADS[name]))
        steps = max(3, round(PROFILED / ours.ask("time", steps=3)))
        rows = ours.ask("profile", steps=min(steps, 2000))
    print(f"{name}, ms per step:", *profiling.lines(rows), sep="\n", flush=True)


def compare(bench: Bench, chosen: list[str]) -> None:
    """Print and write the table."""
    rows = []
    if "parity" not in bench.options.skip:
        for name in chosen:
            with ours_may_fail(bench, name):
                print(bench.check(name), flush=True)
    print(report.HEADER)
    for name in chosen:
        found = []
        with ours_may_fail(bench, name):
            found = bench.rows(name)
            print(report.line(found), *report.others(found, verbose=bench.options.verbose), sep="\n", flush=True)
        rows += found
        if bench.options.json:
            bench.options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


@contextmanager
def ours_may_fail(bench: Bench, name: str) -> Iterator[None]:
    """Within this context a failure of ours is a problem of this workload alone."""
    try:
        yield
    except (Failed, Missing) as error:
        bench.problems.append(f"{name}: {error}")
        print(f"{name:13s} failed", flush=True)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.overhead:
        from benchmark import overhead

        overhead.run(options.json)
        return 0
    forced = [name for name in FORCED_KERNELS if name in os.environ]
    if forced and not options.keep_openblas:
        print(f"{' and '.join(forced)} left out, for all contenders: they force older kernels than the processor has "
              "(--keep-openblas leaves them)")
    bench, chosen = Bench(options), options.workload or names(options.device)
    if options.profile:
        for name in chosen:
            profile(bench, name)
    elif options.scaling:
        from benchmark import scaling

        for name in chosen:
            for line in scaling.lines(bench, name):
                print(line, flush=True)
    else:
        compare(bench, chosen)
    for problem in bench.problems:
        print(f"PROBLEM: {problem}")
    return bool(bench.problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
