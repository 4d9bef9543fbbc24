"""The end of a run on the command line: its message, exit status, figure and summary."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any

from ..foundation.validation import InputError, counted
from ..runs.running import Terminated
from ..simulation.result import Run
from ..simulation.signals import Stopped
from .tables import print_table

DIVERGED = 3
"""The exit status of a run that is complete, in which a setting has diverged."""
FAILED = 4
"""The exit status of work of which some parts have failed, and the others are done."""


def status_of(run: Run) -> int:
    """The exit status for a run that has ended."""
    return DIVERGED if run.status == "diverged" else 0


def carry_out(action: Callable[[], Run], out: Path, going_on: str | None = None) -> int:
    """Carry out a run, print how it ended, and draw it; returns the exit status.

    Once the run is complete, nothing that fails changes the status. `going_on` says how to go on
    with a run that has no file yet, if not by resuming it.
    """
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
        again = going_on or resume_command(out)
        hint = f"; go on with: {again}" if run is None else f" {run.message}"
        say(f"interrupted{hint}")
        return 128 + number
    if run.message:
        say(run.message)
    try:
        picture = _draw_complete(run, out)
        _print_complete(run, out, picture)
    except KeyboardInterrupt:
        say(f"{out} is complete, its figure was interrupted: nqm-fast plot {quote(str(out))}")
        return 128 + signal.SIGINT
    return status_of(run)


def _draw_complete(run: Run, out: Path) -> Path | None:
    """Draw a run that is complete, if that is possible, and return the path of the picture."""
    if find_spec("matplotlib") is None or not (run.steps > 0).any():
        return None
    try:
        return draw_run(run, default_picture(out))
    except Exception as error:  # Whatever Matplotlib or the disk does, the run is there.
        say_complete(out, "its figure could not be drawn", error)
        return None


def _print_complete(run: Run, out: Path, picture: Path | None) -> None:
    """Print the summary of a run that is complete, if that is possible."""
    try:
        _print_summary(run)
        print(f"\n{out}  {run.steps.size} records")
        if picture is not None:
            print(f"{picture}  Monte Carlo and exact expectation")
        elif find_spec("matplotlib") is None:
            print("no figure, as that needs Matplotlib: pip install 'nqm-fast[figures]'")
        if sys.stdout is not None:
            sys.stdout.flush()
    except Exception as error:  # such as that of a full disk, or of a reader that has ended
        discard_output()
        say_complete(out, "its summary could not be printed", error)


def say_complete(out: Path, failure: str, error: Exception) -> None:
    """Say in one line that a run is complete, and what could not be done after it."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    kind = "" if isinstance(error, OSError | InputError) else f"{type(error).__name__}: "
    say(f"{out} is complete; {failure}: {kind}{reason}")


def say(text: str) -> None:
    """Write a line to the error stream; if that is impossible, the exit status says enough."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def discard_output() -> None:
    """Let what is still to be printed go nowhere, after the standard output has failed."""
    with suppress(OSError, AttributeError):  # where it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def default_picture(file: Path) -> Path:
    """Return the path to which the figure of a run is written by default."""
    has_usual_suffix = file.suffix in (".h5", ".hdf5", ".nc")
    return file.with_suffix(".png") if has_usual_suffix else file.with_name(f"{file.name}.png")


def _print_summary(run: Run) -> None:
    """Print the last record of each setting, the time of each kind of work, and the rate."""
    import numpy as np

    from ..drawing.run import exact_risk, risk_by_setting, setting_label

    if run.steps.size and run.experiment is not None:
        rows = []
        for g, risk in enumerate(risk_by_setting(run)):
            last = risk[:, -1]
            spread: float | str = ""
            if last.size > 1:
                spread = float(np.std(last, ddof=1)) if np.isfinite(last).all() else np.inf
            exact = float(exact_risk(run.experiment, g, run.steps[-1:])[0])
            row = {"setting": setting_label(run.experiment, g), "risk": float(np.mean(last))}
            # Of what is not linear it is not known.
            row |= {"std": spread, "expected": "" if np.isnan(exact) else exact}
            at = np.reshape(run.diverged_at, (-1, last.size))[g]
            if run.status == "diverged":
                row["diverged at step"] = int(at[at >= 0].min()) if (at >= 0).any() else ""
            rows.append(row)
        shard = run.experiment.coordinates
        part = "" if shard is None else f", a shard (coordinates {shard})"
        print(f"at step {run.steps[-1]}, of {last.size} replicas{part}:")
        print_table(rows)
    stats = run.stats
    done, unit = stats["coordinate_steps"], "coordinate-steps"
    if stats["order"] == "replicas" and run.experiment is not None:
        # No coordinate takes steps in collapsed sampling.
        each = run.experiment.problem.dim * run.experiment.steps
        done, unit = done // max(each, 1), "replicas"
    rate = done / max(stats["compute"], 1e-9)
    seconds = ", ".join(f"{name} {stats[name]:.2f} s" for name in ("compile", "compute", "write"))
    print(f"{seconds}; {rate:.3g} {unit}/s on {_describe_workers(stats)}")


def _describe_workers(stats: Mapping[str, Any]) -> str:
    """Name the threads or GPUs that have computed a run."""
    devices = stats.get("devices")
    if not devices:
        return counted(stats["threads"], "thread")
    return f"GPU{'s' * (len(devices) > 1)} {', '.join(map(str, devices))}"


def draw_run(run: Run, path: Path, bands: bool = False) -> Path:
    """Draw the figure of a run, or of its bands, and return its path."""
    from ..drawing.run import draw

    return draw(run, path, bands, "--out")
