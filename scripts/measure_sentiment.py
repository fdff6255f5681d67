"""The sentiment example over several seeds: mean test accuracy, and how sure its lead over the best baseline is.

    python scripts/measure_sentiment.py --data rotten_tomatoes --seeds 0 1 2 3 4
    python scripts/measure_sentiment.py --data imdb --seeds 0 1 2
    python scripts/measure_sentiment.py --device cuda --capture --precision bfloat16

Everything is as `examples/sentiment.py` does it by default; its options are taken too. The interval is a paired
bootstrap's: test texts are drawn again with replacement, the same for both models, and the difference of their
accuracies is looked at each time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import sentiment

from portable_nn.training.metrics import labels_of


def paired_bootstrap(first: np.ndarray, second: np.ndarray, *, draws: int = 10_000, level: float = 0.95,
                     seed: int = 0) -> tuple[float, float, float]:
    """Mean difference of two models' scores on the same examples, and its bootstrap interval.

    Parameters
    ----------
    first, second : array (N,)
        Score of each example: 0 or 1 for wrong or right, or a share of seeds.
    draws : int
        Number of samples of N examples with replacement.
    level : float
        Share of the samples' means that lies in the interval, as much left out on either side.

    Returns
    -------
    (difference, low, high)

    References
    ----------
    B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, section 13.3 (percentile interval).
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = [differences[rng.integers(len(differences), size=len(differences))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(differences.mean()), float(low), float(high)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="rotten_tomatoes", help="as the example has it; so for all its other options")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    own, others = parser.parse_known_args(arguments)
    runs = [sentiment.parse(["--data", own.data, "--seed", str(seed), *others]) for seed in own.seeds]
    texts, labels, names = sentiment.read_texts(runs[0])
    parts = sentiment.split(texts, labels, runs[0].split_salt)
    truth = parts["test"][1]
    hits = {name: labels_of(logits) == truth for name, logits in sentiment.baselines(parts).items()}
    for name, right in hits.items():
        print(f"{right.mean():.4f}  {name}")
    ours = []
    for options in runs:
        started = time.perf_counter()
        pipeline, _ = sentiment.train(parts, names, options)
        ours.append(labels_of(pipeline.logits(parts["test"][0])) == truth)
        print(f"{ours[-1].mean():.4f}  seed {options.seed}, {time.perf_counter() - started:.1f} s", flush=True)
    best = max(hits, key=lambda name: hits[name].mean())
    accuracies = [right.mean() for right in ours]
    print(f"\n{np.mean(accuracies):.4f}  mean of {len(ours)} seeds, {np.std(accuracies):.4f} their standard deviation")
    difference, low, high = paired_bootstrap(np.mean(ours, axis=0), hits[best])
    print(f"{difference:+.4f}  over {best}; 95 % of a paired bootstrap: {low:+.4f} to {high:+.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
