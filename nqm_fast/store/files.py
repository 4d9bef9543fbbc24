"""The files of a run, and what a file system does to them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from ..validation import InputError, shown

SIGNED = b"nqm_fast sha256 "


class Files:
    """Names of all that belongs to the run in `base`.

    Raises
    ------
    InputError
        If it is not the name of a file.
    """

    def __init__(self, base: Any, argument: str = "path") -> None:
        usable = isinstance(base, str | os.PathLike) and "\0" not in os.fspath(base)
        if not usable or not Path(base).name:
            raise InputError(f"{argument} must be the name of a file, not {shown(base)}")
        self.base = Path(base)
        if self.base.is_symlink():  # its target is the file, whatever it is called
            self.base = self.base.resolve()
        beside = self.base.name
        self.part = self.base.with_name(f"{beside}.part")
        self.checkpoint = self.base.with_name(f"{beside}.checkpoint")
        self.previous = self.base.with_name(f"{beside}.checkpoint.previous")
        self.lock = self.base.with_name(f"{beside}.lock")

    def leftovers(self) -> list[Path]:
        """What is there beside the run, but for its segments and the lock."""
        return [path for path in (self.part, self.checkpoint, self.previous) if path.exists()]

    def continuation(self, number: int) -> Path:
        """The file that the run goes on in after its `number` - 1st resumption."""
        return self.base.with_name(f"{self.base.stem}.{number:04d}{self.base.suffix}")

    def continuations(self) -> dict[int, Path]:
        """Existing files with names of segments, by number; not all need be this run's."""
        pattern = rf"{re.escape(self.base.stem)}\.(\d{{4,}}){re.escape(self.base.suffix)}"
        beside = self.base.parent
        names = [name for x in os.listdir(beside) if (name := re.fullmatch(pattern, x))]
        return dict(sorted((int(name[1]), beside / name[0]) for name in names))

    def free_number(self) -> int:
        """The first number of a segment after all that exist."""
        return max(self.continuations(), default=1) + 1


def sign(path: Path) -> None:
    """Append a digest of all bytes; HDF5 does not mind, and has checksums of some only."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256")
        file.seek(0, io.SEEK_END)
        file.write(SIGNED + digest.digest())


def is_signed(path: Path) -> bool:
    """Whether the file ends with the right digest."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END) - len(SIGNED) - hashlib.sha256().digest_size
        file.seek(max(size, 0))
        found = file.read()
        file.seek(0)
        digest = hashlib.sha256()
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return found == SIGNED + digest.digest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(new: Path, path: Path) -> None:
    """Give a complete new file its name, so that there is no moment without one."""
    sync(new)
    os.replace(new, path)
    if os.name == "posix":
        sync(path.parent)


@contextmanager
def locked(files: Files) -> Generator[None]:
    """Be the only process that writes this run."""
    lock = filelock.FileLock(files.lock, timeout=0.5)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"out = {str(files.base)!r} is being written by another process: wait for its end, or "
            "choose another file"
        ) from None
    try:
        yield
    finally:
        files.lock.unlink(missing_ok=True)  # while it is held, or it might be another's
        lock.release()


def resume_command(path: str | os.PathLike[str]) -> str:
    """What to type to go on with a run."""
    return f"nqm-fast resume {shlex.quote(str(path))}"
