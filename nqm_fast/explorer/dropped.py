"""Files that were dropped on a page: spectra, saved problems and runs, from their bytes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from .. import InputError, Problem, Run, open_run, read_spectrum

MOST_BYTES = 64 << 20
"""Larger files are refused."""
SPECTRA = ".npz", ".npy", ".csv", ".txt"
RUNS = ".h5", ".hdf5"


@dataclass(frozen=True)
class Dropped:
    """A file that was dropped.

    Attributes
    ----------
    name : str
        Its own name, without folders.
    problem : Problem or None
        What a spectrum or a saved problem is.
    run : Run or None
        What the file of a run is.
    """

    name: str
    problem: Problem | None = None
    run: Run | None = None


def own_name(name: str) -> str:
    """Return the name of a file without folders, whichever system's they are."""
    return PureWindowsPath(PurePosixPath(name).name).name


def read_dropped(name: str, content: bytes) -> Dropped:
    """Read a file from its bytes; nothing of this machine's disk is opened by its name.

    Raises
    ------
    InputError
        If it is too large, of no kind that is known, or damaged: one sentence, which names it.
    """
    own = own_name(name)
    if len(content) > MOST_BYTES:
        raise InputError(
            f"{own} has {len(content) / 2**20:.0f} MiB: at most {MOST_BYTES >> 20} can be dropped"
        )
    kind = PurePosixPath(own).suffix.lower()
    if kind not in SPECTRA + RUNS:
        raise InputError(
            f"{own} must be a spectrum ({', '.join(SPECTRA)}) or a run ({', '.join(RUNS)})"
        )
    with tempfile.TemporaryDirectory(prefix="nqm-fast-") as folder:
        path = Path(folder) / f"dropped{kind}"
        path.write_bytes(content)
        try:
            if kind in RUNS:
                run = open_run(path)
                if not run.steps.size:
                    raise InputError(f"{own} is a run that has no record yet")
                return Dropped(own, run=run)
            return Dropped(own, problem=read_spectrum(path))
        except (InputError, OSError) as error:
            reason = " ".join(str(error).split())
            named = reason.replace(f"path {str(path)!r}", own).replace(str(path), own)
            raise InputError(named if own in named else f"{own}: {named}") from None
