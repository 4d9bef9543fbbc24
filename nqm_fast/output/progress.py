"""Progress of long work: engines report it, and it is shown where somebody watches.

The command line shows it within `shown_on_terminal`, the library within `shown`: on a terminal and
in a notebook, but not in a pipe or in a process that others have started.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..foundation.validation import flag
from ..kernels.threads import startable

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

PATIENCE = 1.0
"""Seconds of work before a bar appears, so that short work does not make one flash."""
REFRESH = 0.2
"""Seconds between changes of a bar in a notebook, as more could not be seen."""
INTERVAL = 10.0
"""Seconds between lines of text where there is no terminal, to keep logs short."""

CENTURY = 3e9  # seconds

_bars: ContextVar[list[Progress] | None] = ContextVar("_bars", default=None)
"""The bars now on the terminal, at most one; None outside `shown_on_terminal`."""


@contextmanager
def shown_on_terminal() -> Generator[None]:
    """Show progress on the terminal's error stream for long work inside this context."""
    token = _bars.set([])
    try:
        yield
    finally:
        _bars.reset(token)


@contextmanager
def shown(wanted: bool | None) -> Generator[None]:
    """Show progress of work inside this context, or not; None where somebody seems to watch.

    Within `shown_on_terminal` None changes nothing.

    Raises
    ------
    InputError
        If `wanted` is neither None nor True or False.
    """
    if wanted is not None:
        flag("progress", wanted)
    elif _bars.get() is not None:
        yield
        return
    token = _bars.set([] if wanted or (wanted is None and _is_watched()) else None)
    try:
        yield
    finally:
        _bars.reset(token)


def _is_watched() -> bool:
    """Whether this is the main thread of a process with a terminal, or of a notebook."""
    import multiprocessing  # It takes long to load.

    if threading.current_thread() is not threading.main_thread():
        return False
    if multiprocessing.parent_process() is not None:
        return False
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs this process."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def track(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    """Yield the items, and show on a bar how many of `total` have been yielded.

    Work inside other tracked work has no bar of its own.
    """
    open_bars = _bars.get()
    if open_bars is None or open_bars or _in_notebook():
        yield from items
        return
    begin = time.monotonic()
    try:
        for number, item in enumerate(items, 1):
            if not open_bars and time.monotonic() - begin > PATIENCE and number < total:
                open_bars.append(_new_bar(label, total))
            if open_bars:
                open_bars[0].update(open_bars[0].task_ids[0], completed=number)
            yield item
    finally:
        while open_bars:
            open_bars.pop().stop()


@contextmanager
def counted(label: str) -> Generator[Callable[[int, int, str], None]]:
    """Give a function ``report(done, total, name)`` that shows on a bar how much is done."""
    begin = time.monotonic()
    bars: list[Progress] = []

    def report(done: int, total: int, _: str) -> None:
        if not bars and time.monotonic() - begin > PATIENCE:
            bars.append(_new_bar(label, total))
        for bar in bars:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield report
    finally:
        for bar in bars:
            bar.stop()


@contextmanager
def rated(label: str, total: int, unit: str) -> Generator[Callable[[int], None]]:
    """Give a function ``update(done)`` that shows the share done, the rate and the time left."""
    if _bars.get() is None or (sys.stderr is None and not _in_notebook()):
        yield lambda _: None
        return
    if _in_notebook():
        notebook_bar = _NotebookBar(label, total, unit)
        try:
            yield notebook_bar.update
        finally:
            notebook_bar.stop()
        return
    if not sys.stderr.isatty():
        yield _ProgressLog(label, total, unit).update
        return
    bar = _ProgressBar(label, total, unit)
    try:
        yield bar.update
    finally:
        bar.stop()


class _ProgressBar:
    """A bar as wide as the terminal, which appears after `PATIENCE` seconds."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.begin = time.monotonic()
        self.bar: Progress | None = None

    def update(self, done: int) -> None:
        """Show that `done` units are done."""
        if self.bar is None and time.monotonic() - self.begin > PATIENCE:
            self.bar = _new_bar(self.label, self.total, done, self.unit)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done)

    def stop(self) -> None:
        """Remove the bar from the terminal."""
        if self.bar is not None:
            self.bar.stop()


class _NotebookBar:
    """A bar in the output of a notebook's cell, which needs no widgets."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.begin = self.last_time = time.monotonic()
        self.first_done: int | None = None
        self.handle: Any = None

    def update(self, done: int) -> None:
        """Show that `done` units are done, not more often than one can see."""
        from IPython.display import HTML, display

        now = time.monotonic()
        if self.first_done is None:
            self.first_done = done
        pause = PATIENCE if self.handle is None else REFRESH
        if now - self.last_time < pause:
            return
        self.last_time = now
        speed = (done - self.first_done) / max(now - self.begin, 1e-9)
        left = _time_left(self.total - done, speed)
        part = f"{100 * done / max(self.total, 1):.0f} %"
        text = f"{self.label} {part}, {_with_prefix(speed)}{self.unit}/s, {left} left"
        bar = f'<progress value="{done}" max="{max(self.total, 1)}"></progress> {text}'
        if self.handle is None:
            self.handle = display(HTML(bar), display_id=True)
        else:
            self.handle.update(HTML(bar))

    def stop(self) -> None:
        """Remove the bar from the cell."""
        if self.handle is not None:
            from IPython.display import HTML

            self.handle.update(HTML(""))


class _ProgressLog:
    """A line of text every `INTERVAL` seconds, for pipes and log files."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.last_time = time.monotonic()
        self.last_done: int | None = None

    def update(self, done: int) -> None:
        """Write a line if the last is long enough ago; the first call starts the clock."""
        now = time.monotonic()
        if self.last_done is None:
            self.last_time, self.last_done = now, done
        elif now - self.last_time >= INTERVAL:
            speed = (done - self.last_done) / (now - self.last_time)
            left = _time_left(self.total - done, speed)
            part = f"{100 * done / max(self.total, 1):.0f} %"
            rate = f"{_with_prefix(speed)}{self.unit}/s"
            with suppress(OSError):  # Its disk may be full, which is no reason to stop the work.
                sys.stderr.write(f"{self.label}: {part}, {rate}, {left} left\n")
                sys.stderr.flush()
            self.last_time, self.last_done = now, done


def _time_left(rest: int, speed: float) -> timedelta | str:
    """Estimate the time that the rest takes, if that is less than a century."""
    seconds = rest / speed if speed > 0 else math.inf
    return timedelta(seconds=round(seconds)) if seconds < CENTURY else "a long time"


def _with_prefix(number: float) -> str:
    """Write a number with three digits and a prefix for the power of 1000, such as "1.25 M"."""
    from rich.filesize import pick_unit_and_suffix

    unit, prefix = pick_unit_and_suffix(int(number), ["", "k", "M", "G", "T"], 1000)
    return f"{number / unit:.3g} {prefix} ".replace("  ", " ")


def _new_bar(label: str, total: int, done: int = 0, unit: str = "") -> Progress:
    """Start a bar with percentage and time left; with a unit, also the rate, at full width."""
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
        auto_refresh=startable(2) > 1,  # in a thread
        expand=bool(unit),
    )
    bar.add_task(label, total=total, completed=done)
    bar.start()
    return bar
