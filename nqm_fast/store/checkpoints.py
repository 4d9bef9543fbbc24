"""Checkpoints: the state of a run at an event, in a file beside the run's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..output.saving import replace
from ..simulation.recorder import SavedArrays
from .files import Files

VERSION = 4  # of the arrays that the loops of a simulation save
METADATA = "facts"  # the name of the array that holds the metadata, as JSON in bytes


def save(files: Files, metadata: dict[str, Any], arrays: SavedArrays) -> None:
    """Write a checkpoint, and keep the one before under another name."""
    text = json.dumps(metadata | {"version": VERSION}).encode()
    content: dict[str, Any] = {METADATA: np.frombuffer(text, np.uint8)}
    with open(files.part, "wb") as file:
        np.savez(file, **(content | arrays))
    with suppress(FileNotFoundError):
        os.replace(files.checkpoint, files.previous)
    replace(files.part, files.checkpoint)


def read(path: Path, *, metadata_only: bool = False) -> tuple[dict[str, Any], SavedArrays] | None:
    """Read the metadata and the arrays of a checkpoint; None if it is absent or damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [METADATA] if metadata_only else file.files
            arrays = {name: file[name] for name in names}  # Zip files have checksums.
        return json.loads(arrays.pop(METADATA).tobytes()), arrays
    except Exception:  # Damaged bytes make the readers of zip and npy raise nearly anything.
        return None


def usable(
    files: Files, run_id: str, records: int, *, metadata_only: bool = False
) -> Iterator[tuple[dict[str, Any], SavedArrays]]:
    """Checkpoints of this run that need no more than its committed records, newest first."""
    for path in (files.checkpoint, files.previous):
        checkpoint = read(path, metadata_only=metadata_only)
        if checkpoint is not None:
            metadata = checkpoint[0]
            ours = metadata.get("version") == VERSION and metadata["run_id"] == run_id
            if ours and metadata["records"] <= records:
                yield checkpoint
