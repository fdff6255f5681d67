"""Bodies that read words in order: the same on every backend, blind to padding, and they learn what order means."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.data import TokenRows, TokenVectorizer
from portable_nn.layers import CrossEntropyLoss
from portable_nn.models import TextClassifier, TextPipeline, load, save
from portable_nn.models.bodies import BODIES
from portable_nn.optim import Adam
from portable_nn.training import evaluate, fit, predict
from tests.helpers import to_numpy

SMALL = {"convolutional": {"width": 6, "filters": 4, "kernel_sizes": (1, 3), "pooling": "both"},
         "lstm": {"width": 6, "hidden": 4, "num_layers": 2, "pooling": "max"},
         "transformer": {"width": 8, "num_heads": 2, "feed_forward": 12, "num_layers": 2}}
STILL = {"word_dropout": 0.0, "embedding_dropout": 0.0, "dropout": 0.0}
QUIET = {body: {**SMALL[body], **STILL, **({"attention_dropout": 0.0} if body == "transformer" else {})}
         for body in SMALL}
#: Of lengths 5, 3, 1 and 0.
ROWS = TokenRows(np.asarray([[2, 3, 4, 5, 6], [7, 1, 3, 0, 0], [4, 0, 0, 0, 0], [0] * 5], dtype=np.int32),
                 np.asarray([5, 3, 1, 0], dtype=np.int32))
each_body = pytest.mark.parametrize("body", SMALL)


def test_every_body_but_the_bag_is_here():
    assert set(SMALL) == set(BODIES) - {"bag"}


@each_body
def test_each_backend_gives_numpys_logits_and_gradients(backend, body):
    model = TextClassifier(9, 3, body=body, **QUIET[body], deviation=1.0).initialize(1)
    state = model.state_dict()
    labels = np.asarray([0, 2, 1, 1])
    expected = model(ROWS)
    CrossEntropyLoss()(model(TokenRows(*map(Tensor, ROWS))), Tensor(labels)).backward()
    gradients = {name: np.array(to_numpy(p.grad)) for name, p in model.named_parameters()}
    assert all(np.isfinite(g).all() and g.any() for name, g in gradients.items()
               if not name.endswith("in_proj_bias"))  # whose part of the keys changes nothing
    moved = TextClassifier(**model.config())
    moved.load_state_dict(state)
    moved.to(backend.device, xp=backend.xp)
    rows = TokenRows(*map(backend.asarray, ROWS))
    backend.assert_close(moved(rows), expected, rtol=1e-4, atol=1e-5)
    CrossEntropyLoss()(moved(TokenRows(*map(Tensor, rows))), Tensor(backend.asarray(labels))).backward()
    for name, parameter in moved.named_parameters():
        backend.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)


@each_body
def test_padding_and_neighbours_change_nothing(body):
    model = TextClassifier(9, 3, body=body, **SMALL[body], deviation=1.0).initialize(1).eval()
    together = model(ROWS)
    for row, length in enumerate(ROWS.lengths):
        for width in (max(1, length), length + 4):
            ids = np.full((1, width), 8, dtype=np.int32)  # what stands behind the end is never looked at
            ids[0, :length] = ROWS.ids[row, :length]
            alone = model(TokenRows(ids, ROWS.lengths[row:row + 1]))
            np.testing.assert_allclose(alone, together[row:row + 1], rtol=1e-4, atol=1e-5)


@each_body
def test_it_learns_what_a_bag_cannot_see(body):
    rng = np.random.default_rng(0)
    order = rng.integers(0, 2, size=200)
    fill = [" ".join(rng.choice(["the", "plot", "is", "film"], size=rng.integers(1, 5))) for _ in order]
    texts = [f"{words} not good but bad" if label else f"{words} not bad but good" for words, label in zip(fill, order)]
    vectorizer = TokenVectorizer()
    rows = vectorizer.fit_transform(texts)
    model = TextClassifier(vectorizer.size, body=body, **QUIET[body])
    fit(model, CrossEntropyLoss(), Adam(model.parameters(), lr=0.01), train=(rows, order), epochs=25, batch_size=20,
        progress=False)
    assert evaluate(model, rows, order)["accuracy"] == 1.0


@each_body
def test_words_are_left_out_in_training_alone(body):
    model = TextClassifier(9, body=body, **{**QUIET[body], "word_dropout": 0.5}).initialize(1)
    assert not np.allclose(model(ROWS), model(ROWS))
    model.eval()
    np.testing.assert_array_equal(model(ROWS), model(ROWS))


@each_body
def test_a_pipeline_comes_back(tmp_path, backend, body):
    texts = ["a fine film", "dull", "fine <br /> acting, not dull"]
    vectorizer = TokenVectorizer().fit(texts)
    model = TextClassifier(vectorizer.size, body=body, **SMALL[body]).initialize(3)
    pipeline = TextPipeline(vectorizer, model, ["no", "yes"])
    expected = pipeline.logits(texts)
    model.to(backend.device, xp=backend.xp)
    save(pipeline, tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.logits(texts), expected)
    assert again.vectorizer.vocabulary() == vectorizer.vocabulary()
    assert repr(again.model) == repr(TextClassifier(**model.config()).eval())


def test_a_pipeline_wants_the_vectorizer_that_its_body_reads():
    vectorizer = TokenVectorizer().fit(["a film"])
    with pytest.raises(ArgumentError, match="a TextVectorizer, which the body 'bag' reads"):
        TextPipeline(vectorizer, TextClassifier(vectorizer.size), [0, 1])


@pytest.mark.parametrize(("body", "options"), [
    ("convolutional", {"kernel_sizes": ()}), ("convolutional", {"kernel_sizes": (0,)}),
    ("convolutional", {"kernel_sizes": 3}), ("convolutional", {"filters": 0}), ("lstm", {"hidden": 0}),
    ("lstm", {"pooling": "last"}), ("lstm", {"num_layers": 0}), ("transformer", {"num_heads": 3}),
    ("transformer", {"feed_forward": 0}), ("lstm", {"width": 0}), ("transformer", {"word_dropout": 2.0}),
    ("convolutional", {"depth": 1})])
def test_bad_options(body, options):
    with pytest.raises(ArgumentError, match="expected"):
        TextClassifier(9, body=body, **options)


@each_body
def test_bad_input(body):
    model = TextClassifier(5, body=body, **SMALL[body])
    with pytest.raises(DTypeError, match="TokenVectorizer"):
        model(ROWS.ids)
    with pytest.raises(DataError, match="from 0 to 4"):
        predict(model, ROWS)
    with pytest.raises(ShapeError, match=r"\(B, T\)"):
        model(TokenRows(ROWS.ids[0], ROWS.lengths))
    with pytest.raises(ShapeError, match="length"):
        model(TokenRows(ROWS.ids, ROWS.lengths[:2]))
    with pytest.raises(DTypeError, match="integer"):
        model(TokenRows(ROWS.ids.astype(np.float32), ROWS.lengths))
