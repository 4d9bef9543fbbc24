"""Work spread over the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .progress import track
from .validation import integer


def in_threads(function: Callable[[int], Any], items: range, what: str) -> list[Any]:
    """Map over `items` in order, on all cores: the kernels do not hold the interpreter lock."""
    threads = min(cores(), len(items))
    if threads < 2:
        return list(track(map(function, items), len(items), what))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        return list(track(pool.map(function, items), len(items), what))


def cores() -> int:
    """Cores to use: those the system grants, unless NQM_NUM_THREADS says otherwise."""
    chosen = os.environ.get("NQM_NUM_THREADS")
    if chosen is not None:
        return integer("NQM_NUM_THREADS", int(chosen) if chosen.isdecimal() else chosen, least=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
