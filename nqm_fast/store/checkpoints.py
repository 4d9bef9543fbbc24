"""Checkpoints: the state of a run at an event, in a file beside the run's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..control import Arrays
from .files import Files, replace

VERSION = 1  # of the arrays that engines save


def save(files: Files, facts: dict[str, Any], arrays: Arrays) -> None:
    """Write a checkpoint; the one before is kept."""
    content: dict[str, Any] = {
        "facts": np.frombuffer(json.dumps(facts | {"version": VERSION}).encode(), np.uint8)
    }
    with open(files.part, "wb") as file:
        np.savez(file, **(content | arrays))
    with suppress(FileNotFoundError):
        os.replace(files.checkpoint, files.previous)
    replace(files.part, files.checkpoint)


def read(path: Path, *, facts_only: bool = False) -> tuple[dict[str, Any], Arrays] | None:
    """A checkpoint, if there is one and it is whole (zip files have checksums)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = ["facts"] if facts_only else file.files
            arrays = {name: file[name] for name in names}
        return json.loads(arrays.pop("facts").tobytes()), arrays
    except Exception:  # whatever foreign bytes make the readers of zip and npy raise
        return None


def usable(files: Files, run_id: str, records: int) -> Iterator[tuple[dict[str, Any], Arrays]]:
    """Checkpoints of this run that need no more than its committed records, newest first."""
    for path in (files.checkpoint, files.previous):
        found = read(path)
        if found and is_usable(found[0], run_id, records):
            yield found


def is_usable(facts: dict[str, Any], run_id: str, records: int) -> bool:
    """Whether a run with so many committed records can go on from there."""
    known = facts.get("version") == VERSION and facts["run_id"] == run_id
    return known and bool(facts["records"] <= records)


def newest(files: Files, run_id: str, records: int) -> dict[str, Any] | None:
    """Facts of the checkpoint that a resumption would go on from."""
    for path in (files.checkpoint, files.previous):
        found = read(path, facts_only=True)
        if found and is_usable(found[0], run_id, records):
            return found[0]
    return None


def remove(files: Files) -> None:
    """Of a run that is finished."""
    for path in (files.checkpoint, files.previous):
        path.unlink(missing_ok=True)
