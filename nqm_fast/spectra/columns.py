"""Columns of a spectrum: their names in files of several programs, and what to say of a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coordinates.problem_files import Content
from ..foundation.validation import InputError

ORDER = ("h", "c", "count", "mean0", "var0")
"""Columns where a file does not name them."""
ALLOWED = "h, c, count or weight, mean0 and var0"
WORDS = {
    "h": "h curvature curvatures eigenvalue eigenvalues eigenval eigenvals eigen eigs eigvals "
    "eig_vals evals raw_eigenvalues eigen_list eigen_list_full nodes",
    "c": "c noise",
    "count": "count counts multiplicity multiplicities",
    "weight": "weight weights all_weights raw_weights weight_list weight_list_full",
    "mean0": "mean0",
    "var0": "var0",
    "tridiag": "tridiag tridiag_list tridiagonal t",
}
"""Names of columns, as PyHessian, spectral-density and hessian-eigenthings have them, by ours."""
CANONICAL = {word: name for name, words in WORDS.items() for word in words.split()}
BESIDE = {
    "eigenvecs", "eigenvectors", "evecs", "residuals", "iterations", "converged", "lanczos_vec",
}  # fmt: skip
"""Columns of those programs beside eigenvalues, which are passed over."""
SMOOTHED = {"grid", "grids", "density", "sigma"}
"""Columns that they have beside weights: a density, and the width of its smoothing, a number."""


@dataclass
class Columns:
    """Named arrays of numbers from a file, and what to say of the place of one."""

    file: Content
    arrays: dict[str, NDArray[Any]]
    is_named: bool = True
    """Whether the names are the file's own; else they are by the order of columns."""
    lines: list[int] | None = None
    """For a text, the line of each element, counted from 1."""
    numbers: dict[str, int] = field(default_factory=dict)
    """For a text, the number of each column, counted from 1."""

    def wrong(self, name: str, index: int, what: str) -> InputError:
        """Return the error that an element of a column is wrong."""
        if self.lines is not None:
            place = f"line {self.lines[index]}, column {self.numbers[name]} ({name})"
        else:
            position = np.unravel_index(index, self.arrays[name].shape)
            place = f"{name}[{', '.join(str(int(k)) for k in position)}]"
        return InputError(f"path {self.file.path!r}, {place}: {what}")


def canonical(name: str) -> str | None:
    """Return our name of a column, or None if it is unknown."""
    return CANONICAL.get(name.strip().lower())


def renamed(file: Content, arrays: dict[str, NDArray[Any]]) -> Columns:
    """Return arrays by our names, without what other programs have beside a spectrum.

    Raises
    ------
    InputError
        If a name is unknown, or two mean the same.
    """
    found: dict[str, NDArray[Any]] = {}
    has_weights = any(canonical(name) == "weight" for name in arrays)
    for name, array in arrays.items():
        word, ours = name.strip().lower(), canonical(name)
        is_smoothed = word in SMOOTHED and has_weights and (word != "sigma" or not array.ndim)
        if ours is None and (word in BESIDE or is_smoothed):
            continue
        if ours is None:
            raise file.refused(f"has the unknown column {name[:40]!r}: columns are {ALLOWED}")
        if ours in found:
            raise file.refused(f"has two columns for {ours}, one of them named {name!r}")
        found[ours] = array
    return Columns(file, found)
