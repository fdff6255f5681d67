"""Words and their vectors, on the host: nearest words, analogies, and word2vec's files in and out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, DataError, FileError, ShapeError
from portable_nn.data.word2vec_files import read_word2vec, write_word2vec
from portable_nn.models.registry import DAMAGED


class WordVectors:
    """A vector for each word; `models.save` keeps them, and so do word2vec's formats.

    Parameters
    ----------
    words : sequence of str
        V distinct words, as a rule the most frequent first.
    vectors : floating array (V, D)
        Of any library; kept as float32 on the host.

    Attributes
    ----------
    words : list of str
    vectors : NumPy float32 array (V, D)
        Read-only.

    Raises
    ------
    ArgumentError, ShapeError, DataError
        Words are no strings, none, or repeated; vectors are not one for each word, or not finite.

    Examples
    --------
    >>> vectors = WordVectors(["good", "fine", "bad"], np.asarray([[1.0, 0.1], [1.0, 0.2], [-1.0, 0.1]]))
    >>> vectors.nearest("good", 1)[0][0]
    'fine'
    >>> vectors["bad"]
    array([-1. ,  0.1], dtype=float32)
    """

    def __init__(self, words: Sequence[str], vectors: Any) -> None:
        if isinstance(words, (str, bytes)) or not all(isinstance(word, str) for word in words) or not len(words):
            raise ArgumentError("words as a sequence of str", repr(words)[:60], "pass the vocabulary as a list")
        table = to_numpy(vectors)
        if table.ndim != 2 or len(table) != len(words) or not table.shape[1] or table.dtype.kind != "f":
            raise ShapeError(f"floating vectors of shape ({len(words)}, D), one for each word",
                             f"{table.dtype} {table.shape}", "pass one row per word")
        self.words = list(words)
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) < len(self.words):
            raise DataError("distinct words", f"{len(self.words) - len(self._numbers)} repeated", "drop them")
        if not np.isfinite(table).all():
            raise DataError("finite vectors", "NaN or infinity", "train again with a lower learning rate")
        self.vectors = np.array(table, dtype=np.float32)
        self.vectors.flags.writeable = False
        self.directions = unit_rows(self.vectors)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector (D,) of a word; DataError, with words spelled alike, for an unknown one."""
        return self.vectors[self.number(word)]

    def number(self, word: str) -> int:
        """The row of a word; DataError for an unknown one."""
        number = self._numbers.get(word) if isinstance(word, str) else None
        if number is None:
            alike = difflib.get_close_matches(word, self.words, n=3) if isinstance(word, str) else []
            raise DataError(f"a word among the {len(self)} known ones", repr(word),
                            f"try one of {alike}" if alike else "test first: word in vectors")
        return number

    def similarity(self, word: str, other: str) -> float:
        """The cosine of the angle between two words' vectors."""
        return float(self.directions[self.number(word)] @ self.directions[self.number(other)])

    def nearest(self, word: Any, count: int = 10) -> list[tuple[str, float]]:
        """The words most like `word`, a word or a vector (D,), with their cosines, the nearest first.

        A word is not among its own neighbours.
        """
        if isinstance(word, str):
            number = self.number(word)
            return self._closest(self.directions[number], count, {number})
        vector = np.asarray(word, dtype=np.float32)
        if vector.shape != self.vectors.shape[1:]:
            raise ShapeError(f"a word, or a vector of shape {self.vectors.shape[1:]}", f"{vector.shape}",
                             "pass a row of vectors")
        return self._closest(unit_rows(vector[None])[0], count, set())

    def analogy(self, a: str, b: str, c: str, count: int = 1) -> list[tuple[str, float]]:
        """What is to c as b is to a: the words nearest to b - a + c, all of length 1, these three excepted.

        Returns
        -------
        list of (word, cosine)
            `analogy("man", "king", "woman")` begins with "queen" where all goes well.

        Source: Mikolov et al., "Linguistic regularities in continuous space word representations", 2013 (3CosAdd).
        """
        first, second, third = map(self.number, (a, b, c))
        target = self.directions[second] - self.directions[first] + self.directions[third]
        return self._closest(unit_rows(target[None])[0], count, {first, second, third})

    def _closest(self, direction: np.ndarray, count: int, without: set[int]) -> list[tuple[str, float]]:
        if type(count) is not int or count < 1:
            raise ArgumentError("count as a positive integer", repr(count), "pass for example count=10")
        cosines = self.directions @ direction
        most = min(count + len(without), len(self))
        best = np.argpartition(-cosines, most - 1)[:most]
        best = best[np.lexsort((best, -cosines[best]))]
        return [(self.words[i], float(cosines[i])) for i in best if int(i) not in without][:count]

    def save_word2vec(self, path: str | Path, *, binary: bool | None = None) -> None:
        """Write word2vec's format, binary for names in `.bin` unless said; see `data.word2vec_files`."""
        write_word2vec(path, self.words, self.vectors, binary=binary)

    @classmethod
    def load_word2vec(cls, path: str | Path, *, binary: bool | None = None, errors: str = "strict") -> WordVectors:
        """Read word2vec's format, as `save_word2vec`, word2vec.c and gensim write it; see `data.word2vec_files`."""
        return cls(*read_word2vec(path, binary=binary, errors=errors))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`(config, arrays)`: words for JSON, vectors for safetensors."""
        return {"type": "WordVectors", "words": self.words}, {"vectors": self.vectors}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> WordVectors:
        """Rebuild from `state()`; FileError where the two are damaged or do not fit together."""
        words = config.get("words")
        if not isinstance(words, list) or list(arrays) != ["vectors"] or arrays["vectors"].dtype != np.float32:
            raise FileError("a list of words, and float32 vectors alone", f"{type(words).__name__}, {sorted(arrays)}",
                            DAMAGED)
        return cls(words, arrays["vectors"])

    def __repr__(self) -> str:
        return f"WordVectors({len(self)} words, {self.vectors.shape[1]} dimensions)"


def unit_rows(table: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays one."""
    lengths = np.sqrt(np.vecdot(table, table, axis=-1, dtype=np.float64))[:, None]
    return (table / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
