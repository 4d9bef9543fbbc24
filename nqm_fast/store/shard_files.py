"""The files of a run's shards while workers compute them: a folder beside the file of the run.

Its plan says which coordinates and replicas each shard has, so that whoever goes on with the run,
on other workers, goes on with these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..foundation.messages import InputError
from ..output.saving import replace
from ..simulation.coordinates import Coordinates
from ..simulation.experiment import Experiment, shard_of
from .files import Files

PLAN = "plan.json"
SCHEMA = "nqm_fast shards 1"
IN_A_FOLDER = 1000
"""Shards in a folder: runs list the folder that they are in, which takes long if it is large."""


class Piece(NamedTuple):
    """Coordinates, and the replicas from a place in the run's to another."""

    coordinates: Coordinates
    begin: int
    end: int

    def of(self, whole: Experiment) -> Experiment:
        """The shard of a run."""
        return shard_of(whole, self.coordinates, whole.replicas[self.begin : self.end])


class ShardFiles:
    """The folder with the shards of the run in a file, and their names; it need not exist."""

    def __init__(self, run: Files) -> None:
        self.run = run
        self.folder = run.base.with_name(f"{run.base.stem}.shards")
        self.plan = self.folder / PLAN

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"{number // IN_A_FOLDER:04d}" / f"{number:07d}.h5"

    def pieces_of(self, whole: Experiment) -> list[Piece] | None:
        """The pieces of a run of which there are shards; None if they are of another run, or none.

        Raises
        ------
        InputError
            If the plan is damaged.
        """
        found = self._read()
        return found[1] if found is not None and found[0] == digest(whole) else None

    def begin(self, whole: Experiment, pieces: Sequence[Piece], overwrite: bool) -> list[Piece]:
        """Make the folder, or go on with the pieces that it has.

        Raises
        ------
        InputError
            If it has shards of another run, which are not to be overwritten.
        """
        found = self.pieces_of(whole)
        if found is not None:
            return found
        if self._read() is not None:
            if not overwrite:
                raise InputError(
                    f"out = {str(self.run.given)!r}: shards of another run are in "
                    f"{self.run.shown(self.folder)!r}: go on with that run, choose another file, "
                    "or overwrite it (overwrite=True, --overwrite)"
                )
            self.remove()
        for folder in {self.path(number).parent for number in range(len(pieces))}:
            folder.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": SCHEMA,
            "experiment": digest(whole),
            "pieces": [[*piece.coordinates, piece.begin, piece.end] for piece in pieces],
        }
        part = self.plan.with_name(f"{PLAN}.part")
        part.write_text(json.dumps(content))
        replace(part, self.plan)
        return list(pieces)

    def remove(self) -> None:
        """Remove the shards and the plan, and the folder unless others have put files there."""
        found = self._read()
        for number in range(0 if found is None else len(found[1])):
            files = Files(self.path(number))
            for path in (files.base, *files.leftovers(), files.lock):
                path.unlink(missing_ok=True)
            for path in files.continuations().values():
                path.unlink(missing_ok=True)
        self.plan.unlink(missing_ok=True)
        numbers = range(0, 0 if found is None else len(found[1]), IN_A_FOLDER)
        for folder in (*(self.path(number).parent for number in numbers), self.folder):
            with suppress(OSError):
                folder.rmdir()

    def _read(self) -> tuple[str, list[Piece]] | None:
        """The digest of the experiment and the pieces in the plan, if there is one."""
        try:
            content = json.loads(self.plan.read_text())
            if content["schema"] != SCHEMA:
                raise ValueError(content["schema"])
            rows = content["pieces"]
            pieces = [Piece(Coordinates(*row[:3]), row[3], row[4]) for row in rows]
            return str(content["experiment"]), pieces
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"out = {str(self.run.given)!r}: {self.run.shown(self.plan)!r} is damaged: "
                f"{' '.join(str(error).split())}"
            ) from None


def digest(experiment: Experiment) -> str:
    """The digest of all that a run's numbers depend on."""
    from .layout import contents_digest
    from .serialization import encode

    configuration, arrays = encode(experiment)
    text = json.dumps([configuration, contents_digest(arrays)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
