"""``nqm-fast fit``: fit the model to training runs in a table, and predict others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ... import Fitted, InputError, TrainingRun, fit, read_runs
from ...fits.parameters import EXTRA
from ...foundation.validation import number
from ...output.columns import Table, write_csv
from ...output.saving import writable_folder
from ..tables import finite, print_json, print_table, whole_number

ORDER = 8
SHOWN = 24
"""Predictions that are printed; all of them are in the folder."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    fits = commands.add_parser(
        "fit",
        allow_abbrev=False,
        help="fit the model to losses of real training runs, and predict other runs",
    )
    fits.set_defaults(run=_fit)
    fits.add_argument("runs", type=Path, metavar="RUNS", help="CSV, JSON lines or Parquet")
    fits.add_argument(
        "--predict",
        type=Path,
        metavar="NEW",
        help="runs to predict; losses are compared where cells have some",
    )
    fits.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME=COLUMN",
        help="loss, steps, batch_size, lr, dim, momentum, ema, weight, sharpness, name, group; "
        "run=COLUMN[,COLUMN] where a row is a record of a curve",
    )  # fmt: skip
    fits.add_argument(
        "--where", nargs="+", default=[], metavar="COLUMN=VALUE",
        help="read only rows of RUNS with these values, as they are written",
    )  # fmt: skip
    fits.add_argument(
        "--lr", metavar="TEMPLATE", help='such as "warmup 0.01, cosine 0.001 to 0" or "linear lr"'
    )
    fits.add_argument(
        "--batch-size", metavar="TEMPLATE", help='such as 256, or "constant B", a column'
    )
    fits.add_argument(
        "--extra", nargs="*", choices=list(EXTRA), metavar="NAME",
        help=f"parameters of the optimiser: {', '.join(EXTRA)} (default: those that help)",
    )  # fmt: skip
    fits.add_argument(
        "--own", nargs="+", default=[], metavar="NAME",
        help="parameters of which each group of runs has its own, such as irreducible",
    )  # fmt: skip
    fits.add_argument("--level", type=float, default=0.9, help="of intervals (0.9)")
    fits.add_argument(
        "--bootstrap", type=whole_number, default=0, metavar="FITS",
        help="take intervals from so many fits to resampled runs (0: from error propagation)",
    )  # fmt: skip
    fits.add_argument("--seed", type=whole_number, default=0, help="of the starts (0)")
    fits.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for fit.json, tables and pictures"
    )
    fits.add_argument("--json", action="store_true", help="print JSON instead of text")


def _fit(chosen: argparse.Namespace) -> None:
    columns = _columns(chosen.columns)
    given: dict[str, Any] = {
        "columns": columns, "lr": chosen.lr, "batch_size": chosen.batch_size,
    }  # fmt: skip
    runs = read_runs(chosen.runs, **given, where=_condition(chosen.where))
    new = []
    if chosen.predict is not None:
        new = read_runs(chosen.predict, **given, measured=None)
    more: dict[str, Any] = {}
    if chosen.own:
        from ...fits.parameters import ALL

        wrong = next((name for name in chosen.own if name not in ALL), None)
        if wrong is not None:
            raise InputError(f"--own may have {', '.join(ALL)}, not {wrong!r}")
        more["share"] = [name for name in ALL if name not in chosen.own]
    if chosen.extra is not None:
        more["extra"] = chosen.extra
    more["bootstrap"] = chosen.bootstrap
    number("--level", chosen.level, above=0.0, below=1.0)
    fitted = fit(runs, seed=chosen.seed, **more)
    rows = _predictions(fitted, new, chosen.level)
    if chosen.out is not None:
        _write(fitted, rows, writable_folder("--out", chosen.out))
    if chosen.json:
        facts = {
            "error": finite(fitted.error),
            "left_out_error": finite(fitted.left_out_error),
            "parameters": {k: v._asdict() for k, v in fitted.parameters.items()},
        }
        print_json("fit", facts, rows)
        return
    print(fitted.report())
    if rows:
        print("\npredictions:")
        print_table(rows[:SHOWN])
        if len(rows) > SHOWN:
            print(f"and {len(rows) - SHOWN} more")


def _condition(words: list[str]) -> Callable[[Mapping[str, str]], bool] | None:
    """Read which rows are meant, as a function of a row."""
    wanted = {}
    for word in words:
        column, equals, value = word.partition("=")
        if not equals or not column:
            raise InputError(f"--where must be COLUMN=VALUE, such as split=train, not {word!r}")
        wanted[column] = value

    def is_meant(row: Mapping[str, str]) -> bool:
        missing = next((column for column in wanted if column not in row), None)
        if missing is not None:
            raise InputError(f"--where has no column {missing!r}: there are {', '.join(row)}")
        return all(str(row[column]) == value for column, value in wanted.items())

    return is_meant if wanted else None


def _columns(words: list[str]) -> dict[str, Any]:
    """Read names of columns."""
    columns: dict[str, Any] = {}
    for word in words:
        name, equals, column = word.partition("=")
        if not equals or not column:
            raise InputError(f"--columns must be NAME=COLUMN, such as steps=K, not {word!r}")
        columns[name] = column.split(",") if name == "run" else column
    return columns


def _predictions(fitted: Fitted, runs: list[TrainingRun], level: float) -> list[dict[str, Any]]:
    """Predict runs, a row for each record."""
    rows = []
    for place, run in enumerate(runs):
        low, high = (np.atleast_1d(limit) for limit in fitted.interval(run, level))
        loss = np.atleast_1d(fitted.predict(run))
        measured = np.full(loss.shape, np.nan) if run.loss is None else run.losses
        for k, step in enumerate(np.atleast_1d(run.steps).tolist()):
            rows.append(
                {
                    "run": place,
                    "name": run.name,
                    "steps": step,
                    "loss": finite(float(loss[k])),
                    "low": finite(float(low[k])),
                    "high": finite(float(high[k])),
                    "measured": finite(float(measured[k])),
                }
            )
    if all(run.loss is None for run in runs):
        for row in rows:
            del row["measured"]
    return rows


def _write(fitted: Fitted, rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the fit, its residuals, predictions, and pictures if Matplotlib is installed."""
    fitted.save(folder / "fit.json")
    write_csv(folder / "residuals.csv", fitted.residuals())
    (folder / "report.txt").write_text(fitted.report() + "\n", encoding="utf-8")
    table: Table = {}
    if rows:
        table = {name: np.array([_number(row, name) for row in rows]) for name in rows[0]}
        write_csv(folder / "predictions.csv", table)
    if find_spec("matplotlib"):
        from ...drawing.fit import draw
        from ...drawing.predictions import draw_predictions

        draw(fitted.residuals(), folder / "fit.png")
        if rows:
            draw_predictions(table, folder / "predictions.png")


def _number(row: dict[str, Any], name: str) -> Any:
    """Return a cell of a table; a loss that is none is infinite, or was not measured."""
    value = row[name]
    if value is None:
        return np.nan if name == "measured" else np.inf
    return value
