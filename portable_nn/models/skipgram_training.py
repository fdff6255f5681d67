"""Training skip-gram with negative sampling: stochastic gradient descent whose rate falls in a straight line."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from portable_nn.backend.devices import on_device, to_numpy
from portable_nn.backend.errors import ArgumentError, DataError, NonFiniteError
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.precision import computing_in
from portable_nn.data import to_tensors
from portable_nn.data.skipgrams import SkipGrams
from portable_nn.models.skipgram import SkipGram
from portable_nn.optim import SGD
from portable_nn.optim.scaling import scaled_loss
from portable_nn.training.captured import capture as captured

#: Steps between two looks at the loss, for which a device must wait.
_LOOK = 50


@dataclass(frozen=True)
class Falling:
    """The learning rate of a step: from `lr` at epoch 0 down to `final_lr` at the end, within each epoch too."""

    lr: float
    final_lr: float
    epochs: int

    def at(self, epoch: float) -> float:
        """The rate at a moment in epochs, such as 1.5."""
        return self.lr + (self.final_lr - self.lr) * min(epoch / self.epochs, 1.0)


def train_skipgram(model: SkipGram, skipgrams: SkipGrams, *, epochs: int = 5, lr: float = 0.025,
                   final_lr: float = 1e-4, capture: bool = False, precision: str | None = None,
                   progress: bool = True) -> list[dict[str, float]]:
    """Train a model on the batches of a corpus, on the device where the model is.

    Each word's loss counts in full, as if one word were stepped at a time, so the rates are word2vec's.

    Parameters
    ----------
    model : SkipGram
        Made for the corpus's vocabulary. Values not drawn yet are, from the seed of `skipgrams`.
    skipgrams : SkipGrams
    epochs : int
    lr, final_lr : float
        Learning rate at the beginning and at the end.
    capture, precision
        As in `fit`: record each step on a GPU, and what matrix products may compute in there. Those of small blocks,
        as `SkipGrams` makes them, are the loss's own, in the model's dtype.
    progress : bool
        Print a line per epoch.

    Returns
    -------
    list of dict
        For each epoch its number, the mean loss of a pair with its negatives, the seconds, and the words a second, rare
        and passed-over ones counted too, as gensim counts them.

    Raises
    ------
    ArgumentError
        The model is for another vocabulary, or a number is out of range.
    DataError
        The texts have no pair of words.
    NonFiniteError
        The loss has become NaN or infinite.
    """
    if model.vocabulary_size != len(skipgrams.corpus.words):
        raise ArgumentError(f"a model of vocabulary_size={len(skipgrams.corpus.words)}, the corpus's",
                            f"{model.vocabulary_size}", "build the model with vocabulary_size=len(corpus.words)")
    if type(epochs) is not int or epochs < 1 or not 0 <= final_lr <= lr < math.inf:
        raise ArgumentError("epochs of 1 or more, and 0 ≤ final_lr ≤ lr", f"epochs={epochs}, lr={lr}, {final_lr=}",
                            "pass for example epochs=5, lr=0.025, final_lr=1e-4")
    if not model.words.weight.is_initialized:
        model.initialize(skipgrams.seed)
    rate = Falling(lr, final_lr, epochs)
    optimizer = SGD(model.parameters(), lr=lr)
    model.train()
    step: Any = _Step(model, optimizer)
    step = captured(step) if capture else step
    with on_device(model.device), computing_in(precision), scaled_loss(optimizer, precision, model.device):
        rows = [_run_epoch(model, optimizer, step, skipgrams, epoch, rate, progress) for epoch in range(epochs)]
    model.eval()
    return rows


class _Step:
    """What one step does on the device; called with a batch of Tensors, it gives the sum of the losses."""

    def __init__(self, model: SkipGram, optimizer: SGD) -> None:
        self.model, self.optimizer = model, optimizer

    def __call__(self, batch: Any) -> Any:
        losses = self.model(batch)                                         # (G, C)
        loss = array_namespace(losses).sum(losses)
        scaler = self.optimizer.loss_scaler
        (loss if scaler is None else scaler.scale(loss)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.data


def _run_epoch(model: SkipGram, optimizer: SGD, step: Any, skipgrams: SkipGrams, epoch: int, rate: Falling,
               progress: bool) -> dict[str, float]:
    """One epoch, and what came of it."""
    started = time.perf_counter()
    loss = _mean_loss(model, optimizer, step, skipgrams, epoch, rate)
    seconds = time.perf_counter() - started
    speed = skipgrams.corpus.read / seconds
    if progress:
        print(f"epoch {epoch + 1}/{rate.epochs}  loss {loss:.4f}  {speed:,.0f} words/s  ({seconds:.1f} s)", flush=True)
    return {"epoch": epoch + 1, "loss": loss, "seconds": seconds, "words_per_second": speed}


def _mean_loss(model: SkipGram, optimizer: SGD, step: Any, skipgrams: SkipGrams, epoch: int, rate: Falling) -> float:
    """Train for an epoch; the mean loss of a pair."""
    batches = skipgrams.epoch(epoch)
    total: Any = 0.0  # summed on the device: nothing waits for it
    pairs = 0.0
    for number, batch in enumerate(batches):
        optimizer.groups[0]["lr"] = rate.at(epoch + number / len(batches))
        total = total + step(to_tensors(batch, device=model.device, dtype=model.dtype))
        if number % _LOOK == 0:
            _check_finite(total, epoch)
        pairs += float(batch.negative.sum()) * skipgrams.shared / skipgrams.negatives
    if not pairs:
        raise DataError("words with others beside them", "none left in this epoch",
                        "pass more text, or sample=0, which keeps frequent words")
    return _check_finite(total, epoch) / pairs


def _check_finite(total: Any, epoch: int) -> float:
    value = float(to_numpy(total))
    if not math.isfinite(value):
        raise NonFiniteError("finite losses", f"{value} in epoch {epoch + 1}",
                             "lower lr, or batch_words of the SkipGrams")
    return value
