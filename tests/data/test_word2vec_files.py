"""word2vec's formats: round trips, gensim's files and ours, and files that are damaged or lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from portable_nn.backend.errors import DataError, FileError
from portable_nn.data.word2vec_files import read_word2vec, write_word2vec

WORD = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" "), min_size=1, max_size=6)
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)
KINDS = ["text.txt", "binary.bin"]


@st.composite
def tables(draw):
    words = draw(st.lists(WORD, min_size=1, max_size=5, unique=True))
    return words, draw(arrays(np.float32, (len(words), draw(st.integers(1, 4))), elements=NUMBER))


def small(path, binary=None):
    write_word2vec(path, ["good", "naïve"], np.asarray([[0.1, -2.5e-8], [3.0, 4.0]]), binary=binary)
    return path


@settings(deadline=None, max_examples=100)
@given(table=tables(), binary=st.booleans())
def test_round_trip(tmp_path_factory, table, binary):
    path = tmp_path_factory.mktemp("vectors") / "file"
    write_word2vec(path, *table, binary=binary)
    words, vectors = read_word2vec(path, binary=binary)
    assert words == table[0]
    np.testing.assert_array_equal(vectors, table[1])


@settings(deadline=None, max_examples=30)
@given(table=tables(), binary=st.booleans())
def test_gensim_reads_and_writes_the_same_bytes(tmp_path_factory, table, binary):
    models = pytest.importorskip("gensim.models")
    folder = tmp_path_factory.mktemp("vectors")
    write_word2vec(folder / "ours", *table, binary=binary)
    theirs = models.KeyedVectors.load_word2vec_format(str(folder / "ours"), binary=binary)
    assert theirs.index_to_key == table[0]
    np.testing.assert_array_equal(theirs.vectors, table[1])
    theirs.save_word2vec_format(str(folder / "theirs"), binary=binary)
    assert (folder / "theirs").read_bytes() == (folder / "ours").read_bytes()
    assert read_word2vec(folder / "theirs", binary=binary)[0] == table[0]


def test_the_name_tells_the_format(tmp_path):
    assert small(tmp_path / "a.txt").read_bytes() == "2 2\ngood 0.1 -2.5e-08\nnaïve 3.0 4.0\n".encode()
    numbers = np.asarray([0.1, -2.5e-8], dtype="<f4").tobytes()
    assert small(tmp_path / "a.bin").read_bytes().startswith(b"2 2\ngood " + numbers + "naïve ".encode())


def test_files_of_the_c_program(tmp_path):
    """It ends each vector with a line break, and each line of text with a space."""
    (tmp_path / "a.txt").write_bytes(b"2 2\na 1.000000 2.000000 \nb 3.000000 4.000000 \n")
    rows = [np.asarray(row, dtype="<f4").tobytes() for row in ([1, 2], [3, 4])]
    (tmp_path / "a.bin").write_bytes(b"2 2\na " + rows[0] + b"\nb " + rows[1] + b"\n")
    for name in ("a.txt", "a.bin"):
        words, vectors = read_word2vec(tmp_path / name)
        assert words == ["a", "b"] and vectors.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", KINDS)
def test_truncated(tmp_path, name):
    whole = small(tmp_path / name).read_bytes()
    last = len(whole) - (3 if name == "text.txt" else 0)  # "4" and "4." are numbers, too
    for length in range(last):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(FileError, match="expected"):
            read_word2vec(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(FileError, match="readable"):
        read_word2vec(tmp_path / name)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("header", [b"", b"2\n", b"2 x\n", b"-2 2\n", b"0 2\n", b"2 0\n", b"999999999999 999999999\n",
                                    b"9" * 5000 + b" 2\n", b"1 2\n", b"3 2\n", b"2 1\n", b"2 3\n", b"2 2 2\n"])
def test_lying_headers(tmp_path, name, header):
    whole = small(tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(header + whole[4:])
    with pytest.raises(FileError, match="expected"):
        read_word2vec(tmp_path / name)


@pytest.mark.parametrize("content", [b"1 2\na 1 x\n", b"1 2\na 1\n", b"1 2\na 1 2 3\n", b"1 2\n 1 2\n",
                                     b"1 2\na 1 nan\n", b"1 2\na inf 2\n", b"2 1\na 1\na 2\n", b"1 2\n\xff 1 2\n"])
def test_bad_lines(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(FileError, match="expected"):
        read_word2vec(tmp_path / "a.txt")


def test_the_other_format(tmp_path):
    for binary in (True, False):
        with pytest.raises(FileError, match="expected"):
            read_word2vec(small(tmp_path / "a", binary=not binary), binary=binary)


def test_words_cut_in_a_character(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"1 2\nna\xc3 1 2\n")
    with pytest.raises(FileError, match='errors="replace"'):
        read_word2vec(tmp_path / "a.txt")
    assert read_word2vec(tmp_path / "a.txt", errors="ignore")[0] == ["na"]


@pytest.mark.parametrize("word", ["", "a b", "a\n", "\ta"])
def test_words_that_the_formats_cannot_hold(tmp_path, word):
    with pytest.raises(DataError, match="white space"):
        write_word2vec(tmp_path / "a.txt", [word], np.ones((1, 2)))
    assert not (tmp_path / "a.txt").exists()
