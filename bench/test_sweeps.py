"""Sweeps: what a task costs beside its work, what two workers gain, and how soon one goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.output import saving
from nqm_fast.sweeps import folder, grouping
from nqm_fast.sweeps.plan import as_plan

pytest.importorskip("xarray")
TARGET = {"dim": 100, "batch_size": 8, "target": 0.2}


def with_tasks_of_one_point(monkeypatch: Any) -> None:
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(grouping, "TASK_SECONDS", 0.0)


def test_overhead(alternate: Any, benchmark: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """Tasks of one point each in one process, with their files, against calls of the function."""
    with_tasks_of_one_point(monkeypatch)
    count = 300 if benchmark.enabled else 3
    rates = np.linspace(0.05, 0.3, count).tolist()
    number = iter(range(100))

    def swept(some: Any) -> Any:
        out = tmp_path / f"{next(number)}.h5"
        return nqm.sweep("steps", {"lr": some}, executor=1, out=out, **TARGET)

    def called() -> list[Any]:
        problem = nqm.Problem.power_law(100)
        return [nqm.steps_to_target(problem, nqm.SGD(lr), 8, 0.2) for lr in rates]

    whole, alone, start = alternate(
        lambda: swept(rates), called, lambda: swept(rates[:1]), rounds=3
    )
    benchmark.extra_info |= {
        "work": "overhead of a task of a sweep, sent to a process and written to a file",
        "ms": 1e3 * (whole - start - alone) / (count - 1),
        "start of a process and of the sweep, s": start,
    }


def test_two_workers(alternate: Any, benchmark: Any) -> None:
    """Points of about a second each, simulated by one worker and by two."""
    steps = 130_000 if benchmark.enabled else 10
    grid = {"seed": list(range(30 if benchmark.enabled else 2))}
    common = {"dim": 10_000, "steps": steps, "batch_size": 8, "lr": 0.1, "record": [steps]}

    def swept(workers: int) -> Any:
        return nqm.sweep("simulate", grid, executor=workers, **common)

    two, one = alternate(lambda: swept(2), lambda: swept(1), rounds=3)
    benchmark.extra_info |= {
        "work": "a sweep of one-second points on two workers, against one",
        "times": one / two,
        "target": "at least 1.9, on two free cores",
    }


@pytest.mark.parametrize("points_of_a_task", [1, 100])
@pytest.mark.parametrize("merged", [False, True])
def test_going_on(
    benchmark: Any, monkeypatch: Any, tmp_path: Path, points_of_a_task: int, merged: bool
) -> None:
    """A sweep of 10,000 points goes on, of which all are done; maybe it is also merged.

    Merging removes the files of tasks, which takes most of the time where each has one point. Such
    a sweep took 10,000 times ten seconds, as cheaper points share a task.
    """
    count = 10_000 if benchmark.enabled else 100
    grid = {"lr": np.linspace(0.1, 0.5, count).tolist()}
    plan = as_plan("steps", grid, TARGET)
    monkeypatch.setattr(saving, "sync", lambda _: None)
    number = iter(range(100))

    def begun() -> Any:
        out = tmp_path / f"{next(number)}.h5"
        parts = folder.folder_of(out)
        folder.prepare(parts, plan)
        for first in range(0, count, points_of_a_task):
            rows = plan.empty_rows(range(first, min(first + points_of_a_task, count)))
            folder.write_rows(parts, plan.digest, rows)
        return (out,), {}

    part = None if merged else (0, 1)
    benchmark.pedantic(
        lambda out: nqm.sweep("steps", grid, executor=1, out=out, part=part, **TARGET),
        setup=begun,
        rounds=3 if benchmark.enabled else 1,
        warmup_rounds=1,
    )
    text = f"going on with a sweep of 10,000 done points, {points_of_a_task} in a file"
    benchmark.extra_info |= {
        "work": f"{text}, and merging it" if merged else text,
        "target": "" if merged else "under 2 s",
    }
