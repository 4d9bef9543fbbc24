"""Command-line options for a search of hyper-parameters, as `tune` makes it."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from ..foundation.validation import InputError, choice
from .options import add_hyper_parameters, chosen_algorithm, chosen_hyper_parameters


class ChosenSearch(NamedTuple):
    """A search as `tune` takes it."""

    over: list[str]
    """Names of what is searched."""
    algorithm: Any
    """A class, or an example if it goes around another algorithm."""
    fixed: dict[str, Any]
    """Values of what is not searched."""
    template: Any
    """An example of the algorithm."""


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options for what is searched, and for the algorithm."""
    parser.add_argument(
        "--over",
        nargs="+",
        default=["lr"],
        metavar="NAME",
        help="what to search: lr, momentum, ema, or what else the algorithm has; several, or all"
        " (default: lr)",
    )
    add_hyper_parameters(parser, "fixed")


def chosen_search(chosen: argparse.Namespace) -> ChosenSearch:
    """Return the search that the options describe.

    Raises
    ------
    InputError
        If something is both searched and given, or the learning rate is neither.
    """
    words = [name for word in chosen.over for name in word.split(",") if name]
    template = chosen_algorithm(chosen, ["lr"])
    over = list(template.tunable) if words == ["all"] else words
    for name in over:
        choice("over", name, tuple(template.tunable))
    if "lr" not in over and chosen.lr is None:
        raise InputError("--lr is required: the learning rate, >= 0, which is not searched")
    fixed = chosen_hyper_parameters(chosen)
    for name in over:
        if name in fixed:
            raise InputError(f"{name} is searched (over) and given ({fixed[name]}): choose")
    # A class has defaults for what is not given; one around another has an example instead.
    if hasattr(template, "inner"):
        return ChosenSearch(over, template, {}, template)
    return ChosenSearch(over, type(template), fixed, template)
