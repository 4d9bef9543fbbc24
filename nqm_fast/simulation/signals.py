"""Signals that end a run: they are noted, and answered at its next event."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal came before a run had anything to lose, or twice."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def ending() -> list[int]:
    """Signals that ask a process to end, and after which a run with a file is saved."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Signals:
    """Whether a signal came that stops the run at its next event."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.waiting = False  # for an event; until the first of a run, kernels are compiled
        self._shielded = False
        self._late = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Remember the signal; what cannot wait, or came before, stops the run at once."""
        urgent = self.number is not None or not self.waiting
        self.number = number
        if urgent and self._shielded:
            self._late = True
        elif urgent:
            raise Stopped(number)

    @contextmanager
    def shield(self) -> Generator[None]:
        """Let files be written to their end: what would stop the run within does so after."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._late and self.number is not None:
            self._late = False
            raise Stopped(self.number)


@contextmanager
def caught(numbers: Sequence[int]) -> Generator[Signals]:
    """Note signals within: those that would raise KeyboardInterrupt, or end the process.

    Only in the main thread, which gets signals; somebody else's handler is left alone.
    """
    signals = Signals()
    usual = {
        number: signal.getsignal(number)
        for number in numbers
        if threading.current_thread() is threading.main_thread()
    }
    mine = [n for n, f in usual.items() if f in (signal.default_int_handler, signal.SIG_DFL)]
    for number in mine:
        signal.signal(number, signals.note)
    try:
        yield signals
    finally:
        for number in mine:
            signal.signal(number, usual[number])
