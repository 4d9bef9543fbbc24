"""Access to runs in files: they are read at any time, begun, and resumed after any kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from errno import ENAMETOOLONG
from pathlib import Path
from typing import TYPE_CHECKING

from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import InputError
from ..simulation.result import Run
from .files import Files

if TYPE_CHECKING:
    from ..simulation.experiment import Experiment
    from .extension import Extension
    from .file_recorder import FileRecorder
    from .reading import Stored

# Modules that import h5py, filelock and psutil, which are slow to load, are imported in functions.


@in_usual_arithmetic
def open_run(path: str | os.PathLike[str]) -> Run:
    """Read a run from its file: one that is finished, stopped, or still going on.

    Parameters
    ----------
    path : path
        The file that was the argument `out` of `simulate`.

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
    return stored_run(Files(path))


def stored_run(files: Files) -> Run:
    """Read the run in these files, as `open_run` does."""
    from .reading import read

    return as_run(files, read(files))


def as_run(files: Files, stored: Stored) -> Run:
    """Make a run, as `simulate` returns it, of what its files hold."""
    import json

    from .files import resume_command
    from .reading import ENDED_STATUSES

    experiment, values = stored.experiment, stored.values
    message = stored.header["message"]
    if stored.status not in ("interrupted", *ENDED_STATUSES):
        message = ""
        if stored.status == "killed":
            count = f"{stored.records} of {experiment.records.size} records are there"
            message = f"{count}; go on with: {resume_command(files.given)}"
    run = Run(
        values["step"],
        {name: values[name] for name in experiment.layout.recorded_names},
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
def recorder_of_new_run(
    path: str | os.PathLike[str] | Files,
    experiment: Experiment,
    fingerprint: str,
    overwrite: bool,
    checkpoint_interval: float,
) -> Generator[FileRecorder]:
    """Open a recorder for a new run, and close it in the end.

    Raises
    ------
    InputError
        If there is a run that is not to be overwritten, or another process is writing it.
    """
    from .file_recorder import FileRecorder

    files = path if isinstance(path, Files) else Files(path, "out")
    with place_for_new_run(files, overwrite) as old_files:
        recorder = FileRecorder(files, experiment, checkpoint_interval, fingerprint)
        with recorder.closed_at_exit():
            for old_file in old_files:
                old_file.unlink(missing_ok=True)
            yield recorder


@contextmanager
def place_for_new_run(files: Files, overwrite: bool) -> Generator[list[Path]]:
    """Lock the files of a new run; gives those of an old one to remove when its first is replaced.

    Raises
    ------
    InputError
        If there is a run that is not to be overwritten, or another process is writing it.
    """
    from .files import locked
    from .reading import read

    check_folder(files)
    with locked(files):
        old_files: list[Path] = []
        if files.base.exists():
            try:
                stored = read(files)
            except InputError as error:
                raise InputError(
                    f"out = {str(files.given)!r} exists and is kept: {error}"
                ) from None
            if not overwrite:
                raise InputError(_refusal(files, stored.status))
            old_files = [*stored.continuations, *files.leftovers()]
        yield old_files


@contextmanager
def recorder_of_resumed_run(
    path: str | os.PathLike[str] | Files,
    checkpoint_interval: float | None,
    check: Callable[[Stored], None],
    extend: Callable[[Stored], Extension | None] | None = None,
) -> Generator[FileRecorder | None]:
    """Open a recorder that goes on with a run, and close it in the end; None if the run has ended.

    `extend` says what the run shall become before it is resumed, if it shall change. It raises, and
    so does `check`, if that cannot be; nothing was changed then. Without an interval between
    checkpoints, the run keeps its own.
    """
    from . import header
    from .extension import lengthen
    from .file_recorder import FileRecorder
    from .files import locked
    from .reading import ENDED_STATUSES, read

    files = path if isinstance(path, Files) else Files(path)
    stored = read(files)
    is_tidy = not (stored.continuations or files.leftovers() or files.lock.exists())
    if stored.status in ENDED_STATUSES and is_tidy and extend is None:
        yield None
        return
    with locked(files):
        stored = read(files)
        if stored.status in ENDED_STATUSES:
            # Its process was killed before it had removed these files.
            for old_file in (*stored.continuations, *files.leftovers()):
                old_file.unlink(missing_ok=True)
        extension = extend(stored) if extend is not None else None
        if extension is not None:
            lengthen(files, stored, extension)
            stored = read(files)
        if stored.status in ENDED_STATUSES:
            yield None
            return
        check(stored)
        if checkpoint_interval is None:
            checkpoint_interval = header.checkpoint_interval(stored.header)
        recorder = FileRecorder(
            files, stored.experiment, checkpoint_interval, stored.header["fingerprint"], stored
        )
        with recorder.closed_at_exit():
            yield recorder


def _refusal(files: Files, status: str) -> str:
    """Why a new run does not begin, under the lock, where there is one of this status."""
    from .files import resume_command
    from .reading import ENDED_STATUSES

    # No process is writing it, or it would have the lock.
    status = "killed" if status == "running" else status
    advice = "choose another file, or overwrite it (overwrite=True, --overwrite)"
    if status not in ENDED_STATUSES:
        advice = f"go on with: {resume_command(files.given)}, or {advice}"
    return f"out = {str(files.given)!r} exists, a run that is {status}: {advice}"


def check_folder(files: Files) -> None:
    """Make sure that there is a folder to write to.

    Raises
    ------
    InputError
        If there is none, or it cannot be written to, or the name is one of a folder or too long.
    """
    folder, name = files.base.parent, str(files.given)
    if not folder.is_dir():
        raise InputError(f"out = {name!r} is in a folder that does not exist")
    if files.base.is_dir():
        raise InputError(f"out = {name!r} is a folder: give the name of a file")
    try:
        os.lstat(files.previous)  # the longest of the names beside it
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            most = os.pathconf(folder, "PC_NAME_MAX") - len(os.fsencode(files.previous.name))
            most += len(os.fsencode(files.base.name))
            raise InputError(
                f"out = {name!r} is too long a name: at most {most} bytes leave room for those of "
                "the files beside it"
            ) from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"out = {name!r} is in a folder that cannot be written to")
