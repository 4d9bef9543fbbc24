"""A model and a timeline as the kernels for GPUs take them: flat arrays, and a list of tasks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contract import Ints, Model, Noise, Timeline
from .noise import BATCH
from .step import Coefficients, Steps, burst

RECORD, STEP, LOOK = range(3)  # kinds of tasks, in the order of those at one step


def law_of(noise: Noise) -> int:
    """The code of the law that kernels are made for."""
    return noise.law if noise.summed else BATCH


def _order(model: Model) -> tuple[NDArray[np.intp], Ints, Ints]:
    """Entries by matrix element, those elements, and the entries' settings."""
    n = model.read.shape[1]
    setting = np.repeat(np.arange(len(model.read)), np.diff(model.offsets))
    element = (setting * n + model.entries[:, 1]) * (n + 1) + model.entries[:, 2]
    order = np.argsort(element, kind="stable")
    return order, element[order], setting[order]


def coefficients(model: Model, size: int) -> Coefficients:
    """A model on so many coordinates."""
    order, element, _ = _order(model)
    source = model.entries[order, 3]
    return Coefficients(
        np.array(model.offsets[:-1], dtype=np.int64),
        np.append(element, -1),
        np.where(source < 0, -1, source * size),
        model.values.ravel(),
        model.sigma,
        model.weight.ravel(),
        model.rows.ravel(),
        model.group,
        model.read.ravel(),
    )


def coefficients_of_segments(model: Model, timeline: Timeline) -> Steps:
    """A timeline without tasks."""
    order, _, setting = _order(model)
    factor = timeline.weights[:, setting, model.entries[order, 0]] * model.factors[order]
    none, nothing = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    return Steps(
        factor.ravel(),
        timeline.amplitude.ravel(),
        setting=none, record=none, first=nothing, row=none, length=none,
        quad=nothing, quads=none, samples=nothing, segment=none,
    )  # fmt: skip


def steps(model: Model, timeline: Timeline, law: int) -> Steps:
    """The tasks of a timeline; noise that settings share is drawn for the first of them."""
    settings, n = model.read.shape
    summed = law != BATCH
    separate = summed and bool(np.ptp(timeline.samples, axis=1).any())
    length = burst(n, law)
    begin, end = timeline.begin, timeline.end
    bursts = np.arange(begin - begin % length, end, length)
    cuts = np.unique(np.concatenate([[begin, end], timeline.segment_end, timeline.records, bursts]))
    cuts = cuts[(cuts >= begin) & (cuts <= end)]
    first, stop = cuts[:-1], cuts[1:]
    segment = np.searchsorted(timeline.segment_end, first, side="right")
    until = np.minimum(first - first % length + length, end)
    fresh = (first % length == 0) | (first == begin)
    if separate:
        fresh, until = np.ones(first.size, dtype=bool), stop
    quads = np.where(fresh, -(-until // 4) - first // 4, 0)
    built = np.diff(segment, prepend=-1) != 0 if settings == 1 else np.ones(first.size, dtype=bool)
    g = np.arange(settings)
    pieces, own = np.repeat(np.arange(first.size), settings), np.tile(g, first.size)
    records = np.repeat(np.arange(timeline.records.size), settings)
    of = {
        "kind": (RECORD, STEP, LOOK),
        "setting": (np.tile(g, timeline.records.size), own, g),
        "record": (records, -1, -1),
        "first": (timeline.records[records], first[pieces], end),
        "row": (0, first[pieces] % length, 0),
        "length": (0, (stop - first)[pieces], 0),
        "quad": (0, first[pieces] // 4, 0),
        "quads": (0, np.where(separate | (own == 0), quads[pieces], 0), 0),
        "segment": (-1, np.where(built[pieces], segment[pieces], -1), -1),
    }
    counts = records.size, pieces.size, settings
    tasks = {
        name: np.concatenate([np.broadcast_to(x, n) for x, n in zip(parts, counts, strict=True)])
        for name, parts in of.items()
    }
    turn = np.lexsort([tasks["setting"], tasks.pop("kind"), tasks["first"]])
    for name, x in tasks.items():
        tasks[name] = x[turn].astype(np.int64 if name in ("first", "quad") else np.int32)
    samples = np.zeros(0, dtype=np.int64)
    if summed:
        t = 4 * tasks["quad"][:, None] + np.arange(4)
        inside = (t >= begin) & (t < end)
        at = np.searchsorted(timeline.segment_end, t, side="right")
        at = np.where(inside, at, 0)
        samples = np.where(inside, timeline.samples[at, tasks["setting"][:, None]], 0).ravel()
    return coefficients_of_segments(model, timeline)._replace(**tasks, samples=samples)
