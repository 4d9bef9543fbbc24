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


def save(files: Files, facts: dict[str, Any], arrays: Arrays) -> None:
    """Write a checkpoint; the one before is kept."""
    content: dict[str, Any] = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    with open(files.part, "wb") as file:
        np.savez(file, **(content | arrays))
    with suppress(FileNotFoundError):
        os.replace(files.checkpoint, files.previous)
    replace(files.part, files.checkpoint)


def read(path: Path) -> tuple[dict[str, Any], Arrays] | None:
    """A checkpoint, if there is one and it is whole (zip files have checksums)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop("facts").tobytes()), arrays
    except Exception:  # whatever foreign bytes make the readers of zip and npy raise
        return None


def usable(files: Files, run_id: str, records: int) -> Iterator[tuple[dict[str, Any], Arrays]]:
    """Checkpoints of this run that need no more than its committed records, newest first."""
    for path in (files.checkpoint, files.previous):
        found = read(path)
        if found and found[0]["run_id"] == run_id and found[0]["records"] <= records:
            yield found


def remove(files: Files) -> None:
    """Of a run that is finished."""
    for path in (files.checkpoint, files.previous):
        path.unlink(missing_ok=True)
