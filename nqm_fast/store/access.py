"""Runs in files: written while they compute, read at any time, gone on with after any kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..simulation.result import Run
from ..validation import InputError

if TYPE_CHECKING:
    from ..simulation.experiment import Experiment
    from .file_recorder import FileRecorder
    from .files import Files
    from .reading import Stored

# h5py, filelock and psutil are imported by the first call of a function that needs them


def open_run(path: str | os.PathLike[str]) -> Run:
    """Read a run from its file: one that is finished, stopped, or still going on.

    Parameters
    ----------
    path : path
        What was the argument `out` of `simulate`.

    Returns
    -------
    Run
        With all records that are committed by now. Its `status` is "finished", "diverged",
        "interrupted" (by a signal), "running", or "killed".

    Raises
    ------
    InputError
        If the file is damaged, foreign or from a newer version.
    FileNotFoundError
        If there is no such file.
    """
    from .files import Files
    from .reading import read

    files = Files(path)
    return as_run(files, read(files))


def as_run(files: Files, stored: Stored) -> Run:
    """What is stored, as `simulate` returns it."""
    import json

    from .files import resume_command
    from .reading import ENDED

    experiment, values = stored.experiment, stored.values
    message = stored.header["message"]
    if stored.status not in ("interrupted", *ENDED):
        message = ""
        if stored.status == "killed":
            of = f"{stored.records} of {experiment.records.size} records are there"
            message = f"{of}; go on with: {resume_command(files.base)}"
    run = Run(
        values["step"],
        {name: values[name] for name in experiment.observe},
        stored.status,
        message,
        stored.diverged_at,
        None if stored.states is None else tuple(stored.states),
        json.loads(stored.header["stats"]),
        experiment,
        values["wall_time"],
    )
    return run if experiment.listed else run.only_setting()


@contextmanager
def created(
    path: str | os.PathLike[str],
    experiment: Experiment,
    fingerprint: str,
    overwrite: bool,
    every: float,
) -> Generator[FileRecorder]:
    """A recorder for a new run."""
    from .file_recorder import FileRecorder
    from .files import Files, locked
    from .reading import read

    files = Files(path, "out")
    _check_folder(files)
    with locked(files):
        old: list[Any] = []
        if files.base.exists():
            try:
                stored = read(files)
            except InputError as error:
                raise InputError(f"out = {str(path)!r} exists and is kept: {error}") from None
            if not overwrite:
                status = "killed" if stored.status == "running" else stored.status  # not by us
                raise InputError(
                    f"out = {str(path)!r} exists, a run that is {status}: choose another "
                    "file, or overwrite it (overwrite=True, --overwrite)"
                )
            old = [*stored.continuations, *files.leftovers()]
        with FileRecorder(files, experiment, every, fingerprint).opened() as recorder:
            for left in old:
                left.unlink(missing_ok=True)
            yield recorder


@contextmanager
def reopened(
    path: str | os.PathLike[str], every: float, check: Callable[[Stored], None]
) -> Generator[FileRecorder | None]:
    """A recorder that goes on with a run, if it passes a check; none if it is finished."""
    from .file_recorder import FileRecorder
    from .files import Files, locked
    from .reading import ENDED, read

    files = Files(path)
    stored = read(files)
    if stored.status in ENDED and not (
        stored.continuations or files.leftovers() or files.lock.exists()
    ):
        yield None
        return
    with locked(files):
        stored = read(files)
        if stored.status in ENDED:  # and killed before it had tidied up
            for left in (*stored.continuations, *files.leftovers()):
                left.unlink(missing_ok=True)
            yield None
            return
        check(stored)
        with FileRecorder(files, stored.experiment, every, stored).opened() as recorder:
            yield recorder


def _check_folder(files: Files) -> None:
    """There is a folder to write to."""
    folder = files.base.absolute().parent
    if not folder.is_dir():
        raise InputError(f"out = {str(files.base)!r} is in a folder that does not exist")
    if files.base.is_dir():
        raise InputError(f"out = {str(files.base)!r} is a folder: give the name of a file")
    if not os.access(folder, os.W_OK):
        raise InputError(f"out = {str(files.base)!r} is in a folder that cannot be written to")
