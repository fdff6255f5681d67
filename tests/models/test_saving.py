"""Models in folders: what was saved comes back, what is damaged is refused, and no moment is half a save."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError, FileError
from portable_nn.data import TextVectorizer, files
from portable_nn.layers import Linear
from portable_nn.models import MLP, TextClassifier, TextPipeline, load, save

TEXTS = ["a fine film", "a dull film", "fine <br /> acting"]


def make_pipeline(seed=0):
    vectorizer = TextVectorizer(words=(1, 2), characters=(2, 3), naive_bayes=1.0, norm="order",
                                rescale=True).fit(TEXTS, [1, 0, 1])
    return TextPipeline(vectorizer, TextClassifier(vectorizer.size, width=2).initialize(seed), ["négatif", "positif"])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a small model; tests change copies of it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    save(MLP([3, 4, 2], dropout=0.25).initialize(5), folder)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "model")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def claim(folder, **changes):
    """Change the configuration, and let it vouch for whatever weights are there."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["weights"]["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    config["model"]["arguments"].update(changes)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back(tmp_path, dtype):
    model = MLP([3, 4, 2], activation="gelu", dropout=0.5).initialize(1).to(dtype=dtype)
    save(model, tmp_path / "new" / "folder")
    again = load(tmp_path / "new" / "folder")
    assert sorted(content(tmp_path / "new" / "folder")) == ["config.json", "model.safetensors"]
    assert repr(again) == repr(model) and again.dtype == dtype and not again.training and model.training
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], x)


def test_a_pipeline_comes_back_with_vocabulary_and_labels(tmp_path):
    pipeline = make_pipeline()
    save(pipeline, tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.logits(TEXTS), pipeline.logits(TEXTS))
    assert again.labels == pipeline.labels and again.vectorizer.vocabulary() == pipeline.vectorizer.vocabulary()


def test_a_text_that_is_no_unicode_comes_back(tmp_path):
    vectorizer = TextVectorizer(token_pattern=r"\S+").fit(["film \ud800x", "a film"])  # as lenient decoders leave it
    save(vectorizer, tmp_path)
    assert load(tmp_path).vocabulary() == vectorizer.vocabulary()


def test_a_model_of_another_library_is_saved_from_its_arrays(backend, tmp_path):
    model = MLP([3, 2]).initialize(2)
    expected = model.state_dict()
    model.to(backend.device, xp=backend.xp)
    save(model, tmp_path)
    for name, x in load(tmp_path).state_dict().items():
        np.testing.assert_array_equal(x, expected[name])


def test_other_files_stay(folder):
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    save(MLP([2, 2]), folder)
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine" and load(folder).sizes == (2, 2)


def test_a_class_of_ones_own_is_refused_and_nothing_written(tmp_path):
    class Mine(MLP):
        pass

    for model in (Mine([2, 2]), Linear(2, 2), object()):
        with pytest.raises(ArgumentError, match="write model.state_dict"):
            save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_truncated(folder, name):
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole) - 1, 3):  # JSON without its last line break is whole
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(FileError, match="expected"):
            load(folder)
    (folder / name).unlink()
    with pytest.raises(FileError, match="expected"):
        load(folder)


@settings(deadline=None, max_examples=150)
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_of_the_weights(original, tmp_path_factory, position, flip):
    folder = shutil.copytree(original, tmp_path_factory.mktemp("flip") / "model")
    whole = bytearray((folder / "model.safetensors").read_bytes())
    whole[position % len(whole)] ^= flip
    (folder / "model.safetensors").write_bytes(whole)
    with pytest.raises(FileError, match="expected"):
        load(folder)


@settings(deadline=None, max_examples=300)
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_of_the_header_that_the_configuration_vouches_for(original, tmp_path_factory, position, flip):
    folder = shutil.copytree(original, tmp_path_factory.mktemp("flip") / "model")
    whole = bytearray((folder / "model.safetensors").read_bytes())
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    whole[position % header] ^= flip
    (folder / "model.safetensors").write_bytes(whole)
    claim(folder)
    try:  # two arrays of one shape that change places are no damage one could see
        assert load(folder).sizes == (3, 4, 2)
    except FileError as error:
        assert "expected" in str(error)


@settings(deadline=None, max_examples=300)
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_of_the_configuration(original, tmp_path_factory, position, flip):
    folder = shutil.copytree(original, tmp_path_factory.mktemp("flip") / "model")
    whole = bytearray((folder / "config.json").read_bytes())
    whole[position % len(whole)] ^= flip
    (folder / "config.json").write_bytes(whole)
    try:  # another dropout, say, is a configuration too
        assert isinstance(load(folder), MLP)
    except FileError as error:
        assert "expected" in str(error)


@pytest.mark.parametrize("header", [
    b"\xff" * 8,                                                        # a header longer than any file
    struct.pack("<Q", 2**40) + b"{}",
    struct.pack("<Q", 2) + b"{}",                                       # no arrays
    struct.pack("<Q", 76) + b'{"steps.0.weight":{"dtype":"F32","shape":[4,3],"data_offsets":[0,99999999]}}',
    struct.pack("<Q", 5) + b"\x00\x01\x02\x03\x04",
])
def test_lying_headers(folder, header):
    (folder / "model.safetensors").write_bytes(header)
    claim(folder)
    with pytest.raises(FileError, match="expected"):
        load(folder)


@pytest.mark.parametrize("change", [
    lambda arrays: arrays.pop("steps.0.bias"),
    lambda arrays: arrays.update(extra=np.zeros(3, dtype=np.float32)),
    lambda arrays: arrays.update({"../steps.0.bias": np.zeros(4, dtype=np.float32)}),
    lambda arrays: arrays.update({"steps.0.bias": np.zeros(5, dtype=np.float32)}),
    lambda arrays: arrays.update({"steps.0.bias": np.zeros(4, dtype=np.int32)}),
    lambda arrays: arrays.update({"steps.0.bias": np.zeros(4, dtype=np.float64)}),
])
def test_other_arrays(folder, change):
    arrays, _ = files.read_arrays(folder / "model.safetensors")
    change(arrays)
    files.write_arrays(folder / "model.safetensors", arrays)
    claim(folder)
    with pytest.raises(FileError, match="in model"):
        load(folder)


@pytest.mark.parametrize("changes", [
    {"sizes": [10**15, 10**15]}, {"sizes": [3, 4, 3]}, {"sizes": "abc"}, {"sizes": None}, {"dropout": "much"},
    {"dropout": float("nan")}, {"depth": 3}, {"activation": "os.system"}, {"sizes": [3, -4, 2]},
])
def test_other_arguments(folder, changes):
    claim(folder, **changes)
    with pytest.raises(FileError, match="expected"):
        load(folder)


@pytest.mark.parametrize("text", [
    "", "[]", "null", "{}", "[" * 100_000, '{"format": "portable_nn model 1"}', '{"format": "portable_nn model 2"}',
    '{"format": "portable_nn model 1", "model": {"type": "os.system", "arguments": {"command": "true"}}}',
    '{"format": "portable_nn model 1", "model": {"type": ["MLP"]}}',
    '{"format": "portable_nn model 1", "model": {"type": "MLP", "arguments": [3]}}',
    '{"format": "portable_nn model 1", "model": {"type": "TextPipeline", "parts": {"a": 3}}}',
    '{"format": "portable_nn model 1", "model": {"type": "TextPipeline", "parts": 3, "arguments": {}}}',
])
def test_other_configurations(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match="expected"):
        load(folder)


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "0" * 63, 7, None, "0" * 64])
def test_a_file_name_cannot_be_smuggled_in(folder, digest):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["weights"]["sha256"] = digest
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(FileError, match="SHA-256|weights that"):
        load(folder)


@pytest.mark.parametrize("damage", [
    lambda model: model["parts"].pop("vectorizer"),
    lambda model: model["parts"].update(more=model["parts"]["model"]),
    lambda model: model["arguments"].update(labels=["one"]),
    lambda model: model["parts"]["vectorizer"]["vocabulary"]["words"].pop(),
    lambda model: model["parts"]["vectorizer"]["vocabulary"]["words"].append(3),
    lambda model: model["parts"]["vectorizer"]["options"].update(words=None),
    lambda model: model["parts"]["vectorizer"].update(scale="1"),
    lambda model: model["parts"]["vectorizer"].pop("options"),
    lambda model: model["parts"].update(vectorizer=model["parts"]["model"]),
])
def test_parts_of_a_pipeline_that_do_not_fit(tmp_path, damage):
    save(make_pipeline(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    damage(config["model"])
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(FileError, match="expected"):
        load(tmp_path)


def test_no_folder(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for folder in (tmp_path / "nowhere", tmp_path / "file", tmp_path):
        with pytest.raises(FileError, match="expected"):
            load(folder)
    with pytest.raises(FileError, match="can be written"):
        save(MLP([2, 2]), tmp_path / "file")


class Cut(Exception):
    """The machine loses its power."""


def test_cut_off_at_any_step_the_folder_holds_the_old_model_or_the_new(folder, tmp_path, monkeypatch):
    old, new = load(folder), MLP([3, 4, 2], dropout=0.25).initialize(6)
    seen, steps = [], [(os, "open"), (os, "fsync"), (files, "rename"), (files.Path, "unlink")]
    for owner, name in steps:
        monkeypatch.setattr(owner, name, _recording(getattr(owner, name), folder, tmp_path, seen))
    save(new, folder)
    monkeypatch.undo()
    assert len(seen) >= 8
    found = [_which(copy, old, new) for copy in seen]
    assert found[0] == "old" and found[-1] == "new" and found == sorted(found, reverse=True)
    for copy in seen:  # and the next save clears up
        save(old, copy)
        assert sorted(content(copy)) == ["config.json", "model.safetensors"] or any(
            name.endswith(".tmp") for name in content(copy))


def _recording(step, folder, tmp_path, seen):
    def recorded(*args, **options):
        for when in ("before", "after"):
            if when == "after":
                result = step(*args, **options)
            seen.append(shutil.copytree(folder, tmp_path / f"copy{len(seen)}"))
        return result
    return recorded


def _which(folder, old, new):
    weight = load(folder).state_dict()["steps.0.weight"]
    return next(name for name, model in (("old", old), ("new", new))
                if np.array_equal(weight, model.state_dict()["steps.0.weight"]))


@pytest.mark.parametrize("failing", [(os, "fsync"), (files.Path, "replace"), (files, "write_json")])
def test_a_full_disk_leaves_what_was_there(folder, tmp_path, monkeypatch, failing):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    before = content(folder)
    monkeypatch.setattr(*failing, fail)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(FileError, match="No space left"):
            save(MLP([2, 2]), target)
    assert content(folder) == before and not (tmp_path / "new").exists()
