"""The figures of the noisy quadratic model, each a picture and a table of its numbers.

A figure is a module of this package without a leading underscore. It has

- ``ORDER``, its place among the others, ``TITLE``, and ``PAPER``, what it corresponds to in the
  paper (Zhang et al. 2019);
- ``jobs(study)``, the computations that it needs (`jobs.Job`) for a problem, a target and batch
  sizes (`_model.Study`); a job that several figures need is solved once;
- ``compute(study, solved)``, which makes its table, columns by name, from the solved jobs;
- ``plot(figure, table, study)``, which draws the table into a Matplotlib figure;
- ``OWN_PROBLEM = True``, if its problem cannot be chosen;
- ``LEAST_DIM``, if a problem must have so many coordinates, and ``check(study)``, if more must be.

A table with the columns optimiser, power, target, batch_size and steps takes part in the
summary.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms.sgd import SGD
from ..drawing.environment import check_matplotlib
from ..exact.risk import expected_risk
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import (
    InputError,
    choice,
    in_range,
    number,
    real_array,
    shown,
    step_array,
)
from ..output.saving import folder_path, writable_folder
from ..problem import Problem, as_additive_problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..drawing.study import Study
    from ..drawing.summary import CriticalBatch
    from ..machine.jobs import Job, Solved
    from ..output.columns import Table

__all__ = ["Drawn", "counterparts", "critical_batch_sizes", "draw", "names", "titles"]


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


Progress = Callable[[int, int, str], None]
"""A function that is called with work done, work in all, and the name of a figure or ""."""


class Drawn(NamedTuple):
    """A figure that has been drawn.

    Attributes
    ----------
    name, title : str
    picture, data : Path
        The PNG and the CSV.
    table : dict of str to ndarray
        What the CSV holds.
    """

    name: str
    title: str
    picture: Path
    data: Path
    table: Table


class _FigureModule(Protocol):
    """The interface of a figure's module."""

    __name__: str
    ORDER: int
    TITLE: str
    PAPER: str

    def jobs(self, study: Study) -> list[Job]: ...
    def compute(self, study: Study, solved: Solved) -> Table: ...
    def plot(self, figure: Figure, table: Table, study: Study) -> None: ...


@cache
def _modules() -> dict[str, _FigureModule]:
    """Import the modules of all figures, and return them by name, in their order."""
    found = [
        cast(_FigureModule, importlib.import_module(f"{__name__}.{module.name}"))
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    ]
    found.sort(key=lambda module: (module.ORDER, module.__name__))
    return {module.__name__.rpartition(".")[2]: module for module in found}


def names() -> list[str]:
    """List the names of all figures, in their order."""
    return list(_modules())


def titles() -> dict[str, str]:
    """Return the title of each figure, by name."""
    return {name: module.TITLE for name, module in _modules().items()}


def counterparts() -> dict[str, str]:
    """Return what each figure corresponds to in Zhang et al. 2019, by name."""
    return {name: module.PAPER for name, module in _modules().items()}


def _why_not(name: str, problem: Problem | None) -> str:
    """Say what must be otherwise before a figure can be drawn; empty if nothing."""
    module = _modules()[name]
    if getattr(module, "OWN_PROBLEM", False):
        return f"be left out for {name}, which has a problem of its own"
    least = getattr(module, "LEAST_DIM", 1)
    if problem is not None and as_additive_problem(problem, "figures").dim < least:
        return f"have {least} coordinates or more for {name}"
    return ""


def _two_coordinates(value: Any) -> tuple[int, int]:
    """Check the two coordinates of the figure plane, but not whether the problem has them."""
    numbers = step_array("coordinates", value)
    if numbers.shape != (2,) or numbers[0] == numbers[1]:
        raise InputError(
            f"coordinates must be two different numbers of coordinates, not {shown(value)}"
        )
    first, second = numbers.tolist()
    return first, second


@in_usual_arithmetic
def draw(
    names: str | Sequence[str] = (),
    out: Path | str = ".",
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    problem: Problem | None = None,
    target: float | None = None,
    batch_sizes: ArrayLike | None = None,
    results: Path | str | None = None,
    coordinates: ArrayLike | None = None,
) -> list[Drawn]:
    """Compute and draw figures: ``out/NAME.png`` and ``out/NAME.csv`` of each.

    Parameters
    ----------
    names : str or sequence of str
        Which figures; if empty all, or with a problem, target or batch sizes all that take them.
    out : path
        Directory, made if it does not exist.
    progress : callable, optional
        Called after every piece of work with how many are done, how many there are, and
        the name of the figure that is ready ("" if none is).
    workers : int, optional
        Number of processes; one per core by default.
    problem : Problem, optional
        Instead of the paper's, ``Problem.power_law(10_000)``.
    target : float, optional
        Excess risk to reach: 0.01, or 1/500 of the initial risk of a problem of your own.
    batch_sizes : array_like, optional
        Ascending, instead of those of the paper, >= 1.
    results : path, optional
        The folder of a study of networks (`networks.study`), which the figures networks and
        networks_lr then show instead of the shipped one.
    coordinates : (int, int), optional
        The two coordinates of the figure plane, counted from 0: by default those of the lecture's
        problem, or the first and the tenth (the last, if there are fewer) of a problem of your own.

    Returns
    -------
    list of Drawn
        In the order of `names` (of this package's `names` if empty).

    Raises
    ------
    InputError
        If a name is unknown, or its figure has a problem of its own and another is given; if the
        target is not below the initial risk; if `out` cannot be written to, or Matplotlib (for
        the figure digits, scikit-learn) is not installed.
    """
    given = {"problem": problem, "target": target, "batch_sizes": batch_sizes}
    chosen = [name for name, value in given.items() if value is not None]
    asked = [names] if isinstance(names, str) else list(names)
    usual = [name for name in _modules() if not (chosen and _why_not(name, problem))]
    wanted = {choice("figure", name, list(_modules())): None for name in asked or usual}
    for name in wanted:
        reason = _why_not(name, problem) if chosen else ""
        if reason:
            raise InputError(f"{chosen[0]} must {reason}")
    check_matplotlib()
    study = _study(problem, target, batch_sizes)
    if results is not None:
        study = study._replace(results=str(folder_path("results", results).absolute()))
    if coordinates is not None:
        study = study._replace(coordinates=_two_coordinates(coordinates))
    for name in wanted:
        getattr(_modules()[name], "check", lambda _: None)(study)
    needed = {name: set(_modules()[name].jobs(study)) for name in wanted}
    folder = writable_folder("out", out)
    # Another thread may change the working directory meanwhile.
    drawn = _draw(study, needed, folder.absolute(), progress or (lambda *_: None), workers)
    return [
        figure._replace(picture=folder / figure.picture.name, data=folder / figure.data.name)
        for figure in drawn
    ]


def _study(problem: Problem | None, target: float | None, batch_sizes: ArrayLike | None) -> Study:
    """Check the problem, target and batch sizes, of which None are those of the paper."""
    import pickle

    from ..drawing.study import TARGET, Study

    study = Study()
    if problem is not None:
        study = study._replace(pickled=pickle.dumps(as_additive_problem(problem, "figures")))
    initial = float(expected_risk(study.problem, SGD(0.0), 1.0, 0))
    goal = TARGET
    if target is not None:
        goal = number("target", target, above=0.0)
    elif problem is not None:
        goal = float(f"{initial / 500:.2g}")
    if goal >= initial:
        raise InputError(f"target must be below the initial risk, {initial:g}, not {goal:g}")
    sizes = None
    if batch_sizes is not None:
        array = real_array("batch_sizes", batch_sizes).ravel()
        in_range("batch_sizes", array, least=1.0)
        if not array.size:
            raise InputError("batch_sizes must be one or more numbers >= 1, not none")
        ascending = np.unique(array).tolist()
        sizes = tuple(int(size) if size.is_integer() else size for size in ascending)
    return study._replace(target=goal, batch_sizes=sizes)


def critical_batch_sizes(drawn: Sequence[Drawn]) -> list[CriticalBatch]:
    """Find the knee of steps against batch size, for every optimiser in the figures drawn.

    At small batches steps fall as 1 / batch size (the samples stay the same), at large ones
    they stay the same. The knee is where these asymptotes meet: it is the samples used at
    the smallest batch size, divided by the steps taken at the largest.
    """
    from ..drawing import summary as _summary

    return _summary.critical_batch_sizes(figure.table for figure in drawn)


def _draw(
    study: Study, needed: dict[str, set[Job]], out: Path, progress: Progress, workers: int | None
) -> list[Drawn]:
    """Draw each figure as soon as its jobs are solved."""
    from ..machine.jobs import solve

    jobs = [job for name in needed for job in _modules()[name].jobs(study)]
    total = len(set(jobs)) + len(needed)
    solved: dict[Job, Any] = {}
    drawn: dict[str, Drawn] = {}
    unsolved = {name: set(wanted) for name, wanted in needed.items()}
    with closing(solve(jobs, workers)) as results:
        for job, result in results:
            solved[job] = result
            progress(len(solved) + len(drawn), total, "")
            for missing in unsolved.values():
                missing.discard(job)
            for name in [name for name, missing in unsolved.items() if not missing]:
                del unsolved[name]
                drawn[name] = _write_figure(study, name, solved, out)
                progress(len(solved) + len(drawn), total, name)
    return [drawn[name] for name in needed]


def _write_figure(study: Study, name: str, solved: Solved, out: Path) -> Drawn:
    """Write the picture and the table of a figure whose jobs are solved."""
    from ..drawing.output import write_png
    from ..output.columns import write_csv

    module = _modules()[name]
    table = module.compute(study, solved)
    result = Drawn(name, module.TITLE, out / f"{name}.png", out / f"{name}.csv", table)
    write_csv(result.data, table)
    write_png(result.picture, lambda figure, table: module.plot(figure, table, study), table)
    return result
