"""The commands of simulations: ``nqm-fast run``, ``resume``, ``info``, ``plot`` and ``init``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import InputError, open_run
from ..simulation.api import Terminated, resume, simulate
from ..simulation.result import Run
from ..simulation.signals import Stopped
from .tables import table


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    run = commands.add_parser(
        "run", allow_abbrev=False, help="simulate an experiment, stream it to a file, and plot it"
    )
    run.set_defaults(run=_run)
    run.add_argument(
        "config", nargs="?", type=Path, metavar="FILE", help="in TOML (default: see init)"
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, such as steps=100 or setting.0.lr=0.5",
    )
    run.add_argument("--out", type=Path, metavar="FILE", help="HDF5 file to write")
    run.add_argument("--overwrite", action="store_true", help="replace the run that is there")

    again = commands.add_parser(
        "resume", allow_abbrev=False, help="go on with a run that was interrupted or killed"
    )
    again.set_defaults(run=_resume)
    again.add_argument("file", type=Path, metavar="FILE")
    again.add_argument("--threads", type=int, help="all cores, if left out")
    again.add_argument("--backend", default="auto")
    again.add_argument("--devices", type=int, nargs="+", metavar="GPU", help="with --backend cuda")
    again.add_argument("--checkpoint-every", type=float, default=60.0, metavar="SECONDS")

    info = commands.add_parser(
        "info", allow_abbrev=False, help="what this machine has, or what a run's file holds"
    )
    info.set_defaults(run=_info)
    info.add_argument("file", nargs="?", type=Path, metavar="FILE")

    plot = commands.add_parser(
        "plot", allow_abbrev=False, help="draw a run, also an unfinished one"
    )
    plot.set_defaults(run=_plot)
    plot.add_argument("file", type=Path, metavar="FILE")
    plot.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="picture to write (default: the name of the run with .png)",
    )

    init = commands.add_parser("init", allow_abbrev=False, help="write a commented example")
    init.set_defaults(run=_init)
    init.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("nqm.toml"),
        metavar="FILE",
        help="to write (default: nqm.toml)",
    )


def _run(chosen: argparse.Namespace) -> int:
    from . import config

    wanted = config.load(chosen.config, chosen.set)
    out = chosen.out or Path(wanted.out)

    def start() -> Run:
        try:
            return simulate(**wanted.arguments, out=out, overwrite=chosen.overwrite)
        except InputError as error:
            of_option = chosen.out is not None and str(error).startswith("out ")
            raise error if of_option else wanted.explained(error) from None

    return _told(start, out)


def _resume(chosen: argparse.Namespace) -> int:
    from ..store import description

    checkpoint = description.describe_file(chosen.file).get("checkpoint")
    if checkpoint is None:
        resume(chosen.file)  # to tidy up, where it was killed before it did
        print(f"{chosen.file} is finished: there is nothing to go on with")
        return 0
    print(f"checkpoint {checkpoint}", file=sys.stderr)

    def go_on() -> Run:
        return resume(
            chosen.file,
            backend=chosen.backend,
            threads=chosen.threads,
            devices=chosen.devices,
            checkpoint_every=chosen.checkpoint_every,
        )

    return _told(go_on, chosen.file)


def _told(action: Callable[[], Run], out: Path) -> int:
    """Carry out a run, say how it ended, and draw it; the exit status."""
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
        said = f"; go on with: {resume_command(out)}" if run is None else f" {run.message}"
        print(f"interrupted{said}", file=sys.stderr)
        return 128 + number
    if run.message:
        print(run.message, file=sys.stderr)
    picture = None
    if find_spec("matplotlib") is not None and (run.steps > 0).any():
        try:
            picture = _drawn(run, _picture(out))
        except KeyboardInterrupt:
            said = f"{out} is complete, its figure was interrupted: nqm-fast plot {out}"
            print(said, file=sys.stderr)
            return 128 + signal.SIGINT
    _summary(run)
    print(f"\n{out}  {run.steps.size} records")
    if picture is not None:
        print(f"{picture}  Monte Carlo and exact expectation")
    elif find_spec("matplotlib") is None:
        print("no figure, as that needs Matplotlib: pip install 'nqm-fast[figures]'")
    return 0


def _picture(file: Path) -> Path:
    """Where the figure of a run goes, unless it is said."""
    usual = file.suffix in (".h5", ".hdf5", ".nc")
    return file.with_suffix(".png") if usual else file.with_name(f"{file.name}.png")


def _summary(run: Run) -> None:
    """The last record of each setting, and where the time went."""
    import numpy as np

    from ..figures._run import as_listed, exact_risk, label

    if run.steps.size and run.experiment is not None:
        rows = []
        for g, risk in enumerate(as_listed(run)):
            last = risk[:, -1]
            spread: float | str = ""
            if last.size > 1:
                spread = float(np.std(last, ddof=1)) if np.isfinite(last).all() else np.inf
            exact = float(exact_risk(run.experiment, g, run.steps[-1:])[0])
            row = {"setting": label(run.experiment, g), "risk": float(np.mean(last))}
            rows.append(row | {"std": spread, "expected": exact})
        print(f"at step {run.steps[-1]}, of {last.size} replicas:")
        table(rows)
    stats = run.stats
    rate = stats["coordinate_steps"] / max(stats["compute"], 1e-9)
    seconds = ", ".join(f"{name} {stats[name]:.2f} s" for name in ("compile", "compute", "write"))
    print(f"{seconds}; {rate:.3g} coordinate-steps/s on {_workers(stats)}")


def _workers(stats: Mapping[str, Any]) -> str:
    """What has done it."""
    devices = stats.get("devices")
    if not devices:
        return f"{stats['threads']} threads"
    return f"GPU{'s' * (len(devices) > 1)} {', '.join(map(str, devices))}"


def _drawn(run: Run, path: Path) -> Path:
    from ..figures._run import draw

    return draw(run, path)


def _plot(chosen: argparse.Namespace) -> int:
    run = open_run(chosen.file)
    picture = chosen.out or _picture(chosen.file)
    if picture.exists() and picture.samefile(chosen.file):
        raise InputError(f"--out {picture} is the run itself: choose another file")
    print(_drawn(run, picture))
    return 0


def _info(chosen: argparse.Namespace) -> int:
    from ..store import description

    found = (
        description.describe_machine()
        if chosen.file is None
        else description.describe_file(chosen.file)
    )
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {value}")
    return 0


def _init(chosen: argparse.Namespace) -> int:
    from .config import default_text

    try:
        with chosen.file.open("x", encoding="utf-8") as file:
            file.write(default_text())
    except FileExistsError:
        raise InputError(f"{chosen.file} exists: give another name") from None
    print(f"{chosen.file} written: edit it, then nqm-fast run {chosen.file}")
    return 0
