"""The root attributes of a run's file."""

from __future__ import annotations

import json
import platform
import socket
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import h5py
import psutil

from ..kernels.noise import STREAM
from ..parallel import cores
from ..simulation.experiment import Experiment
from .layout import NAME, VERSION

KEPT = (
    "schema",
    "schema_version",
    "run_id",
    "configuration",
    "seed",
    "noise_stream",
    "fingerprint",
    "started",
)


def now() -> str:
    """The time, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_header(
    experiment: Experiment, configuration: dict[str, Any], fingerprint: str
) -> dict[str, Any]:
    """Attributes that a run keeps for all its life (`KEPT`)."""
    return {
        "schema": NAME,
        "schema_version": VERSION,
        "run_id": uuid.uuid4().hex,
        "configuration": json.dumps(configuration, allow_nan=False),
        "seed": experiment.seed,
        "noise_stream": STREAM,
        "fingerprint": fingerprint,
        "started": now(),
    }


def status_attributes(
    status: str, message: str, stats: dict[str, Any], segment: int
) -> dict[str, Any]:
    """Attributes that say how it is with the run, and which file of it this is."""
    return {
        "segment": segment,
        "status": status,
        "message": message,
        "stats": json.dumps(stats),
        "ended": "" if status == "running" else now(),
        "versions": json.dumps(versions()),
        "host": json.dumps(host()),
        "writer": json.dumps(writer()),
    }


def versions() -> dict[str, str]:
    """Of Python and of all packages that play a part in the numbers."""
    found = {"python": platform.python_version()}
    for package in ("nqm-fast", "numpy", "numba", "llvmlite", "h5py"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"hdf5": h5py.version.hdf5_version}


def host() -> dict[str, Any]:
    """Of the machine."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def writer() -> dict[str, Any]:
    """Which process this is, for others to see whether it is still there."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "since": process.create_time()}


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the writer of a file is still there; of another machine's nothing is known."""
    if process["host"] != socket.gethostname():
        return True
    try:
        other = psutil.Process(process["pid"])
        same = bool(abs(other.create_time() - process["since"]) < 5.0)  # clocks are set, and drift
        return same and other.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
