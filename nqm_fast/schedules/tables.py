"""Schedules as tables, files and functions, for trainers of all libraries."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.immutable import Immutable
from ..foundation.validation import Array, InputError, integer
from ..output.columns import Table, write_csv
from ..output.saving import file_path

MOST_ROWS = 10**7
"""Rows of a table, which bounds the memory."""
MOST_PIECES = 10**4
"""Pieces that are looked at for the step from which on nothing changes."""
MOST_JAX_STEPS = 2**31 - 1
"""Steps that JAX counts without being told to use 64 bits."""


class Tabular(Immutable, ABC):
    """A source of values for steps, in pieces, which can be exported."""

    length: float

    @abstractmethod
    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps, an array of the same shape."""

    @abstractmethod
    def piece(self, step: int) -> tuple[float, bool]:
        """The end (exclusive) of the piece that contains `step`, and whether it is constant."""

    @property
    def own_steps(self) -> int | None:
        """How many steps it is made for, if it says: until it stays constant, and at least one."""
        if self.length != math.inf:
            return int(self.length)
        begin = 0
        for _ in range(MOST_PIECES):
            end, is_constant = self.piece(begin)
            if end == math.inf:
                return max(begin, 1) if is_constant else None
            begin = int(end)
        return None

    def to_table(self, steps: int | None = None) -> Table:
        """The schedule as columns, with a row for each run of steps with one value.

        Parameters
        ----------
        steps : int, optional
            How many steps, at most the length of a schedule that ends. By default those that the
            schedule is made for, such as the `steps` of a cosine.

        Returns
        -------
        dict of ndarrays
            ``begin``, ``end`` (exclusive) and ``value``, of one length: a table for pandas.

        Raises
        ------
        InputError
            If the number of steps is needed, or too large.

        Examples
        --------
        >>> import nqm_fast as nqm
        >>> table = nqm.schedules.Piecewise([0.5, 0.1], [20, 10]).to_table()
        >>> [table[name].tolist() for name in ("begin", "end", "value")]
        [[0, 20], [20, 30], [0.5, 0.1]]
        """
        return _table(self, self._exported_steps(steps))

    def to_csv(self, path: str | os.PathLike[str], steps: int | None = None) -> Path:
        """Write the table of `to_table` to a file, with all digits; the file's name is returned.

        Parameters
        ----------
        path : str or path
            A file that is replaced once the new one is whole.
        steps : int, optional
            As in `to_table`.

        Raises
        ------
        InputError
            As `to_table` does, or if the path is a folder.
        """
        where = file_path("path", path)
        write_csv(where, self.to_table(steps))
        return where

    def to_callable(self, steps: int | None = None) -> Callable[[Any], Any]:
        """A function from the step to the value, for the schedulers of other libraries.

        It is what ``torch.optim.lr_scheduler.LambdaLR`` takes, whose optimiser then has the
        learning rate 1, and what optax takes as a learning rate: within ``jax.jit`` the step is
        looked up in a table. Steps after the end of a schedule that ends have its last value, as
        trainers ask for one step more than they do.

        Parameters
        ----------
        steps : int, optional
            As in `to_table`; JAX needs them where a schedule never becomes constant.

        Returns
        -------
        callable
            Its argument is a whole number >= 0, counted from 0, or an array of JAX.

        Raises
        ------
        InputError
            If the number of steps is too large.

        Examples
        --------
        >>> import nqm_fast as nqm
        >>> lr = nqm.schedules.Cosine(0.4, 100).to_callable()
        >>> lr(0), lr(100)
        (0.4, 0.0)
        """
        if steps is not None:
            self._exported_steps(steps)
        last = int(self.length) - 1 if self.length != math.inf else None
        looked_up: list[Callable[[Any], Any]] = []

        def value(step: Any) -> Any:
            if type(step).__module__.partition(".")[0] in ("jax", "jaxlib"):
                if not looked_up:
                    looked_up.append(_jax_lookup(self, self._exported_steps(steps)))
                return looked_up[0](step)
            at = integer("step", step, least=0)
            at = at if last is None else min(at, last)
            return float(self.values(np.array([at], dtype=np.int64))[0])

        return value

    def _exported_steps(self, steps: int | None) -> int:
        """Return a number of steps that is given or known."""
        kind = type(self).__name__
        if steps is None:
            known = self.own_steps
            if known is None:
                raise InputError(f"steps must be given, as a {kind} goes on changing for ever")
            return known
        asked = integer("steps", steps, least=1)
        if asked > self.length:
            raise InputError(f"steps must be at most {int(self.length)}, as the {kind} ends there")
        return asked


def _table(schedule: Tabular, steps: int) -> Table:
    """Return the runs of equal values among the first steps."""
    begins: list[NDArray[np.int64]] = []
    rows = begin = 0
    while begin < steps:
        end, is_constant = schedule.piece(begin)
        stop = int(min(end, steps))
        rows += 1 if is_constant else stop - begin
        if rows > MOST_ROWS:
            raise InputError(
                f"steps must be fewer: the table would have more than {MOST_ROWS} rows"
            )
        begins.append(np.array([begin]) if is_constant else np.arange(begin, stop))
        begin = stop
    begin_of = np.concatenate(begins)
    value = schedule.values(begin_of)
    differs = np.append(True, value[1:] != value[:-1])
    begin_of, value = begin_of[differs], value[differs]
    return {"begin": begin_of, "end": np.append(begin_of[1:], steps), "value": value}


def _jax_lookup(schedule: Tabular, steps: int) -> Callable[[Any], Any]:
    """Return a function of an array of JAX, also of one that is traced."""
    import jax

    table = _table(schedule, steps)
    if schedule.length == math.inf:
        # What comes after the last step is one more row.
        after = schedule.values(np.array([steps], dtype=np.int64))
        begins, values = np.append(table["begin"], steps), np.append(table["value"], after)
    else:
        begins, values = table["begin"], table["value"]
    if begins[-1] > MOST_JAX_STEPS:
        raise InputError(f"steps must be at most {MOST_JAX_STEPS} for JAX, not {steps}")
    begins = begins.astype(np.int32)

    def value(step: Any) -> Any:
        row = jax.numpy.searchsorted(begins, step, side="right") - 1
        return jax.numpy.asarray(values)[row]

    return value
