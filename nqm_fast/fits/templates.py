"""Learning rates written as text, relative to the steps of the run that they are for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..foundation.validation import Array, InputError, shown
from ..schedules import Constant, Cosine, Linear, PerStep, Schedule, Warmup, WarmupStableDecay

Row = Mapping[str, Any]
"""A run's columns by name."""

KINDS = ("constant", "cosine", "linear", "wsd", "recorded")
FORM = "such as 'warmup 0.01, cosine 0.001 to 0'"
_PART = re.compile(r"(\w+)\s+(\S+?)(?:\s+to\s+(\S+?))?(?:\s+over\s+(\S+?))?\s*")


class Template:
    """A schedule as text, relative to the steps of a run.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    text : str
        ``[warmup W,] KIND PEAK [to END] [over SHARE]`` with KIND one of constant, cosine, linear
        (from PEAK to END, 0 by default, at the run's last step), wsd (constant, and linear to END
        over the last SHARE of the steps, 0.2 by default) and recorded (the values of the column
        PEAK at the run's records, without END and SHARE). W and SHARE are shares of the run's
        steps below 1, and steps otherwise. Each number may be the name of a column. A number alone
        is constant.

    Raises
    ------
    InputError
        If the text has another form.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        words = [_words(part.strip()) for part in text.split(",")]
        has_warmup = words[0][0] == "warmup" and words[0][2:] == (None, None)
        self._warmup = words[0][1] if has_warmup else None
        kind, peak, end, over = words[-1]
        self._kind: str = kind
        self._peak: str = peak
        self._end, self._over = end or "0", over or "0.2"
        unfit = kind == "recorded" and (end or over)
        if self._kind not in KINDS or len(words) != 1 + has_warmup or unfit:
            raise InputError(
                f"{name} must be '[warmup W,] KIND PEAK [to END] [over SHARE]', {FORM}, with KIND "
                f"one of {', '.join(KINDS)}, or a number, not {shown(text)}"
            )

    def schedule(self, row: Row, steps: int, records: Array | None = None) -> Schedule:
        """Make the schedule of a run of its columns, its number of steps, and those of records."""
        warmup = 0 if self._warmup is None else _steps(self._value(self._warmup, row), steps)
        warmup = max(min(warmup, steps - 1), 0)
        rest = max(steps - warmup, 1)
        if self._kind == "recorded":
            main: Schedule = PerStep(self._recorded(row, steps, records)[warmup:])
            return Warmup(warmup, then=main) if warmup else main
        high, low = self._value(self._peak, row), self._value(self._end, row)
        if self._kind == "constant":
            main = Constant(high)
        elif self._kind == "cosine":
            main = Cosine(high, rest, low)
        elif self._kind == "linear":
            main = Linear(high, low, rest)
        else:
            decay = min(max(_steps(self._value(self._over, row), steps), 1), rest)
            main = WarmupStableDecay(high, 0, rest - decay, decay, low)
        return Warmup(warmup, then=main) if warmup else main

    def _recorded(self, row: Row, steps: int, records: Array | None) -> Array:
        """Return the recorded values at all steps, shape (steps,)."""
        if records is None or self._peak not in row:
            raise InputError(
                f"{self._name} has 'recorded {self._peak}', but there are no records of that name"
            )
        try:
            values = np.asarray(row[self._peak], dtype=np.float64)
        except ValueError:
            raise InputError(
                f"{self._name} has 'recorded {self._peak}', but that column has other things than "
                "numbers"
            ) from None
        return between(records, np.broadcast_to(values, records.shape), max(steps, 1))

    def _value(self, word: str, row: Row) -> float:
        """Return a number, or the value of the column of this name."""
        try:
            return float(row.get(word, word))
        except (TypeError, ValueError):
            columns = ", ".join(map(str, row))
            raise InputError(
                f"{self._name} has {shown(word)}, which is neither a number nor one of the columns "
                f"{columns}"
            ) from None


def _words(part: str) -> tuple[str, str, str | None, str | None]:
    """Return the kind, peak, end and share that a part of a template has; a number is constant."""
    try:
        float(part)
    except ValueError:
        found = _PART.fullmatch(part)
        return ("", "", None, None) if found is None else (found[1], found[2], found[3], found[4])
    return "constant", part, None, None


def _steps(number: float, steps: int) -> int:
    """Return a number of steps that may be given as a share of all."""
    return round(number * steps) if number < 1.0 else round(number)


def between(steps: ArrayLike, values: Array, count: int) -> Array:
    """Interpolate records of a schedule, linearly but where it jumps.

    It jumps between two records if it is constant before the first and after the second of them.
    A record has what is used in the step after it, so that the jump is at the second.
    """
    order = np.argsort(steps, kind="stable")
    at, recorded = np.asarray(steps)[order], values[order]
    t = np.arange(count)
    found: Array = np.interp(t, at, recorded)
    same = np.diff(recorded) == 0.0
    for k in range(1, same.size - 1):
        if same[k - 1] and not same[k] and same[k + 1]:
            found[(t >= at[k]) & (t < at[k + 1])] = recorded[k]
    return found
