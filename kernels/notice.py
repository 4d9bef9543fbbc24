"""Notices on the error stream: what a user should know while the answer is on its way."""

from __future__ import annotations

import sys
from functools import cache


@cache
def say_once(text: str) -> None:
    """Write a line to the error stream, if there is one, the first time that it is said here.

    It is no warning of Python's, which a filter would turn into an error or hide: the answer is
    the same, and only takes longer.
    """
    if sys.stderr is not None:
        sys.stderr.write(f"nqm_fast: {text}\n")
        sys.stderr.flush()
