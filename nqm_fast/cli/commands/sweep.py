"""``nqm-fast sweep``: solve a problem at all points of a grid, on one machine or many."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from ... import InputError, sweep
from ...simulation.signals import caught, ending_signals
from .. import sweep_config
from ..options import add_workers, chosen_executor
from ..outcome import DIVERGED, FAILED
from ..tables import finite, print_table, whole_number

ORDER = 3
MOST_ROWS = 50
"""Points that the table at the end has."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sweep",
        allow_abbrev=False,
        help="simulate, tune or solve at all points of a grid, on one machine or many",
    )
    parser.set_defaults(run=_sweep)
    parser.add_argument("config", type=Path, metavar="FILE", help="in TOML, see docs/machines.md")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, such as steps=100 or grid.lr=[0.1,0.2]",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="HDF5 file to write; a stopped sweep goes on there"
    )
    add_workers(parser, "all cores")
    parser.add_argument(
        "--threads-per-task", type=whole_number, default=1, metavar="N", help="default: 1"
    )
    parser.add_argument(
        "--part", metavar="K/N", help="do the K-th of N parts, from 0; the same command without "
        "it merges them",
    )  # fmt: skip


def _sweep(chosen: argparse.Namespace) -> int:
    wanted = sweep_config.load(chosen.config, chosen.set)
    out = chosen.out or (None if wanted.out is None else Path(wanted.out))
    if out is None:
        raise InputError("--out FILE is needed, or out = in the file")
    part = _part(chosen.part)
    with warnings.catch_warnings(record=True) as warned, chosen_executor(chosen) as executor:
        warnings.simplefilter("always")
        found = _found(wanted, out, executor, chosen.threads_per_task, part)
    for warning in warned:
        print(f"nqm-fast sweep: {warning.message}", file=sys.stderr)
    if part is not None:
        print(f"part {chosen.part} is done")
        return FAILED if "error" in found else 0
    rows = table_rows(found)
    print_table(rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        print(f"and {len(rows) - MOST_ROWS} points more")
    print(out)
    if "error" in found:
        return FAILED
    return DIVERGED if "diverged_at" in found and (found.diverged_at >= 0).any() else 0


def _found(
    wanted: sweep_config.SweepConfiguration, out: Path, executor: Any, threads: int, part: Any
) -> Any:
    """Do the sweep; errors say where in the file they are, and that the rest can go on."""
    from ...machine.executors import ExecutorError

    try:
        with caught(ending_signals()):
            return sweep(
                wanted.what, wanted.grid, executor=executor, out=out, threads_per_task=threads,
                part=part, **wanted.common,
            )  # fmt: skip
    except InputError as error:
        raise wanted.source.located(error) from None
    except ExecutorError as error:
        raise InputError(f"{error}; the same command goes on with what is left") from None
    except KeyboardInterrupt:
        print(f"{out}.parts has what is done: the same command goes on", file=sys.stderr)
        raise


def _part(text: str | None) -> tuple[int, int] | None:
    """Read which part of how many is wanted."""
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise InputError(f"--part must be K/N, such as 0/100, not {text}")
    return int(number), int(count)


def table_rows(found: Any) -> list[dict[str, Any]]:
    """Return a row for each point: its values, and its results at the last step.

    Results of several replicas are their mean, and divergence is how many diverged.
    """
    inner = ("step", "replica", "band", "piece")
    columns = {str(name): x for name, x in found.coords.items() if name not in inner}
    for name, values in found.data_vars.items():
        if {"band", "piece"} & set(values.dims):
            continue
        last = values.isel(step=-1) if "step" in values.dims else values
        if name == "diverged_at":
            columns["diverged"] = (last >= 0).sum("replica")
        else:
            columns[str(name)] = last.mean("replica") if "replica" in last.dims else last
    points = {name: size for name, size in found.sizes.items() if name not in inner}
    flat = {
        name: values.variable.set_dims(points).transpose(*points).values.ravel().tolist()
        for name, values in columns.items()
    }
    return [
        {name: _cell(x) for name, x in zip(flat, row, strict=True)}
        for row in zip(*flat.values(), strict=True)
    ]


def _cell(value: Any) -> Any:
    """Write nothing where there is no result; None is a number of steps that is infinite."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else finite(value)
