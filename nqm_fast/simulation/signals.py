"""Signals that end a run: they are remembered, and the run stops at its next event."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """The run stops at once: the signal came before its first event, or for the second time."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def ending_signals() -> list[int]:
    """The signals that ask a process to end, and after which a run with a file is saved."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Signals:
    """Remembers the signal, if one came, that asks the run to stop at its next event."""

    def __init__(self) -> None:
        self.number: int | None = None
        # A signal waits for the next event once there was a first one. Before that, kernels may
        # be compiled for long, and nothing is lost when the run stops at once.
        self.waiting = False
        self._shielded = False
        self._stop_after_shield = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Remember the signal, or stop the run at once if it cannot wait or is the second."""
        urgent = self.number is not None or not self.waiting
        self.number = number
        if urgent and self._shielded:
            self._stop_after_shield = True
        elif urgent:
            raise Stopped(number)

    @contextmanager
    def shield(self) -> Generator[None]:
        """Let files be written to their end: a signal stops the run only after the context."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._stop_after_shield and self.number is not None:
            self._stop_after_shield = False
            raise Stopped(self.number)


@contextmanager
def caught(numbers: Sequence[int]) -> Generator[Signals]:
    """Handle signals within the context that would raise KeyboardInterrupt or end the process.

    This is done in the main thread only, which gets the signals. A signal for which somebody has
    set a handler keeps it, and one that is ignored, as in a background job, stays ignored.
    """
    signals = Signals()
    previous = {
        number: signal.getsignal(number)
        for number in numbers
        if threading.current_thread() is threading.main_thread()
    }
    defaults = (signal.default_int_handler, signal.SIG_DFL)
    handled = [number for number, handler in previous.items() if handler in defaults]
    for number in handled:
        signal.signal(number, signals.handle)
    try:
        yield signals
    finally:
        for number in handled:
            signal.signal(number, previous[number])
