"""``nqm-fast networks``: train networks at every batch size."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from ...networks.optimizers import OPTIMIZERS
from ...simulation.signals import caught, ending_signals
from ..options import import_modules
from ..tables import finite, print_json, print_table, whole_number

ORDER = 7
SHOWN = ("task", "optimizer", "ema", "batch_size", "steps", "lr", "momentum", "beta1", "damping")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    networks = commands.add_parser(
        "networks",
        allow_abbrev=False,
        help="train networks at every batch size, tuned, and count the steps to a target loss",
    )
    networks.set_defaults(run=_networks)
    networks.add_argument(
        "tasks",
        nargs="*",
        metavar="TASK",
        help="digits, language, mnist1d, or MODULE:CLASS of your own (all that are shipped)",
    )
    networks.add_argument(
        "--optimizer", nargs="+", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (all)"
    )
    networks.add_argument(
        "--batch-size",
        type=whole_number,
        nargs="+",
        metavar="B",
        help="(powers of two, to the size of the training set)",
    )
    networks.add_argument("--target", type=float, help="loss to reach (the task's own)")
    networks.add_argument(
        "--seeds", type=whole_number, default=3, help="trainings of the best settings (3)"
    )
    networks.add_argument(
        "--quick",
        action="store_true",
        help="only digits at every fourth power of two, and losses roughly measured",
    )
    networks.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for networks.h5 and networks.csv; a study that was stopped goes on there",
    )
    networks.add_argument("--workers", type=whole_number, metavar="N", help="default: all cores")
    networks.add_argument("--json", action="store_true", help="print the table as JSON")


def _networks(chosen: argparse.Namespace) -> None:
    from ... import networks

    import_modules([task.partition(":")[0] for task in chosen.tasks if ":" in task])
    try:
        with caught(ending_signals()):
            results = networks.study(
                chosen.tasks or None,
                chosen.optimizer,
                chosen.batch_size,
                target=chosen.target,
                seeds=chosen.seeds,
                quick=chosen.quick,
                out=chosen.out,
                workers=chosen.workers,
            )
    except KeyboardInterrupt:
        print(f"{chosen.out} has what is done: the same command goes on", file=sys.stderr)
        raise
    rows = results.rows()
    if chosen.json:
        print_json("networks", {}, [{k: _plain(v) for k, v in row.items()} for row in rows])
        return
    print_table([{name: _cell(row[name]) for name in SHOWN} for row in rows])
    print(f"{chosen.out / 'networks.h5'}, {chosen.out / 'networks.csv'}")


def _plain(value: Any) -> Any:
    """Return a value for JSON, which has no numbers that are infinite or missing."""
    return finite(value) if isinstance(value, float) else value


def _cell(value: Any) -> Any:
    """Write yes and no, and nothing where an optimiser has no such hyper-parameter."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}" if value < math.inf else "never"
    return value
