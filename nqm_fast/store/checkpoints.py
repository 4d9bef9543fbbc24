"""Checkpoints: the state of a run at an event, in a file beside the run's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..simulation.recorder import SavedArrays
from .files import Files, replace

VERSION = 3  # of the arrays that engines save


def save(files: Files, facts: dict[str, Any], arrays: SavedArrays) -> None:
    """Write a checkpoint; the one before is kept."""
    content: dict[str, Any] = {
        "facts": np.frombuffer(json.dumps(facts | {"version": VERSION}).encode(), np.uint8)
    }
    with open(files.part, "wb") as file:
        np.savez(file, **(content | arrays))
    with suppress(FileNotFoundError):
        os.replace(files.checkpoint, files.previous)
    replace(files.part, files.checkpoint)


def read(path: Path, *, facts_only: bool = False) -> tuple[dict[str, Any], SavedArrays] | None:
    """A checkpoint, if there is one and it is whole (zip files have checksums)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = ["facts"] if facts_only else file.files
            arrays = {name: file[name] for name in names}
        return json.loads(arrays.pop("facts").tobytes()), arrays
    except Exception:  # whatever foreign bytes make the readers of zip and npy raise
        return None


def usable(
    files: Files, run_id: str, records: int, *, facts_only: bool = False
) -> Iterator[tuple[dict[str, Any], SavedArrays]]:
    """Checkpoints of this run that need no more than its committed records, newest first."""
    for path in (files.checkpoint, files.previous):
        found = read(path, facts_only=facts_only)
        if found is not None:
            facts = found[0]
            known = facts.get("version") == VERSION and facts["run_id"] == run_id
            if known and facts["records"] <= records:
                yield found
