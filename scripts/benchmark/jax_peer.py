"""JAX's side: a whole step (loss, gradients, update) in one `jit`, its arrays donated."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.jax_models import make_loss
from benchmark.shapes import draw_weights
from benchmark.workloads import learning_rate, trains

_PRECISIONS = {"tf32": "tensorfloat32", "float32": "highest"}


class JaxPeer:
    """A contender like `ours.Ours`; `precision` as PyTorch's, bfloat16 by casting parameters inside the step."""

    def __init__(self, spec: dict[str, Any], device: str = "cpu", precision: str = "float32",
                 mode: str = "eager") -> None:
        jax.config.update("jax_enable_x64", precision == "float64")
        jax.config.update("jax_default_matmul_precision", _PRECISIONS.get(precision))
        self.spec, self.dtype = spec, "float64" if precision == "float64" else "float32"
        self.cast = functools.partial(jax.tree.map, _to_half) if precision == "bfloat16" else lambda tree: tree
        self.load(draw_weights(spec, self.dtype))
        # Parameters and state are given away; a forward pass keeps its parameters.
        self.compiled = jax.jit(self._train, donate_argnums=(0, 1)) if trains(spec) else jax.jit(self._infer)

    def compile(self, batch: tuple[Any, ...]) -> None:
        """Compile for such batches now, not at the first step."""
        arguments = (self.parameters, self.state, batch) if trains(self.spec) else (self.parameters, batch)
        self.compiled = self.compiled.lower(*arguments).compile()

    def put(self, batch: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
        return tuple(jnp.asarray(x) for x in batch)

    def step(self, batch: tuple[Any, ...]) -> Any:
        """One step of the workload."""
        if not trains(self.spec):
            self.result = self.compiled(self.parameters, batch)
        else:
            self.parameters, self.state, self.result = self.compiled(self.parameters, self.state, batch)
        return self.result

    def _loss(self, parameters: Any, batch: Any, key: Any) -> Any:
        result = make_loss(self.spec)(self.cast(parameters), self.cast(batch), key)
        return result.astype(self.dtype)

    def _infer(self, parameters: Any, batch: Any) -> Any:
        return self._loss(parameters, batch, jax.random.key(0))

    def _train(self, parameters: Any, state: Any, batch: Any) -> Any:
        """Adam and AdamW as PyTorch has them; plain SGD."""
        first, second, count, key = state
        key, drawn = jax.random.split(key)
        loss, gradients = jax.value_and_grad(self._loss)(parameters, batch, drawn)
        count, rate = count + 1, learning_rate(self.spec)
        if self.spec["optimizer"] == "sgd":
            return jax.tree.map(lambda p, g: p - rate * g, parameters, gradients), (first, second, count, key), loss
        shrink = 1 - rate * (0.01 if self.spec["optimizer"] == "adamw" else 0.0)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        size, root = rate / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
        parameters = jax.tree.map(lambda p, m, v: p * shrink - size * m / (jnp.sqrt(v) / root + 1e-8), parameters,
                                  first, second)
        return parameters, (first, second, count, key), loss

    def synchronize(self) -> None:
        jax.block_until_ready((self.parameters, self.result))

    def load(self, weights: dict[str, np.ndarray]) -> None:
        self.parameters = {name: jnp.asarray(value) for name, value in weights.items()}
        adam = trains(self.spec) and self.spec["optimizer"] != "sgd"
        first, second = ({name: jnp.zeros_like(p) for name, p in self.parameters.items()} if adam else ()
                         for _ in range(2))
        self.state = (first, second, jnp.zeros((), dtype=self.dtype), jax.random.key(0))

    def weights(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in self.parameters.items()}

    def result_and_gradients(self, batch: tuple[Any, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if not trains(self.spec):
            return np.asarray(self.step(batch)), {}
        loss, gradients = jax.jit(jax.value_and_grad(self._loss))(self.parameters, batch, jax.random.key(0))
        return np.asarray(loss), {name: np.asarray(g) for name, g in gradients.items()}


def _to_half(x: Any) -> Any:
    return x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x


def limit_threads(threads: int) -> None:
    """XLA counts the processors it may run on, and reads NPROC; `processes` sets both before the import."""


def release() -> None:
    """Drop what was compiled for other sizes."""
    jax.clear_caches()


def level() -> float:
    """Bytes of the GPU in use by arrays."""
    return float(jax.devices()[0].memory_stats()["bytes_in_use"])


def forget_peak() -> None:
    """It cannot be reset; nothing larger ran before."""


def peak() -> float:
    return float(jax.devices()[0].memory_stats()["peak_bytes_in_use"])
