"""Descriptions of this machine and of a run's file, for the command `nqm-fast info`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .. import kernels
from ..foundation.validation import counted
from ..machine.backends import VARIABLE, backend_name
from ..machine.parallel import cores
from ..simulation.trajectory import named_coordinates
from .access import as_run
from .checkpoints import usable
from .files import Files
from .header import host, versions
from .reading import ENDED_STATUSES, Stored, read


def describe_machine() -> dict[str, str]:
    """Describe the versions, backends, threads and devices that there are, by title."""
    machine = host()
    memory = f"{machine['memory_bytes'] / 1e9:.1f} GB"
    cores_here = counted(machine["cores"], "core")
    return {
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "backends": ", ".join(map(_usability, kernels.REGISTRY)),
        "backend": _choice(),
        "threads": f"{machine['cores']} (NQM_NUM_THREADS changes it)",
        "devices": f"CPU, {machine['processor']}, {cores_here}, {memory} of memory",
        "GPUs": _gpus(),
        "system": machine["system"],
    }


def _usability(name: str) -> str:
    """The name of a backend, and why it cannot be used if so."""
    if not kernels.is_installed(name):
        return f"{name} (missing)"
    if kernels.REGISTRY[name].on_request:
        return name
    try:
        kernels.prepared_backend(name, cores())
    except kernels.BackendError as error:
        return f"{name} ({error})"
    return name


def _choice() -> str:
    """Say which backend "auto" stands for."""
    chosen = backend_name("auto")
    if chosen != "auto":
        return f"auto is {chosen}, as {VARIABLE} says"
    names = [name for name in kernels.present_backends() if _usability(name) == name]
    first, *others = names
    if kernels.REGISTRY[first].compiled_code and others and "cython" in others:
        return (
            f"auto is {first} where its kernels are compiled or a run is long, else cython "
            f"({VARIABLE} changes it)"
        )
    return f"auto is {first} ({VARIABLE} changes it)"


def _gpus() -> str:
    """The names of the GPUs that can be used, or why there are none."""
    if not kernels.is_installed("cuda"):
        return f"not looked for: {kernels.REGISTRY['cuda'].cure}"
    try:
        names = kernels.load_backend("cuda").devices()
    except kernels.BackendError as error:
        return str(error)
    return "; ".join(f"{number}: {name}" for number, name in enumerate(names))


def _times(stored: Stored) -> dict[str, str]:
    """When the run began, when it was gone on with last, and when that ended, by title."""
    latest = stored.latest
    times = {"started": stored.header["started"]}
    if latest.get("resumed"):  # which files of earlier versions lack
        times["resumed"] = latest["resumed"]
    killed = "unknown, as its process was killed" if stored.status == "killed" else "not yet"
    return times | {"ended": latest["ended"] or killed}


def describe_file(path: Path) -> dict[str, str]:
    """Describe the run in a file, its experiment and its state, by title."""
    files = Files(path)
    stored = read(files)
    run, experiment, header = as_run(files, stored), stored.experiment, stored.header
    described: dict[str, Any] = {
        "status": run.status + (f": {run.message}" if run.message else ""),
        "problem": repr(experiment.problem),
    }
    if experiment.coordinates is not None:
        described["shard"] = f"coordinates {experiment.coordinates}"
    for g, setting in enumerate(experiment.settings):
        described[f"setting {g}"] = f"{setting.algorithm!r}, batch size {setting.batch_size_text}"
    if experiment.traced.size:
        described["trajectory"] = named_coordinates(experiment.traced)
    law = "" if experiment.data == "normal" else f", {experiment.data}"
    described |= {
        "steps": experiment.steps,
        "replicas": experiment.replicas.size,
        "seed": experiment.seed,
        "sampling": f"{experiment.sampling}{law}",
        "records": f"{stored.records} of {experiment.records.size}",
    }
    if stored.records:
        seconds = stored.values["wall_time"][-1]
        described["last record"] = f"step {run.steps[-1]}, after {seconds:.1f} s"
    if stored.status in ENDED_STATUSES:
        described["state"] = "not kept" if stored.states is None else "kept"
    else:
        described["checkpoint"] = "none: a resumption begins at step 0"
        run_id = header["run_id"]
        newest = next(usable(files, run_id, stored.records, metadata_only=True), None)
        if newest is not None:
            metadata, _ = newest
            total = experiment.problem.dim * experiment.steps * len(experiment.settings)
            percent = 100 * metadata["coordinate_steps"] / max(total * experiment.replicas.size, 1)
            described["checkpoint"] = f"at {percent:.1f} %, after {metadata['seconds']:.1f} s"
    described |= _times(stored)
    stats = json.loads(header["stats"])
    if stats:
        described["seconds"] = ", ".join(
            f"{name} {stats[name]:.2f}" for name in ("compile", "compute", "write")
        )
    writer_versions = json.loads(stored.latest["versions"])
    described["written by"] = ", ".join(f"{name} {x}" for name, x in writer_versions.items())
    sizes = [os.path.getsize(part) for part in (files.base, *stored.continuations)]
    described["size"] = f"{sum(sizes) / 1e6:.2f} MB in {len(sizes)} file{'s' * (len(sizes) > 1)}"
    return {name: str(value) for name, value in described.items()}
