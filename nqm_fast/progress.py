"""Progress of long work: engines report, whoever listens (the command line) shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

PATIENCE = 1.0  # seconds before a bar appears
INTERVAL = 10.0  # seconds between lines where there is no terminal

_bars: ContextVar[list[Progress] | None] = ContextVar("_bars", default=None)


@contextmanager
def shown_on_terminal() -> Generator[None]:
    """Show a bar on the terminal's error stream for work within that takes over a second."""
    token = _bars.set([])
    try:
        yield
    finally:
        _bars.reset(token)


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass on `items`, telling the listener, if there is one, how many of `total` are done."""
    open_bars = _bars.get()
    if open_bars is None or open_bars:
        yield from items
        return
    begin = time.monotonic()
    try:
        for number, item in enumerate(items, 1):
            if not open_bars and time.monotonic() - begin > PATIENCE and number < total:
                open_bars.append(_new_bar(what, total))
            if open_bars:
                open_bars[0].update(open_bars[0].task_ids[0], completed=number)
            yield item
    finally:
        while open_bars:
            open_bars.pop().stop()


@contextmanager
def counted(what: str) -> Generator[Callable[[int, int, str], None]]:
    """Show a bar for work that counts itself: call with how much is done, and of how much."""
    begin = time.monotonic()
    bars: list[Progress] = []

    def report(done: int, total: int, _: str) -> None:
        if not bars and time.monotonic() - begin > PATIENCE:
            bars.append(_new_bar(what, total))
        for bar in bars:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield report
    finally:
        for bar in bars:
            bar.stop()


@contextmanager
def rated(what: str, total: int, unit: str) -> Generator[Callable[[int], None]]:
    """Show how many units of work are done, how fast, and how long the rest will take."""
    if _bars.get() is None or sys.stderr is None:
        yield lambda _: None
        return
    display = (_Bar if sys.stderr.isatty() else _Lines)(what, total, unit)
    try:
        yield display.update
    finally:
        display.stop()


class _Bar:
    """A bar that fills the width of a terminal, after a little while."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.begin = time.monotonic()
        self.bar: Progress | None = None

    def update(self, done: int) -> None:
        """So many units are done."""
        if self.bar is None and time.monotonic() - self.begin > PATIENCE:
            self.bar = _new_bar(self.what, self.total, done, self.unit)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()


class _Lines:
    """A line now and then, for pipes and logs."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.since = time.monotonic()
        self.before: int | None = None

    def update(self, done: int) -> None:
        """So many units are done."""
        now = time.monotonic()
        if self.before is None:
            self.since, self.before = now, done
        elif now - self.since >= INTERVAL:
            speed = (done - self.before) / (now - self.since)
            left = timedelta(seconds=round((self.total - done) / max(speed, 1.0)))
            part = f"{100 * done / max(self.total, 1):.0f} %"
            rate = f"{_with_prefix(speed)}{self.unit}/s"
            sys.stderr.write(f"{self.what}: {part}, {rate}, {left} left\n")
            sys.stderr.flush()
            self.since, self.before = now, done

    def stop(self) -> None:
        """Nothing to tidy up."""


def _with_prefix(number: float) -> str:
    """Three digits and a letter for the powers of 1000."""
    from rich.filesize import pick_unit_and_suffix

    unit, prefix = pick_unit_and_suffix(int(number), ["", "k", "M", "G", "T"], 1000)
    return f"{number / unit:.3g} {prefix} ".replace("  ", " ")


def _new_bar(what: str, total: int, done: int = 0, unit: str = "") -> Progress:
    """Percent and the time that is left; with a unit also the rate, and as wide as the terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{_with_prefix(task.speed or 0.0)}{unit}/s")

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None) if unit else BarColumn(),
        TaskProgressColumn(),
        *([Rate()] if unit else []),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        expand=bool(unit),
    )
    bar.add_task(what, total=total, completed=done)
    bar.start()
    return bar
