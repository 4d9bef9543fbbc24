"""Lowering of settings: groups that share kernel calls, and their segments of equal settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm, RuleAlgorithm
from ..algorithms.sparse import sizes_of, term_weights
from ..exact.periodic import WHOLE, Period, find_period
from ..foundation.validation import Array
from ..kernels.contract import Timeline
from ..kernels.rules import RULES
from ..schedules.timeline import pieces, values_at
from .settings import Setting


@dataclass(frozen=True)
class Group:
    """Settings that share kernel calls, as their states have the same number of components.

    They are linear, or have one update rule.

    Where they are computed by leaps, their schedules change at the same steps as well: a leap ends
    at each change, and what it draws must not depend on the other settings of a run. Those that
    repeat have one more term, which is the map of a whole period, so that a leap can cross many.
    """

    numbers: tuple[int, ...]  # of the group's settings, among those of the run
    settings: tuple[Setting, ...]
    components: int
    terms: tuple[int, ...]  # how many the recurrence of each setting has; or numbers of the rule
    rule: int = 0  # as in a Model
    periods: tuple[Period, ...] = ()  # of each setting, if leaps cross their periods


def group_settings(settings: Sequence[Setting], steps: int, leaps: bool) -> list[Group]:
    """Group the settings that can share kernel calls in a run of so many steps."""
    forms = [_form(setting) for setting in settings]
    periods = [find_period(s.linear, s.batch_size) if leaps else None for s in settings]
    members: dict[tuple[int, int, bytes], list[int]] = {}
    for i, (setting, form) in enumerate(zip(settings, forms, strict=True)):
        cuts = _cuts_of_leaps(setting, steps, periods[i]) if leaps else _NO_CUTS
        members.setdefault((form.components, form.rule, cuts.tobytes()), []).append(i)
    return [
        Group(
            tuple(numbers),
            tuple(settings[i] for i in numbers),
            components,
            tuple(forms[i].terms + (periods[i] is not None) for i in numbers),
            rule,
            tuple(period for i in numbers if (period := periods[i]) is not None),
        )
        for (components, rule, _), numbers in sorted(members.items(), key=lambda item: item[0][:2])
    ]


class _Form(NamedTuple):
    """How the kernels see an algorithm, whatever its values."""

    rule: int  # as in a Model
    components: int
    terms: int  # of the recurrence, or numbers of the rule


def _form(setting: Setting) -> _Form:
    """Return the form of a setting's algorithm."""
    algorithm = setting.algorithm
    if not isinstance(algorithm, RuleAlgorithm):
        sizes = sizes_of(algorithm)
        return _Form(0, sizes.components, sizes.terms)
    rule = RULES[algorithm.rule]
    if algorithm.ema:
        return _Form(-rule.code, rule.components + 1, rule.numbers + 1)
    return _Form(rule.code, rule.components, rule.numbers)


_NO_CUTS = np.zeros(0, dtype=np.int64)


def _cuts_of_leaps(setting: Setting, steps: int, period: Period | None) -> NDArray[np.int64]:
    """Return the ends of a setting's segments, and what its period is: equal for equal cuts."""
    early = steps if period is None else min(steps, period.begin)
    cuts = np.unique(np.concatenate(_segment_ends(setting, 0, early)))
    return cuts if period is None else np.concatenate([cuts, [-1, period.begin], period.length])


def _segment_ends(setting: Setting, begin: int, end: int) -> list[NDArray[np.int64]]:
    """Return the ends of the segments of a setting's schedules within steps begin .. end - 1."""
    ends = [_NO_CUTS]
    for schedule in setting.schedules.values():
        for step, until, same in pieces(schedule, begin, end):
            ends.append(np.array([until]) if same else np.arange(step + 1, until + 1))
    return ends


def _drawn(setting: Setting, steps: NDArray[np.int64]) -> Array:
    """Return how many samples the gradient of each step is the mean of."""
    return setting.algorithm.batches_per_step * values_at(setting.batch_size, steps)


def timeline(
    group: Group, begin: int, end: int, records: NDArray[np.int64], sample_scale: float | None
) -> Timeline:
    """Cut steps begin .. end - 1 into segments, and evaluate the schedules in each.

    `sample_scale` gives a sample variance 1; it is None if the means of batches are drawn.
    """
    repeats = min(max(begin, group.periods[0].begin), end) if group.periods else end
    kinds, later_end, spans = _NO_CUTS, _NO_CUTS, _NO_CUTS
    segment_end = _NO_CUTS
    if begin < repeats or repeats == end:  # There is always a segment, also without steps.
        segment_end = _ordinary_ends(group, begin, repeats)
    if group.periods:
        kinds, later_end, spans = _repeated(group.periods[0], repeats, end, records)
        spans = np.append(np.ones(segment_end.size, dtype=np.int64), spans)
    first = segment_end.size
    segment_end = np.append(segment_end, later_end)
    segment_start = np.concatenate([[begin], segment_end[:-1]])
    weights = []
    for g, (s, terms) in enumerate(zip(group.settings, group.terms, strict=True)):
        start, more = segment_start[:first], int(bool(group.periods))
        own = _weights(s.algorithm, terms - more, values_at(s.algorithm.lr, start), start)
        if more:
            own = np.concatenate(
                [np.pad(own, ((0, 0), (0, 1))), group.periods[g].segment_weights(kinds)]
            )
        weights.append(own)
    if len(weights) == 1:
        batches, stacked = _drawn(group.settings[0], segment_start)[:, None], weights[0][:, None]
    else:
        batches = np.stack([_drawn(s, segment_start) for s in group.settings], axis=1)
        # Settings with fewer terms than others have weights of zero in their place.
        stacked = np.zeros((segment_start.size, len(weights), max(x.shape[1] for x in weights)))
        for g, x in enumerate(weights):
            stacked[:, g, : x.shape[1]] = x
    if sample_scale is None:
        amplitude, samples = 1.0 / np.sqrt(batches), np.ones(batches.shape, dtype=np.int64)
    else:
        amplitude, samples = sample_scale / batches, batches.astype(np.int64)
    return Timeline(
        begin, end, segment_end, stacked, amplitude, samples, records, spans=spans
    )  # fmt: skip


def _ordinary_ends(group: Group, begin: int, end: int) -> NDArray[np.int64]:
    """Return the ends of the segments of steps begin .. end - 1 in which no setting changes."""
    ends = [np.array([end])]  # of the segments of each schedule
    if group.rule:
        until = max(s.algorithm.varies_until for s in group.settings)  # type: ignore[union-attr]
        ends.append(np.arange(begin + 1, min(until, end) + 1))
    if any(setting.algorithm.depends_on_step for setting in group.settings):
        ends.append(np.arange(begin + 1, end + 1))
    else:
        for setting in group.settings:
            ends += [x for x in _segment_ends(setting, begin, end)[1:] if x.size > 1 or x[0] < end]
    return ends[0] if len(ends) == 1 else np.unique(np.concatenate(ends))


def _repeated(
    period: Period, begin: int, end: int, records: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut steps begin .. end - 1 of a period's timeline so that leaps can end at records.

    Returns the number of each segment in the period, or that of whole periods; the ends of the
    segments; and the steps of each one's map.
    """
    found: list[tuple[int, int]] = []
    done = begin
    for stop in np.union1d(records[(records > begin) & (records < end)], [end]).tolist():
        for kind, length in period.segments(done - period.begin, stop - period.begin):
            if found and found[-1][0] == kind:
                length += found.pop()[1]
            found.append((kind, length))
        done = stop
    kinds, lengths = np.array(found, dtype=np.int64).reshape(-1, 2).T
    spans = np.where(kinds == WHOLE, period.steps, 1)
    return kinds, begin + np.cumsum(lengths * spans), spans


def _weights(
    algorithm: LinearAlgorithm | RuleAlgorithm, terms: int, lr: Array, steps: NDArray[np.int64]
) -> Array:
    """Return the weights of a recurrence, or the numbers of a rule, (steps, terms)."""
    if not isinstance(algorithm, RuleAlgorithm):
        return term_weights(algorithm, terms, lr, steps)
    numbers = algorithm.numbers(lr, steps)
    if algorithm.ema:
        numbers = np.append(numbers, np.full((lr.size, 1), algorithm.ema), axis=1)
    assert numbers.shape == (lr.size, terms)
    return numbers
