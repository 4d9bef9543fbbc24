"""The files of a run: their names, digests, replacement and lock."""

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

SIGNATURE = b"nqm_fast sha256 "  # stands before the digest at the end of a file


class Files:
    """The names of all files that belong to the run in the file `base`.

    Raises
    ------
    InputError
        If it is not the name of a file.
    """

    def __init__(self, base: Any, argument: str = "path") -> None:
        is_path = isinstance(base, str | os.PathLike) and "\0" not in os.fspath(base)
        if not is_path or not Path(base).name:
            raise InputError(f"{argument} must be the name of a file, not {shown(base)}")
        self.base = Path(base)
        if self.base.is_symlink():  # The other files stand beside its target.
            self.base = self.base.resolve()
        name = self.base.name
        self.part = self.base.with_name(f"{name}.part")  # a new file until it is complete
        self.checkpoint = self.base.with_name(f"{name}.checkpoint")
        self.previous = self.base.with_name(f"{name}.checkpoint.previous")
        self.lock = self.base.with_name(f"{name}.lock")

    def leftovers(self) -> list[Path]:
        """The existing files beside the run that can be removed when it has ended.

        Neither its continuations nor the lock are among them.
        """
        return [path for path in (self.part, self.checkpoint, self.previous) if path.exists()]

    def continuation(self, number: int) -> Path:
        """The file in which a resumed run goes on; the first continuation is number 2."""
        return self.base.with_name(f"{self.base.stem}.{number:04d}{self.base.suffix}")

    def continuations(self) -> dict[int, Path]:
        """Existing files that are named like continuations, by number.

        They may belong to another run.
        """
        pattern = rf"{re.escape(self.base.stem)}\.(\d{{4,}}){re.escape(self.base.suffix)}"
        folder = self.base.parent
        matches = [match for x in os.listdir(folder) if (match := re.fullmatch(pattern, x))]
        return dict(sorted((int(match[1]), folder / match[0]) for match in matches))

    def free_number(self) -> int:
        """The number of a new continuation, after all that exist."""
        return max(self.continuations(), default=1) + 1


def sign(path: Path) -> None:
    """Append a digest of all bytes of a file.

    HDF5 ignores what follows its data, and has itself checksums of a part of them only.
    """
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256")
        file.seek(0, io.SEEK_END)
        file.write(SIGNATURE + digest.digest())


def is_signed(path: Path) -> bool:
    """Whether the file ends with the right digest."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END) - len(SIGNATURE) - hashlib.sha256().digest_size
        file.seek(max(size, 0))
        end = file.read()
        file.seek(0)
        digest = hashlib.sha256()
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return end == SIGNATURE + digest.digest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(new: Path, path: Path) -> None:
    """Rename a complete new file to `path`, so that there always is a complete file there."""
    sync(new)
    os.replace(new, path)
    if os.name == "posix":
        sync(path.parent)


@contextmanager
def locked(files: Files) -> Generator[None]:
    """Make sure that no other process writes this run within the context."""
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
        # The file is removed while the lock is held; later it might be that of another process.
        files.lock.unlink(missing_ok=True)
        lock.release()


def resume_command(path: str | os.PathLike[str]) -> str:
    """The command that resumes a run."""
    return f"nqm-fast resume {shlex.quote(str(path))}"
