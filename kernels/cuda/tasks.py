"""Conversion of a model and a timeline to flat arrays and a list of tasks, for GPUs.

A task is the steps of one setting within a segment and a burst of noise, or its record, or a look
at its state (see `excursions`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contract import Ints, Model, Noise, Timeline
from .noise import BATCH
from .step import FlatModel, FlatTimeline, burst

RECORD, LOOK, STEP = range(3)  # kinds of tasks, in their order at one step


def law_of(noise: Noise) -> int:
    """Return the code of the law that kernels are compiled for, or `BATCH`."""
    return noise.law if noise.summed else BATCH


def further_kicks(model: Model) -> int:
    """Return how many columns of kicks there are beyond the first."""
    n: int = model.read.shape[1]
    return max(int(model.entries[:, 2].max(initial=0)) - n, 0)


def _entries_by_element(model: Model) -> tuple[NDArray[np.intp], Ints, Ints]:
    """Return the order that sorts entries by element, and their elements and settings in it.

    The elements of further kicks are behind those of A - I and b of all settings: kick by kick.
    """
    settings, n = model.read.shape
    row, column = model.entries[:, 1], model.entries[:, 2]
    setting = np.repeat(np.arange(settings), np.diff(model.offsets))
    element = (setting * n + row) * (n + 1) + column
    kick = setting * further_kicks(model) + (column - n - 1)
    element = np.where(column > n, settings * n * (n + 1) + kick * n + row, element)
    order = np.argsort(element, kind="stable")
    return order, element[order], setting[order]


def flat_model(model: Model, size: int) -> FlatModel:
    """Flatten a model on `size` coordinates."""
    order, element, _ = _entries_by_element(model)
    source = model.entries[order, 3]
    settings, n = model.read.shape
    g, elements = np.arange(settings), n * (n + 1)
    first = np.concatenate([g * elements, settings * elements + g * n * further_kicks(model)])
    return FlatModel(
        np.searchsorted(element, first).astype(np.int64),
        np.append(element, -1),
        np.where(source < 0, -1, source * size),
        model.values.ravel(),
        model.sigma,
        model.weight.ravel(),
        model.rows.ravel(),
        model.group,
        model.read.ravel(),
    )


def flat_timeline(model: Model, timeline: Timeline) -> FlatTimeline:
    """Flatten a timeline without cutting it into tasks, as leaps need it."""
    order, _, setting = _entries_by_element(model)
    factor = timeline.weights
    if not model.rule:
        factor = factor[:, setting, model.entries[order, 0]] * model.factors[order]
    none, nothing = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    return FlatTimeline(
        factor.ravel(),
        timeline.amplitude.ravel(),
        timeline.harmless.ravel(),
        setting=none, record=none, first=nothing, row=none, length=none,
        quad=nothing, quads=none, samples=nothing, segment=none,
    )  # fmt: skip


def steps(model: Model, timeline: Timeline, law: int) -> FlatTimeline:
    """Flatten a timeline, and cut it into tasks.

    Noise that settings share is drawn for the first of them; coefficients are built where they
    are not those of the task before.
    """
    settings, n = model.read.shape
    summed = law != BATCH
    separate = summed and bool(np.ptp(timeline.samples, axis=1).any())
    length = burst(n, law)
    begin, end = timeline.begin, timeline.end
    bursts = np.arange(begin - begin % length, end, length)
    stops = [begin, end], timeline.segment_end, timeline.records, timeline.looks, bursts
    cuts = np.unique(np.concatenate(stops))
    cuts = cuts[(cuts >= begin) & (cuts <= end)]
    first, stop = cuts[:-1], cuts[1:]
    segment = np.searchsorted(timeline.segment_end, first, side="right")
    until = np.minimum(first - first % length + length, end)
    draws = (first % length == 0) | (first == begin)
    if separate:
        draws, until = np.ones(first.size, dtype=bool), stop
    quads = np.where(draws, -(-until // 4) - first // 4, 0)
    builds = np.diff(segment, prepend=-1) != 0 if settings == 1 else np.ones(first.size, dtype=bool)
    g = np.arange(settings)
    interval, own_setting = np.repeat(np.arange(first.size), settings), np.tile(g, first.size)
    records = np.repeat(np.arange(timeline.records.size), settings)
    looks = np.repeat(timeline.looks, settings)
    columns = {
        "kind": (RECORD, LOOK, STEP),
        "setting": (
            np.tile(g, timeline.records.size),
            np.tile(g, timeline.looks.size),
            own_setting,
        ),
        "record": (records, -1, -1),
        "first": (timeline.records[records], looks, first[interval]),
        "row": (0, 0, first[interval] % length),
        "length": (0, 0, (stop - first)[interval]),
        "quad": (0, 0, first[interval] // 4),
        "quads": (0, 0, np.where(separate | (own_setting == 0), quads[interval], 0)),
        "segment": (-1, -1, np.where(builds[interval], segment[interval], -1)),
    }
    counts = records.size, looks.size, interval.size
    tasks = {
        name: np.concatenate([np.broadcast_to(x, n) for x, n in zip(parts, counts, strict=True)])
        for name, parts in columns.items()
    }
    sequence = np.lexsort([tasks["setting"], tasks.pop("kind"), tasks["first"]])
    for name, x in tasks.items():
        tasks[name] = x[sequence].astype(np.int64 if name in ("first", "quad") else np.int32)
    samples = np.zeros(0, dtype=np.int64)
    if summed:
        t = 4 * tasks["quad"][:, None] + np.arange(4)
        inside = (t >= begin) & (t < end)
        at = np.searchsorted(timeline.segment_end, t, side="right")
        at = np.where(inside, at, 0)
        samples = np.where(inside, timeline.samples[at, tasks["setting"][:, None]], 0).ravel()
    return flat_timeline(model, timeline)._replace(**tasks, samples=samples)
