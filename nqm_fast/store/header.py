"""The header of a run's file: the attributes of its root, and who writes it."""

from __future__ import annotations

import json
import os
import platform
import socket
import uuid
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import h5py
import psutil

from ..kernels.noise import STREAM
from ..machine.parallel import cores
from ..simulation.experiment import Experiment
from ..version import __version__
from .layout import NAME, VERSION

PERMANENT_ATTRIBUTES = (
    "schema",
    "schema_version",
    "run_id",
    "configuration",
    "seed",
    "noise_stream",
    "fingerprint",
    "started",
    "checkpoint_every",
)
"""Names of the attributes that stay the same from the start of a run to its end."""
DEFAULT_CHECKPOINT_EVERY = 60.0
"""Seconds between checkpoints of a run whose file does not say them."""


def timestamp() -> str:
    """The time now, in ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_header(
    experiment: Experiment,
    configuration: dict[str, Any],
    fingerprint: str,
    checkpoint_interval: float,
) -> dict[str, Any]:
    """Make the permanent attributes of a new run."""
    return {
        "schema": NAME,
        "schema_version": VERSION,
        "run_id": uuid.uuid4().hex,
        "configuration": json.dumps(configuration, allow_nan=False),
        "seed": experiment.seed,
        "noise_stream": STREAM,
        "fingerprint": fingerprint,
        "started": timestamp(),
        "checkpoint_every": checkpoint_interval,
    }


def permanent_attributes(header: dict[str, Any]) -> dict[str, Any]:
    """The permanent attributes in a header; files of earlier versions lack some."""
    return {name: header[name] for name in PERMANENT_ATTRIBUTES if name in header}


def checkpoint_interval(header: dict[str, Any]) -> float:
    """The seconds between checkpoints that a run was begun with, as far as its file says them."""
    return float(header.get("checkpoint_every", DEFAULT_CHECKPOINT_EVERY))


def status_attributes(
    status: str, message: str, stats: dict[str, Any], file_number: int, resumed: str = ""
) -> dict[str, Any]:
    """Make the attributes that change during a run.

    The first file of a run is number 1, its continuations are numbered from 2. `resumed` is the
    time at which the run was gone on with, for the last time, or empty.
    """
    return {
        "segment": file_number,  # Files keep this old key, although it is no segment of steps.
        "status": status,
        "message": message,
        "stats": json.dumps(stats),
        "resumed": resumed,
        "ended": "" if status == "running" else timestamp(),
        "versions": json.dumps(versions()),
        "host": json.dumps(host()),
        "writer": json.dumps(writer()),
    }


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of all packages that play a part in the numbers."""
    numbers = {"python": platform.python_version(), "nqm-fast": __version__}
    for package in ("numpy", "numba", "llvmlite", "h5py"):
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    return numbers | {"hdf5": h5py.version.hdf5_version}


def host() -> dict[str, Any]:
    """Describe this machine."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def writer() -> dict[str, Any]:
    """Identify this process for people; whether it still runs is what the run's lock says."""
    return {"host": socket.gethostname(), "pid": os.getpid()}
