"""PyTorch's side: eager, compiled, and on CUDA with graphs."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import torch

from benchmark.torch_models import make_model, make_optimizer
from benchmark.workloads import trains

#: Mode -> arguments of torch.compile, None for none.
MODES: dict[str, dict[str, Any] | None] = {"eager": None, "compile": {}, "captured": None,
                                           "reduce-overhead": {"mode": "reduce-overhead"}}


class TorchPeer:
    """A contender like `ours.Ours`.

    Parameters
    ----------
    precision : "float32", "tf32", "bfloat16" (autocast over float32 parameters) or "float64"
    mode : "eager", "compile", "reduce-overhead" (a mode of compile) or "captured" (a whole step in one CUDA graph)
    """

    def __init__(self, spec: dict[str, Any], device: str = "cpu", precision: str = "float32",
                 mode: str = "eager") -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        self.spec, self.device, self.captured = spec, device, mode == "captured"
        dtype = torch.float64 if precision == "float64" else torch.float32
        self.model = make_model(spec).to(device=device, dtype=dtype).train(trains(spec))
        compiling = MODES[mode]
        self.run = self.model if compiling is None else torch.compile(self.model, **compiling)
        self.cast = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
        self.optimizer = make_optimizer(spec, self.model.parameters(), self.captured) if trains(spec) else None
        self.graph: Any = None

    def put(self, batch: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
        return tuple(torch.tensor(x, device=self.device) for x in batch)

    def step(self, batch: tuple[Any, ...]) -> Any:
        """One step of the workload."""
        return self._replay(batch) if self.captured else self._step(batch)

    def _step(self, batch: tuple[Any, ...]) -> Any:
        if self.optimizer is None:
            with torch.inference_mode(), self.cast:
                return self.run(*batch)
        self.optimizer.zero_grad(set_to_none=True)
        with self.cast:
            loss = self.run(*batch)
        loss.backward()
        self.optimizer.step()
        return loss

    def _replay(self, batch: tuple[Any, ...]) -> Any:
        """Copy the batch to where the recorded step reads it, and launch that."""
        if self.graph is None:
            self._record(batch)
        for place, x in zip(self.places, batch, strict=True):
            place.copy_(x, non_blocking=True)
        self.graph.replay()
        return self.result

    def _record(self, batch: tuple[Any, ...]) -> None:
        """Three steps on another stream, as PyTorch's notes on CUDA graphs have it, and then the recording."""
        self.places = tuple(x.clone() for x in batch)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step(self.places)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self._step(self.places)

    def synchronize(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def load(self, weights: dict[str, np.ndarray]) -> None:
        state = {_own_name(name): torch.tensor(value) for name, value in weights.items()}
        self.model.load_state_dict(state)

    def weights(self) -> dict[str, np.ndarray]:
        return {_our_name(name): p.detach().cpu().numpy() for name, p in self.model.named_parameters()}

    def result_and_gradients(self, batch: tuple[Any, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if self.optimizer is None:
            return self.step(batch).cpu().numpy(), {}
        loss = self.run(*batch)
        loss.backward()
        found = {_our_name(name): _dense(p.grad) for name, p in self.model.named_parameters()}
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach().cpu().numpy(), found


def _dense(gradient: torch.Tensor) -> np.ndarray:
    return (gradient.to_dense() if gradient.is_sparse else gradient).cpu().numpy()


def _own_name(name: str) -> str:
    """The maps of the GPT's attention are Linear here."""
    return name.replace("attention.in_proj_", "attention.in_proj.")


def _our_name(name: str) -> str:
    return name.replace("attention.in_proj.", "attention.in_proj_")


def limit_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def release() -> None:
    """Give back what the allocator of the GPU keeps."""
    gc.collect()
    torch.cuda.empty_cache()


def level() -> float:
    """Bytes of the GPU that this process holds; nothing else runs on it then."""
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return float(total - free)


def forget_peak() -> None:
    """What was held stays held, so the level is the peak."""


peak = level
