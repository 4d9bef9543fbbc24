"""Threads that compiled loops may use: as many as the system lets start, and one after a fork.

Threading libraries end the process, or wait for ever, if a thread cannot be started. And a forked
child has no copy of the threads that its parent has started, for which it would wait for ever.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from .notice import say_once

MOST = max(4 * (os.cpu_count() or 1), 64)  # threads that are tried; more are not for computing

_proven = 1  # threads that have run at the same time
_refused = MOST + 1  # threads of which the last could not be started
_team_of: int | None = None  # the process in which a compiled loop has used threads
_lock = threading.Lock()

if hasattr(os, "register_at_fork"):  # the lock may have been held by a thread that is not there

    def _new_lock() -> None:
        global _lock
        _lock = threading.Lock()

    os.register_at_fork(after_in_child=_new_lock)


def startable(wanted: int) -> int:
    """Return how many threads can run at the same time, this one included, up to `wanted`."""
    global _proven, _refused
    with _lock:
        asked = min(wanted, MOST)
        if _proven < asked < _refused:
            running = _tried(asked)
            _proven = max(_proven, running)
            _refused = running + 1 if running < asked else _refused
        if asked > _proven:
            say_once(f"this process may not start {asked} threads, so that {_proven} compute")
        return wanted if _proven >= asked else _proven


def _tried(wanted: int) -> int:
    """Start threads beside this one until there are `wanted`, and end them; how many there were."""
    end = threading.Event()
    started: list[threading.Thread] = []
    with suppress(RuntimeError, MemoryError):  # "can't start new thread"
        for _ in range(wanted - 1):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    end.set()
    for thread in started:
        thread.join()
    return 1 + len(started)


def team(wanted: int) -> int:
    """Return how many threads a compiled loop may use, where `wanted` would be of use.

    A forked child has one if a loop has used several in its parent.
    """
    global _team_of
    if wanted < 2 or (_team_of is not None and _team_of != os.getpid()):
        return 1
    most = startable(min(wanted, MOST))
    if most > 1:
        _team_of = os.getpid()
    return most
