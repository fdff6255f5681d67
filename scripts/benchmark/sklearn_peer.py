"""scikit-learn's MLPClassifier, for the MLPs: its `fit` beside ours, the same net, batches and epochs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmark.workloads import learning_rate


class SklearnPeer:
    """A contender whose whole `fit` is timed; single steps, through `partial_fit`, serve the parity check alone.

    Its Adam adds eps before the correction of the second moment, PyTorch's after: the check takes an eps next to 0.
    """

    def __init__(self, spec: dict[str, Any], device: str = "cpu", precision: str = "float32", mode: str = "fit",
                 eps: float = 1e-8) -> None:
        if spec["kind"] != "mlp" or device != "cpu":
            raise ImportError("scikit-learn has MLPs alone, on the CPU")
        self.spec, self.dtype = spec, "float64" if precision == "float64" else "float32"
        self.options = {"hidden_layer_sizes": spec["sizes"][1:-1], "alpha": 0.0, "batch_size": spec["batch"],
                        "learning_rate_init": learning_rate(spec), "epsilon": eps, "random_state": 0, "tol": 0.0}
        self.classes = np.arange(spec["sizes"][-1])
        self.net = self._fresh(np.zeros((spec["batch"], spec["sizes"][0]), dtype=self.dtype))

    def _fresh(self, x: np.ndarray) -> MLPClassifier:
        """A net whose weights are there to be set."""
        net = MLPClassifier(**self.options)
        net.partial_fit(x, np.resize(self.classes, len(x)), classes=self.classes)
        return net

    def fit(self, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        """Train a new net from the beginning."""
        net = MLPClassifier(**self.options, max_iter=epochs, n_iter_no_change=epochs + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(x, y)

    def put(self, batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(x.copy() for x in batch)

    def step(self, batch: tuple[np.ndarray, ...]) -> None:
        self.net.partial_fit(*batch)

    def synchronize(self) -> None:
        pass

    def load(self, weights: dict[str, np.ndarray]) -> None:
        for number in range(len(self.net.coefs_)):
            self.net.coefs_[number] = weights[f"{2 * number}.weight"].T.copy()
            self.net.intercepts_[number] = weights[f"{2 * number}.bias"].copy()
        self.net.__dict__.pop("_optimizer", None)  # made anew over these arrays

    def weights(self) -> dict[str, np.ndarray]:
        return self._named(self.net.coefs_, self.net.intercepts_)

    def result_and_gradients(self, batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """From one step, which is then undone: Adam's first moment after it is the gradient's tenth."""
        before = self.weights()
        self.step(batch)
        loss, moments, layers = self.net.loss_, self.net._optimizer.ms, len(self.net.coefs_)
        found = self._named([10 * m for m in moments[:layers]], [10 * m for m in moments[layers:]])
        self.load(before)
        return np.asarray(loss), found

    def _named(self, weights: list[np.ndarray], biases: list[np.ndarray]) -> dict[str, np.ndarray]:
        found = {f"{2 * number}.weight": value.T.copy() for number, value in enumerate(weights)}
        return found | {f"{2 * number}.bias": value.copy() for number, value in enumerate(biases)}


def limit_threads(threads: int) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
