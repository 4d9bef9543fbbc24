"""``nqm-fast run``: simulate an experiment, stream it to a file, and plot it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import InputError
from ...runs.api import simulate
from ...simulation.result import Run
from .. import config
from ..options import add_resources, add_workers, chosen_executor, chosen_resources
from ..outcome import FAILED, carry_out, say
from ..tables import whole_number

ORDER = 1


def add(commands: Any) -> None:
    """Add the command to the parser."""
    run = commands.add_parser(
        "run", allow_abbrev=False, help="simulate an experiment, stream it to a file, and plot it"
    )
    run.set_defaults(run=_run)
    run.add_argument(
        "config", nargs="?", type=Path, metavar="FILE", help="in TOML (default: see init)"
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, such as steps=100 or setting.0.lr=0.5",
    )
    run.add_argument("--out", type=Path, metavar="FILE", help="HDF5 file to write")
    run.add_argument("--overwrite", action="store_true", help="replace the run that is there")
    run.add_argument(
        "--coordinates",
        type=whole_number,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="compute one shard, coordinates FIRST .. LAST - 1, to be joined by merge",
    )
    add_workers(run, "none, the run is not split")
    add_resources(run)


def _run(chosen: argparse.Namespace) -> int:
    wanted = config.load(chosen.config, chosen.set)
    out = chosen.out or Path(wanted.out)
    arguments = wanted.arguments | chosen_resources(chosen)
    if chosen.coordinates is not None:
        arguments["coordinates"] = chosen.coordinates
    about_options = ("coordinates", "executor", *["out "] * (chosen.out is not None))
    with chosen_executor(chosen) as executor:

        def start() -> Run:
            try:
                return simulate(**arguments, executor=executor, out=out, overwrite=chosen.overwrite)
            except InputError as error:
                is_about_option = str(error).startswith(about_options)
                raise error if is_about_option else wanted.source.located(error) from None

        return carry_out(start, out) if executor is None else _carry_out_in_shards(start, out)


def _carry_out_in_shards(start: Callable[[], Run], out: Path) -> int:
    """Carry out a run on workers, which may fail or be lost."""
    from ...machine.executors import ExecutorError
    from ...runs.distribution import FailedShardsError

    try:
        return carry_out(start, out, "the same command")
    except FailedShardsError as error:
        say(f"nqm-fast run: {error}")
        return FAILED
    except ExecutorError as error:
        raise InputError(f"{error}; the same command goes on with what is left") from None
