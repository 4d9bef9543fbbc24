"""Adam beside SGD, momentum and a preconditioner: steps and learning rates by batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.adam import Adam
from ..algorithms.sgd import SGD
from ..drawing.study import Study, problem_text
from ..drawing.style import GREY, SERIES, add_caption, wrapped
from ..machine.jobs import Job, Solved
from ..output.columns import Table, rows_where, table_of_rows
from ..problem import Problem
from ..tuning import tune

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 11
TITLE = "Adam: at first its best learning rate grows as the root of the batch size"
PAPER = "none: Adam is not linear, so that it is simulated; figure 5 has the others"
OWN_PROBLEM = True

DIM, TARGET = 256, 0.03
"""Simulations of the paper's problem would take hours; this one is of its kind."""
BATCH_SIZES = tuple(2**k for k in range(2, 17, 2))
MOST_STEPS = 50_000
ROOT_RULE = (0.35, 0.65)
"""Slopes of the log of the learning rate against that of the batch size that count as 1/2."""


class Kind(NamedTuple):
    """A kind of optimiser, and how it is tuned."""

    label: str
    over: tuple[str, ...]
    power: float = 0.0


KINDS = {
    "plain": Kind("plain SGD", ("lr",)),
    "momentum": Kind("momentum", ("lr", "momentum")),
    "power": Kind("plain SGD, $p = 0.5$", ("lr",), 0.5),
    "adam": Kind("Adam, simulated", ("lr",)),
}


class Best(NamedTuple):
    """The fewest steps, the ends of their interval, and the effective learning rate."""

    steps: float
    low: float
    high: float
    lr: float


def best_of(kind: str, batch_size: int) -> Best:
    """Tune one kind of optimiser (a job)."""
    problem = Problem.power_law(DIM)
    chosen = KINDS[kind]
    found: Any
    if kind == "adam":
        how: dict[str, Any] = {"by": "simulation", "max_steps": MOST_STEPS, "threads": 1}
        found = tune(problem, batch_size, TARGET, chosen.over, algorithm=Adam, **how)
        return Best(found.steps, found.low, found.high, found.algorithm.lr.value)
    found = tune(problem, batch_size, TARGET, chosen.over, algorithm=SGD, power=chosen.power)
    effective = found.algorithm.lr.value / (1.0 - found.algorithm.momentum)
    return Best(found.steps, found.steps, found.steps, effective)


def _job(kind: str, size: int) -> Job:
    """Return the job of a kind at a batch size; small batches take long."""
    return Job(best_of, (kind, size), long=kind == "adam" and size == BATCH_SIZES[0])


def jobs(_: Study) -> list[Job]:
    """List the jobs: tuning of every kind at every batch size."""
    return [_job(kind, size) for kind in KINDS for size in BATCH_SIZES]


def compute(_: Study, solved: Solved) -> Table:
    """Tabulate steps and learning rates by kind and batch size."""
    pairs = [(kind, size) for kind in KINDS for size in BATCH_SIZES]
    best = [solved[_job(*pair)] for pair in pairs]
    return table_of_rows(("kind", "batch_size"), pairs) | table_of_rows(Best._fields, best)


def root_rule(sizes: NDArray[Any], lr: NDArray[Any]) -> NDArray[np.intp]:
    """Return the indices of the longest run of batch sizes over which lr grows as their root."""
    slopes = np.diff(np.log(lr)) / np.diff(np.log(sizes))
    holds = (slopes >= ROOT_RULE[0]) & (slopes <= ROOT_RULE[1])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(int), [0]])))
    if not edges.size:
        return np.zeros(0, dtype=np.intp)
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    return np.arange(begins[longest], ends[longest] + 1)


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw steps on the left, and learning rates with the rule of the root on the right."""
    figure.set_size_inches(9.5, 4.6)
    figure.suptitle(TITLE)
    text = problem_text(Problem.power_law(DIM))
    add_caption(
        figure,
        wrapped(
            figure,
            f"{text[0].upper()}{text[1:]}, excess risk {TARGET:g}; Adam with $\\beta_1=0.9$, "
            "$\\beta_2=0.999$ and a tuned learning rate, the mean of 8 runs; the others are exact "
            "and tuned.",
        ),
    )
    left, right = figure.subplots(1, 2)
    for (kind, facts), series in zip(KINDS.items(), SERIES, strict=False):
        rows = rows_where(table, kind=kind)
        left.plot(rows["batch_size"], rows["steps"], label=facts.label, **series)
        if kind == "adam":
            high = np.where(np.isfinite(rows["high"]), rows["high"], rows["steps"])
            left.fill_between(
                rows["batch_size"], rows["low"], high, color=series["color"], alpha=0.25
            )
        right.plot(rows["batch_size"], rows["lr"], **series)
    adam = rows_where(table, kind="adam")
    sizes, lr = adam["batch_size"], adam["lr"]
    here = root_rule(sizes, lr)
    if here.size:
        level = float(np.exp(np.mean(np.log(lr[here] / np.sqrt(sizes[here])))))
        right.plot(
            sizes[here], 1.6 * level * np.sqrt(sizes[here]), color="black", linewidth=3,
            label=r"$\eta\propto\sqrt{B}$ holds for Adam",
        )  # fmt: skip
        right.axvspan(sizes[here[0]], sizes[here[-1]], color=GREY, alpha=0.12, zorder=0)
        right.legend(loc="best")
    _label(left, "steps to target")
    _label(right, r"best learning rate $\eta$, with momentum $\eta/(1-\beta)$")
    left.legend(loc="best")


def _label(axes: Axes, label: str) -> None:
    """Make both axes logarithmic, with batch sizes in powers of two."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(
        BATCH_SIZES[::2], [f"$2^{{{size.bit_length() - 1}}}$" for size in BATCH_SIZES[::2]]
    )
    axes.set_xlabel("batch size $B$")
    axes.set_ylabel(label)
