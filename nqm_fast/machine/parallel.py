"""Work spread over the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import cache
from threading import Lock
from typing import Any

from ..foundation.validation import integer
from ..kernels.threads import startable
from ..output.progress import track


def in_threads(function: Callable[[int], Any], items: range, label: str) -> list[Any]:
    """Return the function's result for each item, in their order, computed on all cores.

    Threads suffice because the kernels release the interpreter's lock. `label` names the work on
    the progress bar.
    """
    if len(items) == 1:
        return [function(items[0])]
    return list(track(each_in_threads(function, items), len(items), label))


def each_in_threads(function: Callable[[int], Any], items: range) -> Generator[Any]:
    """Yield the function's result for each item as `in_threads` returns them, as soon as possible.

    Where the generator is closed early, items that are not begun are left out.
    """
    threads = min(cores(), len(items))
    if threads < 2:
        yield from map(function, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    def within(context: Context, item: int) -> Any:
        return context.run(function, item)

    # A thread has the caller's backend, and treats overflow as the caller does.
    contexts = [copy_context() for _ in items]
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(within, contexts, items)


_limit: ContextVar[int | None] = ContextVar("_limit", default=None)
"""Most threads that the current task may use, beside others of the process; None for no limit."""


@contextmanager
def threads_limited(count: int) -> Generator[None]:
    """Let work within the context use so many threads, whatever the environment says.

    It is the context of one thread: others of the process, with their own tasks, have their own.
    """
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


def cores() -> int:
    """Count the cores to use: NQM_NUM_THREADS if it is set, else those the system grants.

    Within `threads_limited` there are as many as that says. There are no more than threads that can
    be started.
    """
    limit = _limit.get()
    if limit is not None:
        return startable(limit)
    chosen = os.environ.get("NQM_NUM_THREADS", "").strip()
    if chosen:
        given: Any = int(chosen) if chosen.isascii() and chosen.isdecimal() else chosen
        return startable(integer("NQM_NUM_THREADS", given, least=1))
    if hasattr(os, "sched_getaffinity"):
        return startable(len(os.sched_getaffinity(0)))
    return startable(os.cpu_count() or 1)


class _OneBlasThread:
    """A context in which the linear algebra of the whole process has one thread.

    Any number of threads may be within at a time: the last that leaves restores the number.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limited: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limited = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limited.restore_original_limits()


@cache
def _libraries() -> Any:
    """Find the libraries of linear algebra that are loaded, which takes a millisecond."""
    import scipy.linalg  # noqa: F401  # has one of its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


one_blas_thread = _OneBlasThread()
"""For searches with small matrices, for which further threads of linear algebra wait busily."""
