"""Descriptions of this machine and of a run's file, for the command `nqm-fast info`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .. import kernels
from .access import as_run
from .checkpoints import usable
from .files import Files
from .header import host, versions
from .reading import ENDED_STATUSES, read


def describe_machine() -> dict[str, str]:
    """Describe the versions, backends, threads and devices that there are, by title."""
    machine = host()
    backends = [f"{x}{'' if kernels.is_installed(x) else ' (missing)'}" for x in kernels.REGISTRY]
    memory = f"{machine['memory_bytes'] / 1e9:.1f} GB"
    return {
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "backends": f"{', '.join(backends)}; auto is {kernels.present_backends()[0]}",
        "threads": f"{machine['cores']} (NQM_NUM_THREADS changes it)",
        "devices": f"CPU, {machine['processor']}, {machine['cores']} cores, {memory} of memory",
        "GPUs": _gpus(),
        "system": machine["system"],
    }


def _gpus() -> str:
    """The names of the GPUs that can be used, or why there are none."""
    if not kernels.is_installed("cuda"):
        return f"not looked for: {kernels.REGISTRY['cuda'].cure}"
    try:
        names = kernels.load_backend("cuda").devices()
    except kernels.BackendError as error:
        return str(error)
    return "; ".join(f"{number}: {name}" for number, name in enumerate(names))


def describe_file(path: Path) -> dict[str, str]:
    """Describe the run in a file, its experiment and its state, by title."""
    files = Files(path)
    stored = read(files)
    run, experiment, header = as_run(files, stored), stored.experiment, stored.header
    described: dict[str, Any] = {
        "status": run.status + (f": {run.message}" if run.message else ""),
        "problem": repr(experiment.problem),
    }
    for g, setting in enumerate(experiment.settings):
        described[f"setting {g}"] = f"{setting.algorithm!r}, batch size {setting.batch_size_text}"
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
    described |= {"started": header["started"], "ended": header["ended"] or "not yet"}
    stats = json.loads(header["stats"])
    if stats:
        described["seconds"] = ", ".join(
            f"{name} {stats[name]:.2f}" for name in ("compile", "compute", "write")
        )
    writer_versions = json.loads(header["versions"])
    described["written by"] = ", ".join(f"{name} {x}" for name, x in writer_versions.items())
    sizes = [os.path.getsize(part) for part in (files.base, *stored.continuations)]
    described["size"] = f"{sum(sizes) / 1e6:.2f} MB in {len(sizes)} file{'s' * (len(sizes) > 1)}"
    return {name: str(value) for name, value in described.items()}
