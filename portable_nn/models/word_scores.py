"""How good word vectors are: ranks of similarity beside people's, and analogies answered; counted as gensim counts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from portable_nn.backend.errors import DataError, FileError
from portable_nn.data.files import as_path
from portable_nn.models.word_vectors import WordVectors, unit_rows

#: Questions answered at a time.
_PART = 512


class WordSimilarity(NamedTuple):
    """Spearman's rank correlation over the pairs whose words are both known, and their number of all pairs."""

    spearman: float
    pairs: int
    of: int


class AnalogyAccuracy(NamedTuple):
    """The share of right answers to the questions whose words are all known, and their number of all questions."""

    accuracy: float
    questions: int
    of: int


def word_similarity(vectors: WordVectors, path: str | Path) -> WordSimilarity:
    """Compare cosines with people's judgements, as in WordSim-353.

    Parameters
    ----------
    vectors : WordVectors
        Upper and lower case are one; of two words that differ in it alone, the first one counts.
    path : str or Path
        Lines `word⇥word⇥number`; those that begin with # or have no number are passed over.

    Raises
    ------
    FileError, DataError
        The file cannot be read; fewer than two of its pairs are known.
    """
    from scipy.stats import spearmanr

    numbers = _upper_case(vectors)
    judged, cosines, count = [], [], 0
    for line in _lines(path):
        first, second, judgement = (*line.split("\t"), "", "", "")[:3]
        try:
            value = float(judgement)
        except ValueError:
            continue
        count += 1
        a, b = numbers.get(first.upper()), numbers.get(second.upper())
        if a is not None and b is not None:
            judged.append(value)
            cosines.append(float(vectors.directions[a] @ vectors.directions[b]))
    if len(judged) < 2:
        raise DataError(f"two pairs or more of {path} among {len(vectors)} words", f"{len(judged)}",
                        "train on more text, or with a lower min_count")
    return WordSimilarity(float(spearmanr(judged, cosines).statistic), len(judged), count)


def analogy_accuracy(vectors: WordVectors, path: str | Path) -> AnalogyAccuracy:
    """Answer analogies, as those of questions-words.txt, by 3CosAdd; see `WordVectors.analogy`.

    Parameters
    ----------
    vectors : WordVectors
        Upper and lower case are one.
    path : str or Path
        Lines `a b c d`: a is to b as c is to d; those that begin with a colon are titles.

    Raises
    ------
    FileError, DataError
        The file cannot be read; none of its questions is known.
    """
    numbers = _upper_case(vectors)
    questions = [line.upper().split() for line in _lines(path) if not line.startswith(":")]
    questions = [words for words in questions if len(words) == 4]
    known = np.asarray([[numbers[word] for word in words] for words in questions
                        if all(word in numbers for word in words)], dtype=np.int64).reshape(-1, 4)
    if not len(known):
        raise DataError(f"a question of {path} among {len(vectors)} words", "none",
                        "train on more text, or with a lower min_count")
    # As gensim does, the words that may answer are the first of each spelling in upper case.
    candidates = np.asarray(sorted(numbers.values()), dtype=np.int64)
    place = np.full(len(vectors), -1, dtype=np.int64)
    place[candidates] = np.arange(len(candidates))
    directions, right = vectors.directions[candidates], 0
    for start in range(0, len(known), _PART):
        a, b, c, d = place[known[start:start + _PART]].T
        cosines = unit_rows(directions[b] - directions[a] + directions[c]) @ directions.T
        rows = np.arange(len(a))
        for asked in (a, b, c):
            cosines[rows, asked] = -np.inf
        right += int((cosines.argmax(axis=1) == d).sum())
    return AnalogyAccuracy(right / len(known), len(known), len(questions))


def _upper_case(vectors: WordVectors) -> dict[str, int]:
    """The row of each word in upper case, the first one of those that it stands for."""
    return {word.upper(): len(vectors) - 1 - row for row, word in enumerate(reversed(vectors.words))}


def _lines(path: str | Path) -> list[str]:
    try:
        text = as_path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"a readable text file {path}", f"{error}", "check the path") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
