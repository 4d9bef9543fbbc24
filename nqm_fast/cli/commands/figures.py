"""``nqm-fast figures``: draw the figures of the paper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ... import InputError, Problem, networks
from ...coordinates.spectrum import SHAPE
from ...output.progress import counted
from ..options import add_power_law, add_problem_file, chosen_problem
from ..tables import plain, print_table, whole_number

ORDER = 6
PROBLEM = ("problem", "dim", *SHAPE, "damping", "negative")
"""Options that describe a problem."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    figures = commands.add_parser(
        "figures",
        allow_abbrev=False,
        help="draw the figures of the paper, with their data, also for a problem of your own",
    )
    figures.set_defaults(run=_figures)
    figures.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to draw (all; see --list)"
    )
    figures.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR")
    figures.add_argument(
        "--list", action="store_true", help="list the figures, and what each is in the paper"
    )
    add_problem_file(figures)
    figures.add_argument(
        "--dim", type=whole_number, help="instead, coordinates of a power law (default: 10000)"
    )
    add_power_law(figures)
    figures.add_argument(
        "--target",
        type=float,
        help="excess risk to reach (default: 0.01, or 1/500 of the initial risk of your problem)",
    )
    figures.add_argument(
        "--batch-size", type=plain, nargs="+", metavar="B", help="batch sizes (default: 4 to 2^21)"
    )
    figures.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="the folder of a study of networks (default: the shipped one)",
    )
    figures.add_argument(
        "--coordinates",
        type=whole_number,
        nargs=2,
        metavar=("I", "J"),
        help="the two coordinates of the figure plane, counted from 0 (default: 0 9)",
    )
    figures.add_argument(
        "--run",
        dest="trained_first",
        action="store_true",
        help="train the networks first, into the folder of --results; it goes on where it stopped",
    )


def _figures(chosen: argparse.Namespace) -> None:
    from ... import figures

    if chosen.list:
        given = {
            name: getattr(chosen, name) for name in (*PROBLEM, "target", "batch_size", "results")
        }
        unused = [f"--{name.replace('_', '-')}" for name, x in given.items() if x is not None]
        unused += ["--run"] * chosen.trained_first + chosen.names
        if unused:
            raise InputError(
                f"--list draws nothing, so that {' and '.join(unused)} cannot be given"
            )
        titles, papers = figures.titles(), figures.counterparts()
        print_table([{"name": x, "shows": titles[x], "in the paper": papers[x]} for x in titles])
        return
    if chosen.trained_first:
        if chosen.results is None:
            raise InputError("--run needs --results DIR, the folder for what is trained")
        networks.study(out=chosen.results)
    with counted("figures") as report:
        drawn = figures.draw(
            chosen.names,
            chosen.out,
            report,
            problem=_chosen_problem(chosen),
            target=chosen.target,
            batch_sizes=chosen.batch_size,
            results=chosen.results,
            coordinates=chosen.coordinates,
        )
    for figure in drawn:
        print(f"{figure.picture}  {figure.title}")
    summary = figures.critical_batch_sizes(drawn)
    if summary:
        print("\ncritical batch size: samples at the smallest batch / steps at the largest")
        print_table([row._asdict() | {"batch_size": round(row.batch_size)} for row in summary])


def _chosen_problem(chosen: argparse.Namespace) -> Problem | None:
    """Return the problem that the options describe, if one does."""
    is_given = any(getattr(chosen, name) is not None for name in PROBLEM)
    return chosen_problem(chosen) if is_given else None
