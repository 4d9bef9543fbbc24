"""Problems in ``.npz`` files of plain arrays, and the arrays in files of NumPy, never unpickled."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import InputError
from ..output.saving import file_path, written_beside

FORMAT = "nqm_fast problem 1"
ZIP, NPY, PICKLE = b"PK", b"\x93NUMPY", b"\x80"
"""First bytes of files of several arrays, of files of one, and of pickles."""
OBJECTS = (
    "it holds Python objects, which would have to be unpickled, and that could run any code: save "
    "plain arrays of numbers, as np.savez does"
)


class Content(NamedTuple):
    """The bytes of a file."""

    path: str
    data: bytes

    def refused(self, reason: object) -> InputError:
        """Return the error that the file cannot be used, for a reason."""
        return InputError(f"path {self.path!r} {' '.join(str(reason).split())}")


def content(path: str | os.PathLike[str]) -> Content:
    """Read the bytes of a file.

    Raises
    ------
    InputError
        If it cannot be read, or is not the name of a file.
    FileNotFoundError
        If there is no such file.
    """
    try:
        return Content(str(path), file_path("path", path).read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"path {str(path)!r} cannot be read: {error.strerror}") from None


def zipped_arrays(file: Content) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file by name.

    Raises
    ------
    InputError
        If it is none, is damaged, or holds objects that would have to be unpickled.
    """
    if file.data.startswith(PICKLE):
        raise file.refused(f"is not a readable .npz file: {OBJECTS}")
    if not file.data.startswith(ZIP):
        raise file.refused("is not a readable .npz file: it does not begin as one")
    try:
        with np.load(io.BytesIO(file.data), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except Exception as error:  # Readers of zip and npy raise all kinds at foreign bytes.
        raise file.refused(f"is not a readable .npz file: {_reason(error)}") from None


def single_array(file: Content) -> NDArray[Any]:
    """Return the array of an ``.npy`` file.

    Raises
    ------
    InputError
        If it is damaged, or holds objects that would have to be unpickled.
    """
    try:
        return np.asarray(np.load(io.BytesIO(file.data), allow_pickle=False))
    except Exception as error:  # As above.
        raise file.refused(f"is not a readable .npy file: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the reason of an error of NumPy, which may advise to unpickle."""
    text = str(error) or type(error).__name__
    return OBJECTS if "pickle" in text else text


def write(path: str | os.PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write the fields of a problem, exactly at `path`; see `Problem.save`."""
    with written_beside("path", path) as part, part.open("wb") as file:
        np.savez(file, format=np.array(FORMAT), **fields)


def is_saved_problem(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether arrays of a file are those of a problem, rather than of anybody."""
    return "format" in arrays


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of a problem; see `Problem.load`."""
    file = content(path)
    return fields_in(file, zipped_arrays(file))


def fields_in(file: Content, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the fields of a problem among the arrays of its file.

    Raises
    ------
    InputError
        If the file was not written by `Problem.save`.
    """
    fields = {name: array[()] for name, array in arrays.items()}
    if str(fields.pop("format", "")) != FORMAT:
        raise file.refused("was not written by Problem.save: nqm.read_spectrum reads other spectra")
    return fields
