"""The end of a run on the command line: its message, exit status, figure and summary."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..simulation.api import Terminated
from ..simulation.result import Run
from ..simulation.signals import Stopped
from .tables import print_table


def carry_out(action: Callable[[], Run], out: Path) -> int:
    """Carry out a run, print how it ended, and draw it; returns the exit status."""
    from ..store.files import resume_command

    run: Run | None = None
    number: int = signal.SIGINT
    try:
        run = action()
    except Terminated as ended:
        run, number = ended.run, ended.number
    except Stopped as stopped:
        number = stopped.number
    if run is None or run.status == "interrupted":
        hint = f"; go on with: {resume_command(out)}" if run is None else f" {run.message}"
        print(f"interrupted{hint}", file=sys.stderr)
        return 128 + number
    if run.message:
        print(run.message, file=sys.stderr)
    picture = None
    if find_spec("matplotlib") is not None and (run.steps > 0).any():
        try:
            picture = draw_run(run, default_picture(out))
        except KeyboardInterrupt:
            message = f"{out} is complete, its figure was interrupted: nqm-fast plot {out}"
            print(message, file=sys.stderr)
            return 128 + signal.SIGINT
    _print_summary(run)
    print(f"\n{out}  {run.steps.size} records")
    if picture is not None:
        print(f"{picture}  Monte Carlo and exact expectation")
    elif find_spec("matplotlib") is None:
        print("no figure, as that needs Matplotlib: pip install 'nqm-fast[figures]'")
    return 0


def default_picture(file: Path) -> Path:
    """Return the path to which the figure of a run is written by default."""
    has_usual_suffix = file.suffix in (".h5", ".hdf5", ".nc")
    return file.with_suffix(".png") if has_usual_suffix else file.with_name(f"{file.name}.png")


def _print_summary(run: Run) -> None:
    """Print the last record of each setting, the time of each kind of work, and the rate."""
    import numpy as np

    from ..figures._run import exact_risk, risk_by_setting, setting_label

    if run.steps.size and run.experiment is not None:
        rows = []
        for g, risk in enumerate(risk_by_setting(run)):
            last = risk[:, -1]
            spread: float | str = ""
            if last.size > 1:
                spread = float(np.std(last, ddof=1)) if np.isfinite(last).all() else np.inf
            exact = float(exact_risk(run.experiment, g, run.steps[-1:])[0])
            row = {"setting": setting_label(run.experiment, g), "risk": float(np.mean(last))}
            rows.append(row | {"std": spread, "expected": exact})
        print(f"at step {run.steps[-1]}, of {last.size} replicas:")
        print_table(rows)
    stats = run.stats
    rate = stats["coordinate_steps"] / max(stats["compute"], 1e-9)
    seconds = ", ".join(f"{name} {stats[name]:.2f} s" for name in ("compile", "compute", "write"))
    print(f"{seconds}; {rate:.3g} coordinate-steps/s on {_describe_workers(stats)}")


def _describe_workers(stats: Mapping[str, Any]) -> str:
    """Name the threads or GPUs that have computed a run."""
    devices = stats.get("devices")
    if not devices:
        return f"{stats['threads']} threads"
    return f"GPU{'s' * (len(devices) > 1)} {', '.join(map(str, devices))}"


def draw_run(run: Run, path: Path, bands: bool = False) -> Path:
    """Draw the figure of a run, or of its bands, and return its path."""
    from ..figures._run import draw

    return draw(run, path, bands)
