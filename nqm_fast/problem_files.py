"""Problems in ``.npz`` files of plain arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .saving import written_beside
from .validation import InputError

FORMAT = "nqm_fast problem 1"


def write(path: str | os.PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write the fields of a problem, exactly at `path`; see `Problem.save`."""
    with written_beside("path", path) as part, part.open("wb") as file:
        np.savez(file, format=np.array(FORMAT), **fields)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of a problem; see `Problem.load`."""
    try:
        content = io.BytesIO(Path(path).read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"path {str(path)!r} cannot be read: {error.strerror}") from None
    try:
        with np.load(content, allow_pickle=False) as file:
            fields = {name: file[name][()] for name in file.files}
    except Exception as error:  # Readers of zip and npy raise all kinds at foreign bytes.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"path {str(path)!r} is not a readable .npz file: {reason}") from None
    if str(fields.pop("format", "")) != FORMAT:
        raise InputError(f"path {str(path)!r} was not written by Problem.save")
    return fields
