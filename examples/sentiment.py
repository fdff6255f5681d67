"""Is a text positive or negative? A neural bag of n-grams, trained on real reviews in seconds, or a net that reads the
words in order.

    python examples/sentiment.py --predict "A moving film." "A dull mess."
    python examples/sentiment.py --data imdb --save model --plot curves.png
    python examples/sentiment.py --load model --predict "A moving film."
    python examples/sentiment.py --model transformer          # or convolutional, or lstm
    python examples/sentiment.py --device cuda --capture --precision bfloat16     # as fast as a GPU does it

The default data sets come with `pip install "portable_nn[examples]"`; `--data reviews.csv --text-column review
--label-column stars` reads a file of your own, with labels of any kind.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # scikit-learn brings it

import portable_nn as pnn
from portable_nn import data, layers, optim
from portable_nn.data.files import write_bytes, write_json
from portable_nn.models import TextClassifier, TextPipeline
from portable_nn.models.bodies import BODIES
from portable_nn.training import EarlyStopping, History
from portable_nn.training.metrics import scores

#: Chosen on validation texts. Words with apostrophes, and marks of emotion, are tokens; n-grams are weighted by tf-idf
#: and by how much they tell the two labels apart. Short texts need the characters, which hint at words never seen.
TOKENS = r"(?u)[\w']+|[!?]"
SHORT = {"words": (1, 2), "characters": (2, 5), "character_weight": 0.4, "rescale": True, "token_pattern": TOKENS}
LONG = {"words": (1, 3), "norm": "order", "min_count": 3, "rescale": True, "token_pattern": TOKENS}
#: Bodies that read the words in order learn a vector for each. Sizes chosen on validation texts.
READERS: dict[str, dict[str, Any]] = {
    "convolutional": {"width": 64, "filters": 64, "kernel_sizes": (1, 2, 3)},
    "lstm": {"width": 64, "hidden": 64},
    "transformer": {"width": 64, "num_heads": 4, "feed_forward": 128},
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        run(options)
    except (pnn.PortableNNError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    if options.load and options.predict:  # answers need no data
        answer(pnn.load(options.load, options.device), options.predict)
        return
    texts, labels, names = read_texts(options)
    parts = split(texts, labels, options.split_salt)
    print(", ".join(f"{name}: {len(part[0]):,} texts" for name, part in parts.items()))

    started, history = time.perf_counter(), History()
    if options.load:
        pipeline = pnn.load(options.load, options.device)
        if not isinstance(pipeline, TextPipeline) or pipeline.labels != names:
            raise pnn.DataError(f"a text model of the labels {names}", f"{getattr(pipeline, 'labels', pipeline)}",
                                "pass the data that the model was trained for")
    else:
        pipeline, history = train(parts, names, options)
    seconds = time.perf_counter() - started

    result = {"seed": options.seed, "device": pipeline.model.device, "model": pipeline.model.body_name,
              "epochs": len(history), "seconds": round(seconds, 2),
              "validation": evaluate(pipeline, parts["validation"]), "test": evaluate(pipeline, parts["test"]),
              "baselines": {name: scores(logits, parts["test"][1]) for name, logits in baselines(parts).items()}}
    report(result, names)
    if options.save:
        pnn.save(pipeline, options.save)
        print(f"model saved in {options.save}")
    if options.plot:
        plot(history, result["test"]["confusion_matrix"], names, options.plot)
        print(f"learning curves and confusion matrix drawn in {options.plot}")
    if options.json:
        write_json(options.json, result)
    if options.predict:
        answer(pipeline, options.predict)


def read_texts(options: argparse.Namespace) -> tuple[list[str], np.ndarray, list[str]]:
    """The texts, the number of each one's label, and the labels by number."""
    if options.data in ("rotten_tomatoes", "imdb"):
        texts, labels = data.load_sentiment(options.data)
        names = ["negative", "positive"]
    else:
        table = data.load_csv(options.data, [options.text_column, options.label_column])
        texts, column = table[options.text_column], table[options.label_column]
        for name in (options.text_column, options.label_column):
            if blank := [row for row, value in enumerate(table[name], start=1) if not value.strip()]:
                raise pnn.DataError(f"a value of {name} in every row", f"none in row {blank[0]} of {options.data}"
                                    f" ({len(blank)} in all)", "fill or drop these rows")
        names = sorted(set(column))
        labels = np.asarray([names.index(label) for label in column], dtype=np.int64)
    if options.smoke:  # a few hundred texts, spread over the data
        step = max(1, len(texts) // 600)
        texts, labels = texts[::step], labels[::step]
    return texts, labels, names


def split(texts: list[str], labels: np.ndarray, salt: str) -> dict[str, tuple[list[str], np.ndarray]]:
    """Training, validation and test texts with their labels: 8, 1 and 1 in 10, by a hash of the text."""
    parts = {name: ([texts[i] for i in rows], labels[rows]) for name, rows in data.split_by_hash(texts, salt).items()}
    kinds = len(np.unique(labels))
    if kinds < 2 or len(np.unique(parts["train"][1])) < kinds or not all(len(part[0]) for part in parts.values()):
        raise pnn.DataError("two labels or more, each among the training texts, and texts for each part",
                            f"{len(texts)} texts with {kinds} labels", "pass more data, or another column of labels")
    return parts


def train(parts: dict[str, Any], names: list[str], options: argparse.Namespace) -> tuple[TextPipeline, History]:
    """Fit the vectorizer and the model on the training texts; the validation texts choose the epoch."""
    (texts, labels), (held_out, held_out_labels) = parts["train"], parts["validation"]
    vectorizer, body, lr = make_reader(texts, len(names), options.model)
    rows = vectorizer.fit_transform(texts, labels)
    model = TextClassifier(vectorizer.size, len(names), body=options.model, **body).to(options.device)
    what, count = ("n-grams", rows.nnz) if options.model == "bag" else ("words and marks", rows.lengths.sum())
    print(f"{vectorizer.size:,} {what}, {count / len(texts):.0f} in a text; device {model.device}")
    history = pnn.fit(model, layers.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=lr),
                      train=(rows, labels), validation=(vectorizer.transform(held_out), held_out_labels),
                      metrics=["accuracy"], callbacks=[EarlyStopping(patience=3)],
                      epochs=2 if options.smoke else options.epochs,
                      batch_size=min(128, 8 + len(texts) // 50), seed=options.seed,  # small data needs steps too
                      capture=options.capture, precision=options.precision)
    return TextPipeline(vectorizer, model, names), history


def make_reader(texts: list[str], kinds: int, model: str) -> tuple[Any, dict[str, Any], float]:
    """A vectorizer, the options of the body that reads its rows, and the learning rate."""
    if model == "bag":
        recipe = LONG if are_long(texts) else SHORT
        return data.TextVectorizer(**recipe, naive_bayes=1.0 if kinds == 2 else None), {}, 2e-3
    length = 400 if are_long(texts) else 48
    return data.TokenVectorizer(max_length=length, token_pattern=TOKENS), READERS[model], 1e-3


def evaluate(pipeline: TextPipeline, part: tuple[list[str], np.ndarray]) -> dict[str, Any]:
    """Accuracy, precision, recall, F1 and confusion matrix."""
    texts, labels = part
    return pnn.evaluate(pipeline.model, pipeline.vectorizer.transform(texts), labels)


def baselines(parts: dict[str, Any]) -> dict[str, np.ndarray]:
    """What logistic regression makes of the same split, its C chosen on the validation texts: logits by name."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    texts, labels = parts["train"]
    often = {"min_df": 2} if are_long(texts) else {}  # half the time, and no worse
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **often)
    vectorizers = {"counts of words": CountVectorizer(**often), "tf-idf of words 1-2": words}
    if not are_long(texts):
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        vectorizers["tf-idf of words 1-2, characters 2-5"] = make_union(words, characters)
    found = {}
    for name, vectorizer in vectorizers.items():
        train, validation, test = vectorizer.fit_transform(texts), *(vectorizer.transform(parts[part][0])
                                                                     for part in ("validation", "test"))
        with threadpool_limits(1, user_api="blas"):  # its vectors are long and thin: a second thread mostly waits
            models = [LogisticRegression(C=C, max_iter=1000).fit(train, labels) for C in (1, 3, 10)]
        best = max(models, key=lambda model: model.score(validation, parts["validation"][1]))
        found[f"logistic regression, {name}"] = best.decision_function(test)
    return found


def are_long(texts: list[str]) -> bool:
    """Reviews rather than sentences."""
    return sum(map(len, texts)) > 500 * len(texts)


def report(result: dict[str, Any], names: list[str]) -> None:
    """Print the figures on the test texts."""
    rows = {f"this model ({result['model']})": result["test"], **result["baselines"]}
    width = max(map(len, rows))
    print(f"\n{'test texts':{width}}  accuracy  precision  recall     F1")
    for name, row in rows.items():
        print(f"{name:{width}}  {row['accuracy']:8.4f}  {row['precision']:9.4f}  {row['recall']:6.4f} {row['f1']:6.4f}")
    width = max(9, *(len(name) for name in names))
    print(f"\n{'':{width}}  " + "  ".join(f"{'→ ' + name:>{width + 2}}" for name in names))
    for name, counts in zip(names, result["test"]["confusion_matrix"]):
        print(f"{name:{width}}  " + "  ".join(f"{count:{width + 2}}" for count in counts))
    print(f"\n{result['epochs']} epochs, {result['seconds']:.1f} s of reading texts and training")


def plot(history: History, confusion: list[list[int]], names: list[str], path: str) -> None:
    """Draw the learning curves and the confusion matrix."""
    try:
        from matplotlib.figure import Figure  # without pyplot, which wants a screen
    except ImportError as error:
        raise pnn.MissingDependencyError("matplotlib for --plot", str(error), "run: pip install matplotlib") from error

    figure = Figure(figsize=(10, 4), layout="constrained")
    curves, matrix = figure.subplots(1, 2)
    for column in ("train", "validation"):
        curves.plot(history["epoch"], history[column], marker="o", label=f"{column} loss")
    curves.plot(history["epoch"], history["accuracy"], marker="o", linestyle="--", label="validation accuracy")
    curves.set(xlabel="epoch", title="learning curves")
    curves.legend()
    matrix.imshow(confusion, cmap="Blues", vmax=2 * np.max(confusion))  # pale enough to write on
    for (row, column), count in np.ndenumerate(confusion):
        matrix.text(column, row, count, ha="center", va="center")
    places = range(len(names))
    matrix.set(xticks=places, yticks=places, xticklabels=names, yticklabels=names, xlabel="answer", ylabel="truth",
               title="test texts")
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:], dpi=120)
    write_bytes(path, picture.getvalue())


def answer(pipeline: TextPipeline, texts: list[str]) -> None:
    """Print the label of each text, and how sure the model is."""
    print()
    for text, row in zip(texts, pipeline.probabilities(texts)):
        print(f"{pipeline.labels[int(row.argmax())]} ({row.max():.1%}): {text}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a classifier of texts, compare it, save it, ask it.")
    parser.add_argument("--data", default="rotten_tomatoes", help="rotten_tomatoes, imdb, or a CSV file")
    parser.add_argument("--text-column", default="text", help="of the CSV file")
    parser.add_argument("--label-column", default="label", help="of the CSV file")
    parser.add_argument("--split-salt", default="", help="hashed with each text: another one, another split")
    parser.add_argument("--model", default="bag", choices=sorted(BODIES), help="how the model reads a text")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or auto")
    parser.add_argument("--capture", action="store_true", help="on a GPU, record each step once and replay it")
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16", "float16"],
                        help="what products compute in while training on a GPU")
    parser.add_argument("--epochs", type=int, default=30, help="at most; the validation texts choose among them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="DIR", help="write the trained model, vocabulary and labels")
    parser.add_argument("--load", metavar="DIR", help="use a saved model instead of training one")
    parser.add_argument("--plot", metavar="FILE", help="draw learning curves and confusion matrix")
    parser.add_argument("--predict", nargs="+", metavar="TEXT", help="texts to answer")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--smoke", action="store_true", help="a few hundred texts and two epochs, to see that it runs")
    options = parser.parse_args(arguments)
    if options.plot and Path(options.plot).suffix not in (".png", ".pdf", ".svg"):
        parser.error(f"--plot takes a file name in .png, .pdf or .svg, not {options.plot}")
    return options


if __name__ == "__main__":
    sys.exit(main())
