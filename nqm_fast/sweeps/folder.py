"""The folder of a sweep that is not finished: what it is, and a file for each task that is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import InputError
from ..machine.packing import packed, unpacked
from ..output.saving import writable_folder, written_beside
from .plan import Plan, package_version

FORMAT = "nqm-fast sweep 1"
DESCRIPTION, PLAN, SUFFIX = "sweep.json", "plan", ".rows"


def folder_of(out: Path) -> Path:
    """The folder beside the file of a sweep."""
    return out.with_name(f"{out.name}.parts")


def prepare(folder: Path, plan: Plan) -> None:
    """Make the folder of a sweep, or go on in it.

    Raises
    ------
    InputError
        If it has another sweep, or one of another version, or cannot be made.
    """
    writable_folder("out", folder)
    facts = {"format": FORMAT, "version": package_version(), "digest": plan.digest}
    description = folder / DESCRIPTION
    if description.exists():
        check(folder, facts["digest"])
        return
    with written_beside("out", folder / PLAN) as part:
        part.write_bytes(packed(plan))
    with written_beside("out", description) as part:
        part.write_text(json.dumps(facts | {"what": plan.what, "points": plan.grid.size}))


def check(folder: Path, digest: str) -> None:
    """Make sure that a folder is that of a sweep, for this version of the package.

    Raises
    ------
    InputError
        If it is not.
    """
    try:
        facts = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{folder} cannot be read here ({reason}): out must be on a file system that all "
            "workers share; without out, results return to the caller"
        ) from None
    if facts.get("format") != FORMAT or facts.get("digest") != digest:
        raise InputError(
            f"{folder} has the files of another sweep, whose grid or arguments differ: give out "
            "another name, or remove that folder"
        )
    if facts["version"] != package_version():
        raise InputError(
            f"{folder} was begun with nqm-fast {facts['version']}, and here is "
            f"{package_version()}: go on with that version, or give out another name"
        )


@lru_cache(maxsize=2)
def load_plan(folder: Path, digest: str) -> Plan:
    """Read the plan of a sweep in a worker, once.

    Raises
    ------
    InputError
        If the folder is of another sweep, or cannot be read.
    """
    check(folder, digest)
    plan: Plan = unpacked((folder / PLAN).read_bytes())
    return plan


def write_rows(folder: Path, digest: str, rows: NDArray[Any]) -> None:
    """Write the rows of a task, beside its name, and rename the file."""
    points = rows["point"]
    key = hashlib.sha256(np.ascontiguousarray(points).tobytes()).hexdigest()[:12]
    name = f"{int(points[0]):010d}-{key}{SUFFIX}"
    with written_beside("out", folder / name) as part:
        part.write_bytes(bytes.fromhex(digest) + rows.tobytes())


def read_rows(folder: Path, plan: Plan, known: set[str]) -> NDArray[Any]:
    """Read the rows of tasks that are done, but for those in `known` files, to which it adds.

    Raises
    ------
    InputError
        If a file is that of another sweep, or damaged.
    """
    head = bytes.fromhex(plan.digest)
    rows = []
    for name in os.listdir(folder):
        if not name.endswith(SUFFIX) or name in known:
            continue
        with open(folder / name, "rb") as file:
            data = file.read()
        if not data.startswith(head) or (len(data) - len(head)) % plan.dtype.itemsize:
            raise InputError(f"{folder / name} is damaged, or of another sweep: remove it")
        known.add(name)
        rows.append(data[len(head) :])
    # Joined as bytes, as NumPy compares the types of all arrays that it joins.
    return np.frombuffer(b"".join(rows), plan.dtype)


def remove(folder: Path) -> None:
    """Remove the folder of a sweep that is finished."""
    shutil.rmtree(folder)
