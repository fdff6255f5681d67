"""Data on the host: batches in keyed order, sparse texts, windows over series, scaling, splits and tables."""

from __future__ import annotations

from portable_nn.data.batching import Batches as Batches
from portable_nn.data.batching import batches as batches
from portable_nn.data.batching import to_tensors as to_tensors
from portable_nn.data.calendars import calendar as calendar
from portable_nn.data.calendars import calendar_names as calendar_names
from portable_nn.data.calendars import day_types as day_types
from portable_nn.data.climatology import Climatology as Climatology
from portable_nn.data.corpus import Corpus as Corpus
from portable_nn.data.corpus import make_corpus as make_corpus
from portable_nn.data.corpus import split_words as split_words
from portable_nn.data.datasets import Sentiment as Sentiment
from portable_nn.data.datasets import Series as Series
from portable_nn.data.datasets import load_sentiment as load_sentiment
from portable_nn.data.datasets import load_series as load_series
from portable_nn.data.rowwise import SparseRows as SparseRows
from portable_nn.data.rowwise import check_finite as check_finite
from portable_nn.data.rowwise import row_count as row_count
from portable_nn.data.rowwise import rows as rows
from portable_nn.data.scaling import Scaler as Scaler
from portable_nn.data.series_csv import load_series_csv as load_series_csv
from portable_nn.data.skipgrams import SkipGramBatch as SkipGramBatch
from portable_nn.data.skipgrams import SkipGrams as SkipGrams
from portable_nn.data.splits import split_by_hash as split_by_hash
from portable_nn.data.splits import split_in_time as split_in_time
from portable_nn.data.tables import find_package_file as find_package_file
from portable_nn.data.tables import load_csv as load_csv
from portable_nn.data.tables import parse_timestamps as parse_timestamps
from portable_nn.data.text import TextVectorizer as TextVectorizer
from portable_nn.data.tokens import TokenRows as TokenRows
from portable_nn.data.tokens import TokenVectorizer as TokenVectorizer
from portable_nn.data.windowing import Windows as Windows
from portable_nn.data.windowing import windows as windows
from portable_nn.data.word2vec_files import read_word2vec as read_word2vec
from portable_nn.data.word2vec_files import write_word2vec as write_word2vec
