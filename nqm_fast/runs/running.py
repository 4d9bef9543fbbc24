"""Runs begun and gone on with, in memory or in files, until they end or a signal stops them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ..simulation.experiment import Experiment
from ..simulation.planning import Plan, plan_run
from ..simulation.recorder import Recorder
from ..simulation.resources import Wanted
from ..simulation.result import Run
from ..simulation.signals import Signals, Stopped, caught, ending_signals
from ..store import access
from ..store.files import Files
from .extension import STREAMED, checked_plan

if TYPE_CHECKING:
    from ..store.extension import Extension
    from ..store.reading import Stored

IN_MEMORY = 1 << 28  # bytes of state above which a run without a file works in blocks


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM, SIGHUP), and the run, if it had begun, is saved."""

    def __init__(self, number: int, run: Run | None) -> None:
        super().__init__(128 + number)
        self.number, self.run = number, run


def run_in_memory(experiment: Experiment, resources: Wanted) -> Run:
    """Compute a run that has no file."""
    with caught([signal.SIGINT]) as signals:
        plan = plan_run(experiment, resources, IN_MEMORY)
        return plan.execute(signals, Recorder())


def run_in_file(
    files: Files,
    experiment: Experiment,
    resources: Wanted,
    overwrite: bool,
    interval: float,
    most_bytes: int | None = None,
) -> Run:
    """Compute a run in a file; `interval` is seconds between checkpoints.

    It works in blocks if its state takes more than `most_bytes`.
    """
    # The plan is made, and its errors are raised, before anything is overwritten.
    plan = plan_run(experiment, resources, STREAMED if most_bytes is None else most_bytes)
    opening = access.recorder_of_new_run(files, experiment, plan.fingerprint(), overwrite, interval)
    with _recording(opening) as (signals, recorder):
        return _execute_in_file(plan, signals, recorder)


def go_on(
    files: Files,
    resources: Wanted,
    interval: float | None,
    extend: Callable[[Stored], Extension | None] | None = None,
    most_bytes: int = STREAMED,
) -> Run:
    """Go on with a run, after it was extended; give what is in the file if it has ended."""
    plans: list[Plan] = []

    def check(stored: Stored) -> None:
        """Plan the rest of the run, and make sure that it gives the same bits here."""
        plans.append(checked_plan(files.given, stored, resources, most_bytes))

    opening = access.recorder_of_resumed_run(files, interval, check, extend)
    with _recording(opening) as (signals, recorder):
        if recorder is None:
            return access.stored_run(files)
        return _execute_in_file(plans[0], signals, recorder)


Recording = TypeVar("Recording")


@contextmanager
def ending_by_signals() -> Generator[Signals]:
    """Handle signals that ask the process to end; those other than Ctrl-C end it then."""
    with caught(ending_signals()) as signals:
        try:
            yield signals
        except Stopped as stopped:
            if stopped.number != signal.SIGINT:
                raise Terminated(stopped.number, None) from None
            raise


@contextmanager
def _recording(
    opening: AbstractContextManager[Recording],
) -> Generator[tuple[Signals, Recording]]:
    """Open a recorder, and handle signals that ask the process to end.

    Those other than Ctrl-C end the process if they come when the run has nothing to save.
    """
    with ending_by_signals() as signals, ExitStack() as stack:
        # The stack closes the files even if a signal comes here.
        with signals.shield():
            recorder = stack.enter_context(opening)
        yield signals, recorder


def _execute_in_file(plan: Plan, signals: Signals, recorder: Recorder) -> Run:
    """Execute the plan, and end the process if a signal other than Ctrl-C has stopped the run."""
    run = plan.execute(signals, recorder)
    if run.status == "interrupted" and signals.number not in (None, signal.SIGINT):
        raise Terminated(int(signals.number or 0), run)
    return run
