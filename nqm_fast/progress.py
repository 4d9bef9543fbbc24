"""Progress of long work: engines report, whoever listens (the command line) shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

PATIENCE = 1.0  # seconds before a bar appears

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


def _new_bar(what: str, total: int) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task(what, total=total)
    bar.start()
    return bar
