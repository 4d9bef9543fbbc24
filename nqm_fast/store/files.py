"""The files of a run: their names, digests, replacement and lock."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from errno import EACCES, ENOENT, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..foundation.validation import InputError
from ..output.saving import file_path, refuse_special

if TYPE_CHECKING:
    import filelock

SIGNATURE = b"nqm_fast sha256 "  # stands before the digest at the end of a file


class Files:
    """The names of all files that belong to the run in the file `base`.

    They are absolute, so that a later change of the working directory does not matter. `given` is
    the name that the user gave, for messages.

    Raises
    ------
    InputError
        If it is not the name of a file.
    """

    def __init__(self, base: Any, argument: str = "path") -> None:
        self.given = file_path(argument, base)
        refuse_special(argument, self.given)
        self.base = self.given.absolute()
        if os.path.islink(self.base):  # The other files stand beside its target.
            self.base = Path(os.path.realpath(self.base))
        name = self.base.name
        self.part = self.base.with_name(f"{name}.part")  # a new file until it is complete
        self.checkpoint = self.base.with_name(f"{name}.checkpoint")
        self.previous = self.base.with_name(f"{name}.checkpoint.previous")
        self.lock = self.base.with_name(f"{name}.lock")

    def shown(self, path: Path) -> str:
        """The name of one of these files for messages, as the user would write it."""
        if path == self.base:
            return str(self.given)
        beside = self.given.with_name(path.name)
        return str(beside if beside.absolute() == path else path)

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
        named = [x for x in os.listdir(folder) if x.startswith(f"{self.base.stem}.")]
        matches = [match for x in named if (match := re.fullmatch(pattern, x))]
        return dict(sorted((int(match[1]), folder / match[0]) for match in matches))

    def free_number(self) -> int:
        """The number of a new continuation, after all that exist."""
        return max(self.continuations(), default=1) + 1


def sign(path: Path) -> None:
    """Append a digest of all bytes of a file.

    HDF5 ignores what follows its data, and has itself checksums of a part of them only.
    """
    import hashlib  # It takes long to load.

    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256")
        file.seek(0, io.SEEK_END)
        file.write(SIGNATURE + digest.digest())


def is_signed(path: Path) -> bool:
    """Whether the file ends with the right digest."""
    import hashlib

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


@contextmanager
def explained_errors(files: Files, advice: Callable[[], str]) -> Generator[None]:
    """Add advice what to do to errors of the file system within the context.

    The disk may be full, or a folder or file not as it was. What is half written is removed.

    Raises
    ------
    OSError
        With the reason and the advice, for the name of the run that the user gave.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises both for errors of the system.
        of_hdf5 = re.search(r"errno = (\d+)", str(error))
        number = getattr(error, "errno", None) or (int(of_hdf5[1]) if of_hdf5 else 0)
        text = None if of_hdf5 else getattr(error, "strerror", None)
        reason = text or (os.strerror(number) if number else str(error))
        with suppress(OSError):
            files.part.unlink(missing_ok=True)
        raise OSError(number, f"{reason}: {advice()}", str(files.given)) from None


_held_here: dict[Path, int] = {}  # locks, and the process that holds them


@contextmanager
def locked(files: Files) -> Generator[None]:
    """Make sure that no other process writes this run within the context.

    Raises
    ------
    InputError
        If another process, or another thread of this one, is writing it.
    OSError
        If there can be no lock, as on a file system that has none.
    """
    import filelock

    existed = files.lock.exists()
    # Without locks of the system a lock would not end with its process, so there is no other kind.
    lock = filelock.FileLock(files.lock, timeout=0.5, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        if not files.lock.exists():  # It was tried again and again to make the file.
            raise _unwritable(files, ENOENT) from None
        refusal = _refusal_of_locks(files.lock.parent)
        if refusal is not None:
            if not existed:
                with suppress(OSError):
                    files.lock.unlink(missing_ok=True)
            raise _unlockable(files, refusal) from None
        here = _held_here.get(files.lock) == os.getpid()
        raise InputError(
            f"out = {str(files.given)!r} is being written by "
            f"{'another thread of this' if here else 'another'} process: wait for its end, or "
            "choose another file"
        ) from None
    except OSError as error:
        if not existed:
            with suppress(OSError):
                files.lock.unlink(missing_ok=True)
        if error.errno in (EACCES, EPERM, EROFS, ENOENT) and not existed:
            raise _unwritable(files, error.errno) from None
        raise _unlockable(files, error) from None
    _held_here[files.lock] = os.getpid()
    try:
        yield
    finally:
        _held_here.pop(files.lock, None)
        _release(lock, files.lock)


def _refusal_of_locks(folder: Path) -> OSError | None:
    """Return the error if a file that nobody else has cannot be locked in a folder.

    Some file systems refuse all locks as others refuse one that is held.
    """
    if sys.platform == "win32":
        return None
    import fcntl
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error
    return None


def _unlockable(files: Files, error: OSError) -> OSError:
    """Return the error that there can be no lock, with its reason and the name of the file."""
    reason = f"cannot be locked against other processes: {error.strerror or error}"
    return OSError(error.errno, reason, str(files.given))


def _unwritable(files: Files, number: int) -> OSError:
    """Return the error that no file can be made where a run shall be written."""
    reason = f"its folder cannot be written to: {os.strerror(number)}"
    return OSError(number, reason, str(files.given))


def _release(lock: filelock.BaseFileLock, path: Path) -> None:
    """Remove and release a lock; errors leave a file behind that locks nothing.

    It is removed while the lock is held, as later it might be that of another process. Where a file
    that is open cannot be removed, one that another process has opened cannot be either.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:
        with suppress(OSError):
            lock.release()
            path.unlink(missing_ok=True)
    else:
        with suppress(OSError):
            lock.release()


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock, also if that cannot be found out; it is not changed."""
    try:
        handle = os.open(lock, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return error.errno not in (ENOENT, ENOTDIR)
    try:
        if sys.platform == "win32":
            import filelock

            return not filelock.lock_descriptor(handle, blocking=False)
        import fcntl

        # Those who look share it: they must not take each other for a writer.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def resume_command(path: str | os.PathLike[str]) -> str:
    """The command that resumes a run, in characters that any terminal and file can hold."""
    text = os.fspath(path)
    if text.isprintable():  # Bytes that are not UTF-8 are not.
        return f"nqm-fast resume {shlex.quote(text)}"
    inner = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(text)
    )
    return f"nqm-fast resume $'{inner}'"
