"""Whole training steps beside PyTorch's, in turn.

    python scripts/bench.py [--workload NAME ...] [--threads N]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark.processes import FORCED_KERNELS, Missing, Process
from benchmark.timing import compare
from benchmark.workloads import WORKLOADS, names


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, metavar="NAME", help=", ".join(WORKLOADS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="the longest that two contenders take turns")
    parser.add_argument("--peer", nargs="+", default=["torch eager"])
    parser.add_argument("--overhead", action="store_true", help="what one small recorded operation costs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--core", action="store_true", help="as without the extra [fast]: its import fails in ours")
    parser.add_argument("--keep-openblas", action="store_true",
                        help=f"keep {' and '.join(FORCED_KERNELS)} as they are set")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.overhead:
        from benchmark import overhead

        overhead.run(options.json)
        return 0
    forced = [name for name in FORCED_KERNELS if name in os.environ]
    if forced and not options.keep_openblas:
        print(f"{' and '.join(forced)} left out, for all contenders (--keep-openblas keeps them)")
    for name in options.workload or names(options.device):
        setting = {"spec": WORKLOADS[name], "device": options.device, "precision": "float32"}
        core = {"PORTABLE_NN_BENCH_CORE": "1"} if options.core else {}
        with Process("ours", options.threads, keep_forced=options.keep_openblas, extra=core) as ours:
            ours.ask("build", **setting)
            for peer_name in options.peer:
                try:
                    with Process(peer_name, options.threads, keep_forced=options.keep_openblas) as peer:
                        peer.ask("build", **setting)
                        found = compare(ours, peer, options.seconds)
                except Missing as error:
                    print(f"{peer_name}: {error}")
                    continue
                print(f"{name:13s} ours {1e3 * found.ours:9.3f} ms  {peer_name:13s} {1e3 * found.peer:9.3f} ms"
                      f"  ratio {found.ratio:6.3f} ± {100 * found.error:.1f} %  ({found.pairs} pairs)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
