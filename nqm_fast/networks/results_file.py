"""The files of a study: all that was found as HDF5, and its table as CSV.

The HDF5 file has a group ``TASK/OPTIMIZER/BATCH_SIZE`` for each unit. Whenever a unit is done the
file is written anew and renamed, so that a study that is killed loses no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..foundation.messages import InputError
from ..output.saving import written_beside
from .training import Outcome, Trial
from .tuning import Best, Result, Unit

NAME, CSV_NAME = "networks.h5", "networks.csv"
FORMAT = "nqm-fast networks 1"

Key = tuple[str, str, int]
"""Task, optimiser and batch size."""
Found = dict[Key, tuple[Unit, Result]]


def write(path: Path, facts: Mapping[str, Any], found: Found) -> None:
    """Write all units that are done."""
    import h5py

    with written_beside("out", path) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["facts"] = json.dumps(facts, sort_keys=True)
        for (task, optimizer, batch_size), (unit, result) in found.items():
            _write_unit(file.create_group(f"{task}/{optimizer}/{batch_size}"), unit, result)


def _write_unit(group: Any, unit: Unit, result: Result) -> None:
    """Write a unit: its best settings as attributes, its trainings as arrays."""
    group.attrs["unit"] = json.dumps(dict(zip(unit._fields[3:], unit[3:], strict=True)))
    group.attrs["best"] = json.dumps([asdict(best) for best in result.best])
    group.attrs["point"] = result.point
    group["curve"] = result.curve
    outcomes = result.outcomes
    for name in Trial._fields:
        group[f"trainings/{name}"] = [getattr(outcome.trial, name) for outcome in outcomes]
    for name in ("steps", "validation", "lowest", "diverged", "watched"):
        group[f"trainings/{name}"] = np.array([getattr(outcome, name) for outcome in outcomes])


def read(path: Path, facts: Mapping[str, Any]) -> tuple[dict[str, Any], Found]:
    """Read the facts of a study and the units that are done, or none if there is no file.

    Raises
    ------
    InputError
        If the file is not of a study with the same facts.
    """
    import h5py

    if not path.exists():
        return {}, {}
    try:
        with h5py.File(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"out has a file {path.name} that is no study of networks")
            before = json.loads(file.attrs["facts"])
            _check_facts(path, before, facts)
            return before, {
                (task, optimizer, int(size)): _read_unit(task, optimizer, int(size), group)
                for task, optimizers in file.items()
                for optimizer, sizes in optimizers.items()
                for size, group in sizes.items()
            }
    except OSError as error:
        raise InputError(f"out has a file {path.name} that cannot be read: {error}") from error


def _check_facts(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise an InputError if a study would go on with other numbers than it began with."""
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            raise InputError(
                f"out has a study ({path.name}) with {name} {before[name]}, which is now "
                f"{now[name]}: choose another folder"
            )


def _read_unit(task: str, optimizer: str, batch_size: int, group: Any) -> tuple[Unit, Result]:
    """Read a unit."""
    fields = json.loads(group.attrs["unit"])
    near = None if fields["near"] is None else tuple(fields["near"])
    unit = Unit(task, optimizer, batch_size, **(fields | {"near": near}))
    best = [Best(**values) for values in json.loads(group.attrs["best"])]
    columns = {name: array[()] for name, array in group["trainings"].items()}
    outcomes = [
        Outcome(
            Trial(*(columns[name][k].item() for name in Trial._fields)),
            columns["steps"][k],
            columns["validation"][k],
            columns["lowest"][k],
            bool(columns["diverged"][k]),
            int(columns["watched"][k]),
            np.empty((0, 2)),
        )
        for k in range(len(columns["seed"]))
    ]
    point = tuple(group.attrs["point"].tolist())
    return unit, Result((best[0], best[1]), point, group["curve"][()], outcomes)
