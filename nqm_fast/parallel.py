"""Work spread over the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .progress import track
from .validation import integer


def in_threads(function: Callable[[int], Any], items: range, label: str) -> list[Any]:
    """Return the function's result for each item, in their order, computed on all cores.

    Threads suffice because the kernels release the interpreter's lock. `label` names the work on
    the progress bar.
    """
    threads = min(cores(), len(items))
    if threads < 2:
        return list(track(map(function, items), len(items), label))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        return list(track(pool.map(function, items), len(items), label))


def cores() -> int:
    """Count the cores to use: NQM_NUM_THREADS if it is set, else those the system grants."""
    chosen = os.environ.get("NQM_NUM_THREADS")
    if chosen is not None:
        return integer("NQM_NUM_THREADS", int(chosen) if chosen.isdecimal() else chosen, least=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
