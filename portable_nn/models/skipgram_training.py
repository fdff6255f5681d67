"""Training skip-gram with negative sampling: stochastic gradient descent whose rate falls in a straight line."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, DataError, NonFiniteError
from portable_nn.backend.namespace import array_namespace
from portable_nn.data import to_tensors
from portable_nn.data.skipgrams import SkipGrams
from portable_nn.models.skipgram import SkipGram
from portable_nn.optim import SGD

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
                   final_lr: float = 1e-4, progress: bool = True) -> list[dict[str, float]]:
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
    rows = []
    for epoch in range(epochs):
        started = time.perf_counter()
        loss = _run_epoch(model, optimizer, skipgrams, epoch, rate)
        seconds = time.perf_counter() - started
        rows.append({"epoch": epoch + 1, "loss": loss, "seconds": seconds,
                     "words_per_second": skipgrams.corpus.read / seconds})
        if progress:
            print(f"epoch {epoch + 1}/{epochs}  loss {loss:.4f}  {rows[-1]['words_per_second']:,.0f} words/s  "
                  f"({seconds:.1f} s)", flush=True)
    model.eval()
    return rows


def _run_epoch(model: SkipGram, optimizer: Any, skipgrams: SkipGrams, epoch: int, rate: Falling) -> float:
    """The mean loss of a pair."""
    batches = skipgrams.epoch(epoch)
    total: Any = 0.0  # summed on the device: nothing waits for it
    pairs = 0.0
    for number, batch in enumerate(batches):
        optimizer.groups[0]["lr"] = rate.at(epoch + number / len(batches))
        tensors = to_tensors(batch, device=model.device, dtype=model.dtype)
        losses = model(tensors)                                            # (G, C)
        loss = array_namespace(losses).sum(losses)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total = total + loss.data
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
