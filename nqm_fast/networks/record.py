"""The record of a study: what is done, in memory and in the files of its folder."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..foundation.messages import InputError
from ..output.columns import write_csv
from ..output.saving import writable_folder
from ..store.files import Files, locked
from . import results_file
from .environment import versions
from .optimizers import OPTIMIZERS
from .table import Results, table_of
from .tasks import as_task
from .tuning import Result, Unit


class Chain(NamedTuple):
    """An optimiser of a task at all batch sizes, from the largest to the smallest.

    Each begins its search at the best point of the one before.
    """

    task: Any
    name: str
    optimizer: str
    batch_sizes: tuple[int, ...]
    target: float | None
    seeds: int
    quick: bool


class Record:
    """The units of a study that are done, in memory and in its files."""

    def __init__(self, folder: Path | None, facts: dict[str, Any], chains: list[Chain]) -> None:
        self.folder, self.facts, self.chains = folder, facts, chains
        self.before: results_file.Found = {}
        self.found: results_file.Found = {}
        if folder is not None:
            facts_before, self.before = results_file.read(folder / results_file.NAME, facts)
            self.facts = facts_before | facts
            self._check_before(folder / results_file.NAME)
            if self.before:
                self._write_table()  # which earlier versions wrote without what they found there

    def _target(self, task: str, target: float | None) -> float:
        """The target of a unit or chain of a task."""
        return float(self.facts[f"target of {task}"] if target is None else target)

    def _check_before(self, path: Path) -> None:
        """Raise an InputError if what was found before has another target, or other seeds."""
        wanted = {chain.name: chain for chain in self.chains}
        for (task, optimizer, size), (unit, _) in self.before.items():
            if task not in wanted:
                continue
            chain = wanted[task]
            values = {
                "target": (self._target(task, unit.target), self._target(task, chain.target)),
                "seeds": (unit.seeds, chain.seeds),
                "quick": (unit.quick, chain.quick),
            }
            for name, (before, now) in values.items():
                if before != now:
                    raise InputError(
                        f"out has a study ({path.name}) of {task} with {name}={before!r}, as of "
                        f"{optimizer} at batch size {size}, and not {name}={now!r}: choose another "
                        "folder"
                    )

    def done_before(self, unit: Unit, name: str) -> Result | None:
        """Return the result of a unit that an earlier study has found."""
        key = (name, unit.optimizer, unit.batch_size)
        if key not in self.before:
            return None
        # Where its search began does not matter, which was beside another batch size perhaps.
        return self.before[key][1]

    def add(self, unit: Unit, name: str, result: Result) -> None:
        """Note a result, and write the files anew if it is new."""
        key = (name, unit.optimizer, unit.batch_size)
        is_known = key in self.before and self.before[key][1] is result
        self.found[key] = self.before[key] if is_known else (unit, result)
        if self.folder is not None and not is_known:
            whole = self.before | self.found
            results_file.write(self.folder / results_file.NAME, self.facts, whole)
            self._write_table()

    def _write_table(self) -> None:
        """Write the table of all that was found, now and before."""
        assert self.folder is not None
        whole = self.before | self.found
        order = list(OPTIMIZERS)
        keys = sorted(whole, key=lambda key: (key[0], order.index(key[1]), key[2]))
        rows = [
            (unit, key[0], self._target(key[0], unit.target), result)
            for key in keys
            for unit, result in (whole[key],)
        ]
        write_csv(self.folder / results_file.CSV_NAME, table_of(rows))

    def table(self) -> Results:
        """Tabulate what was asked for and is done: tasks and optimisers in order, sizes upwards."""
        rows = []
        for chain in self.chains:
            for size in reversed(chain.batch_sizes):
                key = (chain.name, chain.optimizer, size)
                if key in self.found:
                    unit, result = self.found[key]
                    rows.append((unit, chain.name, self._target(chain.name, unit.target), result))
        return table_of(rows)


@contextmanager
def recorded(out: str | os.PathLike[str] | None, chains: list[Chain]) -> Generator[Record]:
    """Give the record of a study, whose folder no other process uses meanwhile."""
    facts: dict[str, Any] = dict(versions())
    for chain in chains:
        task = as_task(chain.task)
        values = (task.roughly_measured() if chain.quick else task).facts()
        facts |= {f"{name} of {chain.name}": value for name, value in values.items()}
    if out is None:
        yield Record(None, facts, chains)
        return
    folder = writable_folder("out", out).absolute()
    with locked(Files(folder / results_file.NAME, "out")):
        yield Record(folder, facts, chains)
