"""Saved files: each is written beside its name and renamed, so that no name holds a part of one."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from errno import EACCES, ELOOP, ENAMETOOLONG
from pathlib import Path
from typing import Any

from ..foundation.validation import InputError, shown

SPECIAL = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
TRIES = 40 if os.name == "nt" else 1
"""Windows refuses to replace a file while somebody reads it, so there it is tried again."""
RETRY_SECONDS = 0.05  # between two tries


def _name(argument: str, value: Any, kind: str, is_name: Callable[[str], bool]) -> str:
    """Return `value` as text if it can be the name of a file or a folder, whichever `kind` says.

    Raises
    ------
    InputError
        If it cannot.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text or not is_name(text):
        raise InputError(f"{argument} must be the name of a {kind}, not {shown(value)}")
    return text


def file_path(argument: str, value: Any) -> Path:
    """Return the path of a file, not yet absolute, if `value` can be one.

    Raises
    ------
    InputError
        If it is not the name of a file on this system.
    """
    text = _name(argument, value, "file", lambda text: bool(Path(text).name))
    try:
        os.lstat(text)
    except UnicodeEncodeError:
        raise InputError(f"{argument} must be a name on this system, not {shown(value)}") from None
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise InputError(f"{argument} must be a shorter name than {shown(value)}") from None
    return Path(text)


def folder_path(argument: str, value: Any) -> Path:
    """Return the path of a folder, not yet absolute, if `value` can be one.

    Raises
    ------
    InputError
        If it is not the name of a folder on this system.
    """
    text = _name(argument, value, "folder", bool)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise InputError(f"{argument} must be a name on this system, not {shown(value)}") from None
    return Path(text)


def special_kind(path: str | os.PathLike[str]) -> str | None:
    """The kind of a file that does not keep what is written to it, such as a FIFO, else None."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:  # There is none, or it will be found out by whoever opens it.
        return "a link that leads to itself" if error.errno == ELOOP else None
    return next((kind for is_kind, kind in SPECIAL if is_kind(mode)), None)


def refuse_special(argument: str, path: str | os.PathLike[str]) -> None:
    """Raise an InputError if a path leads to a FIFO, a socket or a device."""
    kind = special_kind(path)
    if kind is not None:
        raise InputError(f"{argument} = {str(path)!r} is {kind}: give the name of a file")


def writable_folder(argument: str, value: str | os.PathLike[str]) -> Path:
    """Make a directory if there is none, and check that it can be written to.

    Raises
    ------
    InputError
        If that is not so.
    """
    path = folder_path(argument, value)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{argument} cannot be made a directory ({error.strerror}): {path}"
        ) from None
    if not os.access(path, os.W_OK):
        raise InputError(f"{argument} must be a directory that can be written to, not {path}")
    return path


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(new: Path, path: Path) -> None:
    """Rename a complete new file to `path`, so that there always is a complete file there."""
    sync(new)
    for rest in reversed(range(TRIES)):
        try:
            os.replace(new, path)
            break
        except PermissionError:
            if not rest:
                raise
            time.sleep(RETRY_SECONDS)
    if os.name == "posix":
        sync(path.parent)


@contextmanager
def written_beside(argument: str, path: str | os.PathLike[str]) -> Generator[Path]:
    """Give the name of an empty file, which takes the place of `path` at the end of the context.

    If anything fails, what was at `path` stays, and nothing is left beside it. A link stays a link,
    and a file keeps its permissions.

    Raises
    ------
    InputError
        If the path leads to a folder, a FIFO, a socket or a device.
    OSError
        With this path, if it cannot be written.
    """
    path = file_path(argument, path)
    refuse_special(argument, path)
    if path.is_dir():
        raise InputError(f"{argument} = {str(path)!r} is a folder: give the name of a file")
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{os.urandom(8).hex()}.part")
    try:
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        yield part
        replace(part, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
