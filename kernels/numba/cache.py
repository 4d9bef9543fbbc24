"""Compiled code on disk, as Numba keeps it, but with a checksum: no damage reaches an answer."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from numba.core import caching

from ..notice import say_once
from ..sources import digest

CHECKSUM = hashlib.sha256
_NOT_CACHED = "the compiled kernels are not cached, so that the next process compiles again"


class DamagedError(ValueError):
    """A file of compiled code is not as it was written."""


class _CheckedFiles(caching.IndexDataCacheFile):
    """The files of one function: an index, and one for each type of its arguments."""

    def _dump(self, content: Any) -> bytes:
        """Serialise, with a checksum at the end."""
        data: bytes = super()._dump(content)
        return data + CHECKSUM(data).digest()

    def _content(self, path: str) -> Any:
        """Return what was serialised in a file, if its checksum is right."""
        data = Path(path).read_bytes()
        size = len(data) - CHECKSUM().digest_size
        if size < 0 or CHECKSUM(data[:size]).digest() != data[size:]:
            raise DamagedError(path)
        return pickle.loads(data[:size])

    def _load_index(self) -> Any:
        """Return the names of files of compiled code; none if they are not of these sources."""
        try:
            stamp, overloads = self._content(self._index_path)
        except FileNotFoundError:
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_index(self, overloads: Any) -> None:
        """Write the names of files of compiled code; the folder is one version of Numba's."""
        with self._open_for_write(self._index_path) as file:
            file.write(self._dump((self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        """Return compiled code."""
        return self._content(self._data_path(name))

    def discard(self) -> None:
        """Delete all files of the function that can be deleted."""
        index = Path(self._index_path)
        for path in [index, *index.parent.glob(f"{index.stem}.*.nbc")]:
            with suppress(OSError):
                path.unlink()


class _Implementation(caching.CompileResultCacheImpl):
    """How Numba turns compiled code into bytes; where they go is known already."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        code = function.__code__
        self._lineno = code.co_firstlineno
        self._locator = SimpleNamespace(
            _py_file=code.co_filename,
            ensure_cache_path=lambda: folder.mkdir(parents=True, exist_ok=True),
            get_cache_path=lambda: str(folder),
            get_source_stamp=digest,
            get_disambiguator=lambda: str(code.co_firstlineno),
        )
        module = function.__module__.rpartition(".")[2]
        self._filename_base = self.get_filename_base(f"{module}.{function.__qualname__}", "")


class KernelCache(caching.FunctionCache):
    """The cache of one function; it never ends a computation, whatever becomes of its files."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._name, self._py_func = repr(function), function
        self._impl = _Implementation(function, folder)
        self._cache_path = str(folder)
        self._cache_file: Any = _CheckedFiles(str(folder), self._impl.filename_base, digest())
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code for types of arguments, or None if it is not there or damaged.

        Code that is damaged is deleted, and a line on the terminal says so.
        """
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever bytes lead to that Numba did not write
            say_once(
                f"compiled kernels in {self._cache_path} are damaged or cannot be read: they are "
                "discarded, and compiled again"
            )
            self._cache_file.discard()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, or say that it is not kept, as on a full disk."""
        try:
            super().save_overload(sig, data)
        except (OSError, DamagedError) as error:
            reason = getattr(error, "strerror", None) or error
            say_once(f"{_NOT_CACHED}: {self._cache_path}: {reason}")

    def types(self) -> list[Any]:
        """Return the types of arguments for which there is code for this processor."""
        try:
            overloads = self._cache_file._load_index()
        except Exception:  # it is said when the code is asked for
            return []
        return [(key[0], key[1]) for key in overloads]
