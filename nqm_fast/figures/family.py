"""Steps to target against batch size for the family of linear methods, each tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..algorithms import QHM, SGD, AdEMAMix, DelayedSGD, Lookahead, Nesterov, ScheduleFree
from ..drawing.study import BATCH_SIZES, Best, Setting, Study, needed_samples, tuned
from ..drawing.style import (
    DASHED,
    SERIES,
    SOLID,
    batch_size_axes,
    drawn_bounds,
    steps_label,
    with_gaps,
)
from ..exact.tuning import tune
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 11
TITLE = "Momentum with an average needs the fewest steps at every batch size"
SUBJECT = "Steps to target: the family of linear methods"
PAPER = "none: methods that it does not have, on its problem"

EVERY_FOURTH = BATCH_SIZES[::4]
FEWEST_SAMPLES = 1024
"""The least batch size at which a method is tuned no two steps of which are the same, as its many
steps take long at smaller ones."""


class Method(NamedTuple):
    """A method, and how it is tuned."""

    kind: Any
    """Its class, or an example of it."""
    over: tuple[str, ...]
    series: int
    """Its colour; an average has that of its iterates."""
    fixed: dict[str, Any] = {}  # noqa: RUF012
    averages: bool = False
    """Whether what it evaluates is an average of iterates."""
    varies: bool = False
    """Whether no two steps are the same."""


METHODS = {
    "plain SGD": Method("plain", ("lr",), 0),
    "delay of a step": Method(DelayedSGD(1.0, 1), ("lr",), 7),
    "Lookahead": Method(Lookahead(SGD(1.0), 5, 0.5), ("lr",), 6, averages=True),
    "momentum": Method("momentum", ("lr", "momentum"), 2),
    "Nesterov": Method(Nesterov, ("lr", "momentum"), 3),
    "QHM, DANA": Method(QHM, ("lr", "momentum", "nu"), 4),
    "AdEMAMix": Method(AdEMAMix, ("lr", "slow"), 5, {"momentum": 0.9, "alpha": 8.0}),
    "Schedule-Free": Method(ScheduleFree(1.0, 0.9), ("lr",), 1, averages=True, varies=True),
    "EMA": Method("ema", ("lr", "ema"), 0, averages=True),
    "momentum, EMA": Method(SGD, ("lr", "momentum", "ema"), 2, averages=True),
}
"""Methods by name; those whose kind is a word are those of other figures, and tuned as there."""


def tuned_method(study: Study, name: str, batch_size: float) -> tuple[float, str]:
    """Tune a method: the fewest steps, and the setting that takes them (a job)."""
    method = METHODS[name]
    how: dict[str, Any] = {"algorithm": method.kind, "effort": "fast", **method.fixed}
    found = tune(study.problem, batch_size, study.target, method.over, **how)
    return found.steps, repr(found.algorithm)


def points(study: Study) -> list[tuple[str, float]]:
    """List methods and batch sizes."""
    return [
        (name, size)
        for name, method in METHODS.items()
        for size in study.sizes(EVERY_FOURTH)
        if size >= FEWEST_SAMPLES or not method.varies
    ]


def _job(study: Study, name: str, size: float) -> Job:
    """Return the job of a method at a batch size."""
    kind = METHODS[name].kind
    if isinstance(kind, str):
        return Job(tuned, (Study(study.pickled), Setting(kind, 0.0, study.target, size)))
    return Job(tuned_method, (Study(study.pickled, study.target), name, size))


def _bound(study: Study) -> Job:
    """Return the job of the samples that the target needs."""
    return Job(needed_samples, (Study(study.pickled), study.target))


def jobs(study: Study) -> list[Job]:
    """List the jobs: the samples that are needed, and tuning of every method at every size."""
    return [_bound(study), *(_job(study, *point) for point in points(study))]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate methods and batch sizes with the fewest steps and their setting."""
    rows = []
    for point in points(study):
        found = solved[_job(study, *point)]
        if isinstance(found, Best):
            found = found.steps, repr(SGD(found.lr, momentum=found.momentum, ema=found.ema))
        rows.append((*point, float(found[0]), found[1]))
    table = table_of_rows(("method", "batch_size", "steps", "algorithm"), rows)
    for name, samples in zip(
        ("cramer_rao_steps", "bayes_steps"), solved[_bound(study)], strict=True
    ):
        table[name] = samples / table["batch_size"]
    return table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a line for each method, solid if it averages, and the legend beside them."""
    figure.set_size_inches(8.5, 5.0)
    note = "All are tuned at each batch size; solid: those that evaluate an average of iterates."
    if min(table["batch_size"]) < FEWEST_SAMPLES:
        note += " Schedule-Free begins where tuning takes seconds."
    axes = batch_size_axes(figure, "", steps_label(study), study, table, note)
    figure.suptitle(study.title(TITLE, SUBJECT))
    names = distinct_values(table, "method")
    first = rows_where(table, method=names[0])
    for label, column, line in drawn_bounds(first):
        axes.plot(first["batch_size"], first[column], label=label, **line)
    for name in names:
        rows, method = rows_where(table, method=name), METHODS[name]
        style = {**SERIES[method.series], **(SOLID if method.averages else DASHED)}
        axes.plot(rows["batch_size"], with_gaps(rows["steps"]), label=name, **style)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
