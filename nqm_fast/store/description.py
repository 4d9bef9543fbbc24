"""What there is to say of this machine, and of a run's file."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

from .. import kernels
from .access import as_run
from .checkpoints import usable
from .files import Files
from .header import host, versions
from .reading import ENDED, read


def describe_machine() -> dict[str, str]:
    """Versions, backends, threads, devices."""
    here = host()
    backends = [f"{x}{'' if kernels.is_installed(x) else ' (missing)'}" for x in kernels.REGISTRY]
    memory = here["memory_bytes"] / 1e9
    return {
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "backends": f"{', '.join(backends)}; auto is {kernels.present_backends()[0]}",
        "threads": f"{here['cores']} (NQM_NUM_THREADS changes it)",
        "devices": f"CPU, {here['processor']}, {here['cores']} cores, {memory:.1f} GB of memory",
        "GPUs": _gpus(),
        "system": here["system"],
    }


def _gpus() -> str:
    """Names of those that can be used, or why there is none."""
    if not kernels.is_installed("cuda"):
        return f"not looked for: {kernels.REGISTRY['cuda'].cure}"
    try:
        names = kernels.load_backend("cuda").devices()
    except kernels.BackendError as error:
        return str(error)
    return "; ".join(f"{number}: {name}" for number, name in enumerate(names))


def describe_file(path: Path) -> dict[str, str]:
    """What a run's file holds, and how it is with the run."""
    files = Files(path)
    stored = read(files)
    run, experiment, header = as_run(files, stored), stored.experiment, stored.header
    found: dict[str, Any] = {
        "status": run.status + (f": {run.message}" if run.message else ""),
        "problem": repr(experiment.problem),
    }
    for g, setting in enumerate(experiment.settings):
        found[f"setting {g}"] = f"{setting.algorithm!r}, batch size {setting.batch_size_text}"
    law = "" if experiment.data == "normal" else f", {experiment.data}"
    found |= {
        "steps": experiment.steps,
        "replicas": experiment.replicas.size,
        "seed": experiment.seed,
        "sampling": f"{experiment.sampling}{law}",
        "records": f"{stored.records} of {experiment.records.size}",
    }
    if stored.records:
        seconds = stored.values["wall_time"][-1]
        found["last record"] = f"step {run.steps[-1]}, after {seconds:.1f} s"
    if stored.status not in ENDED:
        found["checkpoint"] = "none: a resumption begins at step 0"
        for saved, _ in islice(usable(files, header["run_id"], stored.records, facts_only=True), 1):
            total = experiment.problem.dim * experiment.steps * len(experiment.settings)
            part = 100 * saved["coordinate_steps"] / max(total * experiment.replicas.size, 1)
            found["checkpoint"] = f"at {part:.1f} %, after {saved['seconds']:.1f} s"
    found |= {"started": header["started"], "ended": header["ended"] or "not yet"}
    stats = json.loads(header["stats"])
    if stats:
        found["seconds"] = ", ".join(
            f"{name} {stats[name]:.2f}" for name in ("compile", "compute", "write")
        )
    made = json.loads(header["versions"])
    found["written by"] = ", ".join(f"{name} {number}" for name, number in made.items())
    sizes = [os.path.getsize(part) for part in (files.base, *stored.continuations)]
    found["size"] = f"{sum(sizes) / 1e6:.2f} MB in {len(sizes)} file{'s' * (len(sizes) > 1)}"
    return {name: str(value) for name, value in found.items()}
