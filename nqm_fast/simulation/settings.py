"""The settings of a simulation: each is an algorithm at a batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm, RuleAlgorithm, as_simulated_algorithm
from ..algorithms.sparse import checked_recurrence, sparse_recurrence, term_weights
from ..foundation.validation import InputError, any_array, counted
from ..schedules import Constant, PerStep, Schedule, as_schedule
from ..schedules.timeline import check_lengths, pieces, segments, values_at


class Setting(NamedTuple):
    """An algorithm at a batch size."""

    algorithm: LinearAlgorithm | RuleAlgorithm
    batch_size: Schedule

    @property
    def linear(self) -> LinearAlgorithm:
        """The algorithm, where only linear ones come."""
        assert not isinstance(self.algorithm, RuleAlgorithm)
        return self.algorithm

    @property
    def schedules(self) -> dict[str, Schedule]:
        """All that varies from step to step, by name: the algorithm's schedules, the batch size."""
        return self.algorithm.schedules | {"batch_size": self.batch_size}

    @property
    def batch_size_text(self) -> str:
        """The batch size as a person would write it."""
        batch_size = self.batch_size
        return f"{batch_size.value:g}" if isinstance(batch_size, Constant) else repr(batch_size)


def as_settings(algorithm: Any, batch_size: Any, steps: int) -> tuple[Setting, ...]:
    """Check and combine the arguments of `simulate` that describe the settings.

    There is a setting for each algorithm of a list, at the batch size that they share or at its
    own in a list of batch sizes.
    """
    listed = isinstance(algorithm, list | tuple)
    algorithms = list(algorithm) if listed else [algorithm]
    if not algorithms:
        raise InputError("algorithm must be an algorithm or a list of them, not an empty list")
    for given in algorithms:
        as_simulated_algorithm("algorithm", given)
    count = len(algorithms)
    batch_sizes = _batch_sizes(batch_size, count, steps) if listed else [batch_size]
    settings = []
    for given_algorithm, given_size in zip(algorithms, batch_sizes, strict=True):
        checked = as_simulated_algorithm("algorithm", given_algorithm)
        schedule = as_schedule("batch_size", given_size, least=1.0)
        settings.append(Setting(checked, schedule))
        check_lengths(settings[-1].schedules, steps)
    return tuple(settings)


def _batch_sizes(batch_size: Any, count: int, steps: int) -> list[Any]:
    """Give each of `count` listed settings its batch size.

    A list has one for each setting. An array has one for each setting or for each step, whichever
    their numbers say.
    """
    if isinstance(batch_size, Schedule):
        return [batch_size] * count
    is_list = isinstance(batch_size, list | tuple)
    given: Any = list(batch_size) if is_list else any_array("batch_size", batch_size)
    if not is_list and not given.ndim:
        return [batch_size] * count
    size = len(given)
    per_setting = size == count
    per_step = not is_list and given.ndim == 1 and size == steps
    if per_setting == per_step:
        both = "which may mean either, " if per_setting else ""
        raise InputError(
            f"batch_size has {counted(size, 'value')}, {both}beside "
            f"{counted(count, 'listed setting')} and {counted(steps, 'step')}: give a list of "
            f"{counted(count, 'value')}, one for each setting, or schedules.PerStep([...]) of one "
            "for each step"
        )
    return list(given) if per_setting else [given] * count


def check_whole_batches(settings: Sequence[Setting], steps: int, most: int) -> None:
    """Make sure that batch sizes are whole numbers up to `most`, as per-sample noise needs."""
    batches = max(setting.algorithm.batches_per_step for setting in settings)
    for schedule in {id(s.batch_size): s.batch_size for s in settings}.values():
        for part in segments([schedule], steps):
            (batch_size,) = part.values
            bad = batch_size[batch_size != np.floor(batch_size)]
            if bad.size:
                raise InputError(
                    f"batch_size must be whole numbers for sampling='per-sample', but is {bad[0]:g}"
                )
            if batches * batch_size.max() > most:
                raise InputError(
                    f"batch_size must be at most {most} for sampling='per-sample', "
                    f"where its samples are numbered, but is {batches * batch_size.max():g}"
                )


def check_linear(settings: Sequence[Setting], sampling: str) -> None:
    """Make sure that settings are linear, as sampling from record to record needs."""
    for setting in settings:
        if isinstance(setting.algorithm, RuleAlgorithm):
            raise InputError(
                f"sampling={sampling!r} needs a linear algorithm, which {setting.algorithm!r} is "
                "not: use 'minibatch' or 'per-sample'"
            )


def check_piecewise_constant(settings: Sequence[Setting], steps: int) -> None:
    """Make sure that settings are piecewise constant, so that a leap can cross a segment."""
    for setting in settings:
        if setting.algorithm.depends_on_step:
            raise InputError(
                f"sampling='leap' needs an algorithm that is the same at every step, "
                f"which {setting.algorithm!r} is not: use 'minibatch'"
            )
        for name, schedule in setting.schedules.items():
            until = min(steps, schedule.period or steps)
            by_pieces = isinstance(schedule, PerStep) or all(
                same for _, _, same in pieces(schedule, 0, until)
            )
            if not by_pieces:
                raise InputError(
                    f"sampling='leap' needs a constant or piecewise constant {name}, "
                    f"not {schedule!r}: use 'minibatch', or schedules.Piecewise"
                )


LARGEST_RATIO = 2.0**500
"""Kicks of two components whose sizes differ by more have squares that no double holds both of."""


def check_range_of_kicks(settings: Sequence[Setting], steps: int) -> None:
    """Make sure that the noise of all components of a state fits into one covariance of doubles.

    A leap draws from it, in units of the largest kick.
    """
    for setting in settings:
        algorithm = setting.linear
        whole = checked_recurrence(algorithm, np.ones(1))
        recurrence = sparse_recurrence(whole, 1)
        starts = _starts_of_pieces(setting, steps)
        lr = values_at(algorithm.lr, starts)
        weights = term_weights(algorithm, len(whole.terms), lr, starts)
        components = len(recurrence.read)
        kicks = np.zeros((starts.size, components))
        for (term, row, column, _), factor in zip(
            recurrence.entries, recurrence.factors, strict=True
        ):
            if column == components:
                kicks[:, row] += weights[:, term] * factor
        sizes = np.abs(kicks)
        least = np.where(sizes > 0.0, sizes, np.inf).min(axis=1)
        # Where a rate falls that far, its noise is nothing beside what the state had before.
        ratio = float(np.min(sizes.max(axis=1) / least))
        if ratio > LARGEST_RATIO:
            raise InputError(
                f"sampling='leap' holds the noise of all components of a state together, but those "
                f"of {algorithm!r} differ by a factor of {ratio:.0e}: count h in another unit, in "
                "which the learning rate is near 1, or use 'minibatch'"
            )


def _starts_of_pieces(setting: Setting, steps: int) -> NDArray[np.int64]:
    """Return the first steps of the pieces in which a setting is constant."""
    starts = [
        np.arange(step, until) if not same else np.array([step])
        for schedule in setting.algorithm.schedules.values()
        for step, until, same in pieces(schedule, 0, min(steps, schedule.period or steps))
    ]
    return np.unique(np.concatenate([[0], *starts])).astype(np.int64)
