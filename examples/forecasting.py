"""Forecast a time series: split in time, scaling, training, evaluation beside naive baselines, a picture.

    python examples/forecasting.py                                  # half-hourly electricity demand: a week -> a day
    python examples/forecasting.py --model lstm                     # or transformer: the past read in order
    python examples/forecasting.py --device cuda --capture --precision bfloat16     # as fast as a GPU does it
    python examples/forecasting.py --data airpassengers --plot passengers.png
    python examples/forecasting.py --data my.csv --target sales --features price weather --context 28 --horizon 7
    python examples/forecasting.py --save demand; python examples/forecasting.py --load demand       # without training
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits  # scikit-learn brings it

import portable_nn as pnn
from portable_nn import data, layers, models, optim
from portable_nn.data.files import write_json
from portable_nn.training import EarlyStopping


class Recipe(NamedTuple):
    """What suits a data set; chosen on its validation split alone."""

    context: int                        # rows of the past that the model sees
    horizon: int                        # rows to forecast
    seasons: dict[str, int]             # naive forecasts: what they are called, and how many rows back they look
    lags: tuple[int, ...]               # the naive forecasts that the model corrects, one for each member; 0: none
    body: dict[str, Any] = {}           # options of the bodies that see the past as one row, "linear" and "mlp"
    mlp: dict[str, Any] = {}            # options of the body "mlp" alone
    sequence: dict[str, Any] = {}       # options of the bodies that read the past in order, "lstm" and "transformer"
    lstm: dict[str, Any] = {}           # options of the body "lstm" alone
    encoder: dict[str, Any] = {}        # calendar, climatology, holidays
    epochs: int = 30
    fewer_epochs: dict[str, int] = {}   # of a body that learns the training rows by heart sooner
    batch_size: int = 32
    lr: float = 1e-3


SMALL: dict[str, Any] = {"width": 16, "hidden": [32], "dropout": 0.1}   # for short series: a step a row
CALENDAR = {"weekday": "one_hot", "day_of_year": 2}
RECIPES = {
    # A day has 48 half hours. The climatology, a regression on the calendar alone, takes the usual course of days,
    # weeks and years out of the series; members correct what is left of the last value and of the same time before.
    "vic_elec": Recipe(336, 48, {"last value": 1, "same time yesterday": 48, "same time last week": 336}, (1, 336, 48),
                       body={"recent": 96, "older": 12, "coarse": 2, "ahead": 12, "day": 48},
                       mlp={"hidden": [256], "dropout": 0.4}, lstm={"input_dropout": 0.1}, batch_size=256, epochs=6,
                       sequence={"lags": (1, 0, 48), "members": 6, "patch": 48, "ahead": 12, "width": 64,
                                 "hidden": [256], "dropout": 0.4}, fewer_epochs={"lstm": 3, "transformer": 3},
                       encoder={"calendar": {"time_of_day": "one_hot:48", **CALENDAR}, "holidays": True,
                                "climatology": {"slots": 48, "harmonics": 2}}),
    "airpassengers": Recipe(24, 12, {"last value": 1, "same month last year": 12}, (12,), body={"centre": True},
                            mlp={"hidden": [32], "dropout": 0.1}, batch_size=16, sequence={**SMALL, "centre": True}),
    "sine": Recipe(10, 1, {"last value": 1}, (0,), mlp={"hidden": [32], "dropout": 0.0}, sequence=SMALL, lr=3e-3),
}
NAMES = {"vic_elec": "Demand", "airpassengers": "Passengers", "sine": "Sine"}


def read(options: argparse.Namespace) -> tuple[data.Series, Recipe]:
    """The series, with `options.target` and `options.features` filled in, and the recipe for it."""
    if options.data in RECIPES:
        series, recipe = data.load_series(options.data), RECIPES[options.data]
        options.target = options.target or NAMES[options.data]
        columns = dict(zip(series.covariate_names, series.covariates.T)) | {NAMES[options.data]: series.values}
        others = [name for name in series.covariate_names if name != options.target]
        options.features = others if options.features is None else options.features
        for name in [options.target, *options.features]:
            if name not in columns:
                raise pnn.DataError(f"a column of {options.data}: {sorted(columns)}", repr(name), "name one of these")
        if options.target != NAMES[options.data] or options.features != series.covariate_names:
            chosen = [columns[name] for name in options.features]
            table = np.stack(chosen, axis=1) if chosen else series.covariates[:, :0]
            unit = series.unit if options.target == NAMES[options.data] else ""
            series = series._replace(values=columns[options.target], covariates=table,
                                     covariate_names=options.features, unit=unit)
    else:
        if not options.target:
            raise pnn.ArgumentError("the column to forecast", "a CSV file without --target", "add --target COLUMN")
        options.features = options.features or []
        series, has_time = data.load_series_csv(options.data, options.target, options.features)
        recipe = recipe_for(series, has_time)
    return series, fitted_to(recipe._replace(context=recipe.context if options.context is None else options.context,
                                             horizon=recipe.horizon if options.horizon is None else options.horizon))


def recipe_for(series: data.Series, has_time: bool) -> Recipe:
    """A recipe for a CSV file, from the length of its steps."""
    step = int(np.median(np.diff(series.timestamps).astype(np.int64))) if has_time and len(series.values) > 1 else 0
    if 0 < step <= 43200 and 86400 % step == 0:                       # parts of a day
        day = 86400 // step
        names, years = {"last value": 1, "same time yesterday": day, "same time last week": 7 * day}, 365 * day
        usual = {"slots": day, "harmonics": 2 if 0.7 * len(series.values) >= years else 0}
        return Recipe(7 * day, day, names, (1, 7 * day, day), body={"recent": min(2 * day, 96), "day": day},
                      mlp={"hidden": [128], "dropout": 0.3}, epochs=10, batch_size=64,
                      sequence={"patch": day, "width": 64, "hidden": [128], "dropout": 0.3},
                      encoder={"calendar": {"time_of_day": 4, "weekday": "one_hot"}, "climatology": usual,
                               "holidays": bool(series.holidays.any())})
    season, name = (7, "same day last week") if step == 86400 else (12, "same month last year")
    if step == 86400 or 28 * 86400 <= step <= 31 * 86400:
        return Recipe(2 * season, season, {"last value": 1, name: season}, (season,), body={"centre": True},
                      mlp={"hidden": [32], "dropout": 0.1}, sequence={**SMALL, "centre": True}, batch_size=16)
    return Recipe(10, 1, {"last value": 1}, (1,), mlp={"hidden": [32], "dropout": 0.1}, sequence=SMALL)


def fitted_to(recipe: Recipe) -> Recipe:
    """Without what does not fit into the context or the horizon that was asked for."""
    context = recipe.context
    most = {**dict.fromkeys(("recent", "older", "coarse", "patch"), context), "ahead": recipe.horizon}
    body, sequence = ({name: min(value, most[name]) if name in most else value for name, value in options.items()}
                      for options in (recipe.body, recipe.sequence))
    lags, sequence["lags"] = (tuple(k for k in lags if k <= context) or (1,)
                              for lags in (recipe.lags, sequence.get("lags", recipe.lags)))
    seasons = {name: lag for name, lag in recipe.seasons.items() if lag <= context}
    return recipe._replace(body=body, sequence=sequence, seasons=seasons, lags=lags)


def train(options: argparse.Namespace, recipe: Recipe, encoder: models.SeriesEncoder, parts: dict[str, Any]) -> Any:
    """A forecaster trained on the training windows, as it was in its best epoch by the validation windows."""
    body = {"linear": recipe.body, "mlp": {**recipe.body, **recipe.mlp}, "lstm": {**recipe.sequence, **recipe.lstm},
            "transformer": recipe.sequence}[options.model]
    model = models.Forecaster(**encoder.sizes._asdict(), body=options.model, **{"lags": recipe.lags, **body})
    model.initialize(options.seed).to(options.device)
    steps = options.epochs * -(-len(parts["train"].targets) // recipe.batch_size)
    optimizer = optim.AdamW(model.parameters(), lr=optim.Warmup(optim.Cosine(recipe.lr), max(1, steps // 20)))

    def each(windows: models.ForecastWindows) -> tuple[Any, Any]:
        """The same target for each member; a view, nothing is copied."""
        shape = (len(windows.targets), model.members.count, recipe.horizon)
        return windows.inputs, np.broadcast_to(windows.targets[:, None], shape)

    def mse(members: np.ndarray, target: np.ndarray) -> float:
        """Of the forecast, which is the mean of the members."""
        return float(np.mean((members.mean(axis=1) - target[:, 0]) ** 2))

    pnn.fit(model.members, layers.MSELoss(), optimizer, train=each(parts["train"]),
            validation=each(parts["validation"]), metrics={"mse": mse},
            callbacks=[EarlyStopping(patience=10, monitor="mse")], epochs=options.epochs,
            batch_size=recipe.batch_size, seed=options.seed, capture=options.capture, precision=options.precision)
    return model


def baselines(series: data.Series, recipe: Recipe, parts: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the test windows look like to those who do not learn, or only a little: in the data's units."""
    test, values = parts["test"], series.values
    found = {name: models.naive_forecasts(values, test.origins, recipe.horizon, lag)
             for name, lag in recipe.seasons.items()}
    z = (values - parts["mean"]) / parts["deviation"]
    ridge = models.ridge_forecasts(z, parts["train"].origins, test.origins, recipe.context, recipe.horizon)
    return {**found, f"ridge on {recipe.context} values": ridge * parts["deviation"] + parts["mean"]}


def run(options: argparse.Namespace) -> None:
    """Read, split, train, evaluate, and write what was asked for."""
    series, recipe = read(options)
    if options.smoke:
        series = data.Series(*(part[:4000] if isinstance(part, np.ndarray) else part for part in series))
    if options.epochs is None:
        options.epochs = 1 if options.smoke else recipe.fewer_epochs.get(options.model, recipe.epochs)

    # Three stretches of time: the past to learn from, later rows to choose by, and the last ones to be judged by.
    learn, choose, judge = data.split_in_time(len(series.values))
    # The encoder standardises with figures of the training rows alone. Windows belong to the stretch that their
    # targets lie in; no input lies behind the forecast's origin, except the calendar and its holidays.
    encoder = models.SeriesEncoder(recipe.context, recipe.horizon, **recipe.encoder).fit(series, learn)
    parts: dict[str, Any] = {name: encoder.windows(series, rows.start, rows.stop)
                             for name, rows in (("train", learn), ("validation", choose), ("test", judge))}
    parts.update(mean=series.values[learn].mean(), deviation=series.values[learn].std() or 1.0)
    print(f"{options.data}: {len(series.values)} rows; {recipe.context} -> {recipe.horizon}; windows: "
          + ", ".join(f"{len(parts[name].targets)} {name}" for name in ("train", "validation", "test")))

    started = time.perf_counter()
    model = train(options, recipe, encoder, parts)
    seconds = time.perf_counter() - started
    pipeline = models.ForecastPipeline(encoder, model, options.target, options.features, series.unit)

    actual = {name: encoder.in_units(parts[name].targets, parts[name].usual) for name in ("validation", "test")}
    forecast = {name: pipeline.predict(parts[name]) for name in actual}
    scores = {name: score(forecast[name], actual[name], parts["deviation"]) for name in actual}
    naive = {name: score(x, actual["test"], parts["deviation"]) for name, x in baselines(series, recipe, parts).items()}
    report(options, series, scores, naive, parts["deviation"], seconds)
    show_next(pipeline, series)
    if options.save:
        models.save(pipeline, options.save)
        print(f"saved in {options.save}")
    if options.plot:
        plot(options.plot, parts["test"], actual["test"], forecast["test"], f"{options.target} {series.unit}".strip())
    if options.json:
        write_json(options.json, {"seed": options.seed, "device": model.device, "model": options.model,
                                  "epochs": options.epochs, "seconds": seconds, **scores, "baselines": naive})


def score(forecast: np.ndarray, actual: np.ndarray, deviation: float) -> dict[str, float]:
    """Mean squared and mean absolute error, standardised with the training rows' deviation."""
    error = (forecast - actual) / deviation
    return {"mse": float(np.mean(error ** 2)), "mae": float(np.mean(np.abs(error)))}


def report(options: argparse.Namespace, series: data.Series, scores: dict[str, Any], naive: dict[str, Any],
           deviation: float, seconds: float) -> None:
    """The model's figures under those of the baselines."""
    unit = f" ({series.unit})" if series.unit else ""
    print(f"{'test split':<28}{'MSE':>9}{'MAE':>9}   in units{unit}: {'MSE':>11}{'MAE':>10}")
    for name, row in {**naive, f"{options.model} forecaster": scores["test"]}.items():
        print(f"{name:<28}{row['mse']:9.4f}{row['mae']:9.4f}{'':{12 + len(unit)}}"
              f"{row['mse'] * deviation ** 2:13.5g}{row['mae'] * deviation:10.4g}")
    print(f"validation: MSE {scores['validation']['mse']:.4f}, MAE {scores['validation']['mae']:.4f}; "
          f"trained in {seconds:.1f} s\n")


def show_next(pipeline: models.ForecastPipeline, series: data.Series) -> None:
    """The last rows of the data, forecast without having seen them, and the rows after its end."""
    horizon, count = pipeline.encoder.horizon, len(series.values)
    last = pipeline.encoder.windows(series, count - horizon)
    unseen = pipeline.predict(last)[0]
    for title, first, times, values, truth in (
            ("the last rows of the data", count - horizon, last.timestamps[0], unseen, series.values),
            ("the next rows", count, *pipeline.forecast(series), ())):
        print(f"{title:<42}{'forecast':>12}{'actual' if len(truth) else '':>12}")
        for row, (moment, value) in enumerate(zip(times, values), start=first):
            actual = f"{truth[row]:12.4f}" if len(truth) else ""
            print(f"  row {row:<8}{moment!s:<28}{value:12.4f}{actual}")
    if pipeline.encoder.holidays:
        print("(which of the next rows are holidays is not in the data: forecast as if none were)")


def plot(path: str, windows: models.ForecastWindows, actual: np.ndarray, forecast: np.ndarray, label: str) -> None:
    """A picture: some forecasts of the test split, end to end, and the error by how far ahead it was made."""
    try:
        from matplotlib.figure import Figure  # without pyplot, which wants a screen
    except ImportError as error:
        raise pnn.MissingDependencyError("matplotlib for --plot", "none", "run: pip install matplotlib") from error

    horizon = actual.shape[1]
    chosen = np.arange(0, len(actual), horizon)[:max(1, 336 // horizon)]
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    left.plot(windows.timestamps[chosen].ravel(), actual[chosen].ravel(), color="black", linewidth=1, label="actual")
    left.plot(windows.timestamps[chosen].ravel(), forecast[chosen].ravel(), linewidth=1, label="forecast")
    left.set(title=f"the first forecasts of the test split, {horizon} rows each", ylabel=label)
    left.tick_params(axis="x", rotation=30)
    left.legend()
    right.plot(np.arange(1, horizon + 1), np.mean(np.abs(forecast - actual), axis=0), marker=".")
    right.set(title="mean absolute error", xlabel="rows ahead", ylim=(0, None))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"picture in {path}")


def answer(options: argparse.Namespace) -> None:
    """Forecast with a saved model, without training."""
    pipeline = models.load(options.load, device=options.device)
    if not isinstance(pipeline, models.ForecastPipeline):
        raise pnn.FileError("a folder that this example saved", f"a {type(pipeline).__name__}", "pass another folder")
    options.target, options.features = pipeline.target, pipeline.covariates
    show_next(pipeline, read(options)[0])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="vic_elec", help="vic_elec, airpassengers, sine, or a CSV file with a header")
    parser.add_argument("--target", help="column to forecast")
    parser.add_argument("--features", nargs="*", help="columns known up to the forecast's origin")
    parser.add_argument("--context", type=int, help="rows of the past that the model sees")
    parser.add_argument("--horizon", type=int, help="rows to forecast")
    parser.add_argument("--model", default="mlp", choices=["linear", "mlp", "lstm", "transformer"],
                        help="how the model sees the past: as one row, or in order")
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "cuda:1" or "auto"')
    parser.add_argument("--capture", action="store_true", help="on a GPU, record each step once and replay it")
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16", "float16"],
                        help="what products compute in while training on a GPU")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="DIR", help="write the trained model there")
    parser.add_argument("--load", metavar="DIR", help="forecast what follows the data with a saved model; no training")
    parser.add_argument("--plot", metavar="FILE", help="write a picture of forecast against actual")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--smoke", action="store_true", help="a part of the data and one epoch, to see that it runs")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        # Products this small gain little from a second thread, and wait long for it where the cores are shared.
        with threadpool_limits(1, user_api="blas"):
            answer(options) if options.load else run(options)
    except (pnn.PortableNNError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
