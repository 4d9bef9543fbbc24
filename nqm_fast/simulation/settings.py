"""What a Monte Carlo run simulates: its settings, as the arrays that kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..algorithms.base import LinearAlgorithm, as_algorithm
from ..schedules import Constant, PerStep, Schedule, as_schedule
from ..timeline import check_length, pieces, segments
from ..validation import InputError


class Setting(NamedTuple):
    """An algorithm at a batch size."""

    algorithm: LinearAlgorithm
    batch_size: Schedule

    @property
    def batch_size_text(self) -> str:
        """As a person would write it."""
        size = self.batch_size
        return f"{size.value:g}" if isinstance(size, Constant) else repr(size)


def as_settings(algorithm: Any, batch_size: Any, steps: int) -> tuple[Setting, ...]:
    """One setting, or one for each algorithm of a list, each with its own batch size if listed."""
    listed = isinstance(algorithm, list | tuple)
    algorithms = list(algorithm) if listed else [algorithm]
    if not algorithms:
        raise InputError("algorithm must be an algorithm or a list of them, not an empty list")
    sizes = batch_size if listed and not isinstance(batch_size, Schedule) else None
    if isinstance(sizes, list | tuple | np.ndarray) and len(sizes) == len(algorithms):
        batches = list(sizes)
    else:
        batches = [batch_size] * len(algorithms)
    settings = []
    for one, batch in zip(algorithms, batches, strict=True):
        one = as_algorithm("algorithm", one)
        schedule = as_schedule("batch_size", batch, least=1.0)
        check_length("lr", one.lr, steps)
        check_length("batch_size", schedule, steps)
        settings.append(Setting(one, schedule))
    return tuple(settings)


def whole_batches(settings: Sequence[Setting], steps: int, most: int) -> None:
    """Batch sizes are whole numbers, and at most `most`."""
    for schedule in {id(s.batch_size): s.batch_size for s in settings}.values():
        for part in segments(Constant(1.0), schedule, steps):
            bad = part.batch_size[part.batch_size != np.floor(part.batch_size)]
            if bad.size:
                raise InputError(
                    f"batch_size must be whole numbers for sampling='per-sample', but is {bad[0]:g}"
                )
            if part.batch_size.max() > most:
                raise InputError(
                    f"batch_size must be at most {most} for sampling='per-sample', "
                    f"where its samples are numbered, but is {part.batch_size.max():g}"
                )


def piecewise_constant(settings: Sequence[Setting], steps: int) -> None:
    """Settings change at steps only, so that stretches between can be jumped over."""
    for setting in settings:
        if setting.algorithm.depends_on_step:
            raise InputError(
                f"sampling='leap' needs an algorithm that is the same at every step, "
                f"which {setting.algorithm!r} is not: use 'minibatch'"
            )
        for name, schedule in (("lr", setting.algorithm.lr), ("batch_size", setting.batch_size)):
            by_pieces = isinstance(schedule, PerStep) or all(
                same for _, _, same in pieces(schedule, 0, steps)
            )
            if not by_pieces:
                raise InputError(
                    f"sampling='leap' needs a constant or piecewise constant {name}, "
                    f"not {schedule!r}: use 'minibatch', or schedules.Piecewise"
                )
