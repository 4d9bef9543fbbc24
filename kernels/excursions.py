"""The steps at which to look whether a state has become large, so that no divergence is missed.

A setting has diverged at the first step at which a coordinate's risk is beyond `LIMIT`, whatever
comes later. Looking at every step would cost too much. A bound on how fast states can grow tells
steps at which to look, and sizes of a state's components that are harmless: from one look at which
all were harmless to the next, no risk can be beyond the limit. Only what was not harmless at a look
is taken through its steps again, one by one.

The bound is on the norm ``max |s_a| / q_a``, with weights q that fit the recurrence. A step
multiplies it by at most the largest row sum of ``|A_ab| q_b / q_a``, and adds at most the largest
``|b_a| sigma amplitude |z| / q_a``. Where one step can do too much there is no bound, no size is
harmless, and all steps are looked at.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .contract import LIMIT, Floats, Ints, Model, Noise, Timeline
from .remembering import remembered

# decades: a harmless state is this far from the limit ...
MARGIN = 120.0
# ... between looks it grows by less than their sum: looks are so far apart, and may be earlier
APART, EARLIER = 60.0, 25.0
ALIGNED = 32  # looks are at multiples of it where they can be, as kernels draw noise in bursts
LARGEST = 1e300  # beyond this, sums of a few numbers may overflow
LARGEST_NORMAL = 8.0  # a normal from words of 32 bits is below
LARGEST_SAMPLE = 2.0**33  # a sample of any law is below, before it is scaled
MOST_SPANS = 256  # spans that a timeline is divided into
SWEEPS = 8  # products with a matrix that find the weights


def extremes(values: Floats, sigma: Floats, weight: Floats) -> Floats:
    """Return the least and largest numbers of the arrays of a `Model`, as its field has them."""
    rows = *values, sigma, weight[0]
    return np.array([[x.min() for x in rows], [x.max() for x in rows]])


class Spans(NamedTuple):
    """Neighbouring segments, and what is true of all in one; many would take long to look through.

    `least` and `most` are the extremes of the weights, (spans, settings, terms).
    """

    at: Ints  # (spans + 1,): the step at which each begins, and the end
    least: Floats
    most: Floats
    noise: Floats  # (spans, settings): the largest noise of a step, before sigma


class Layout(NamedTuple):
    """The places of a model's entries in A and b of all settings, for any numbers that they have.

    A cell is an element of these that is not zero, with its number. The diagonal of A is one larger
    than that of A - I: what is added up to a cell are entries and these ones, after all entries.
    """

    own: NDArray[np.intp]  # (entries,): the setting of each
    order: NDArray[np.intp]  # (entries + settings n,): of entries and ones, by their cells
    first: NDArray[np.intp]  # (cells,): where each cell begins in that order
    setting: NDArray[np.intp]  # (cells,)
    row: Ints  # (cells,)
    column: Ints  # (cells,): n for b
    inside: NDArray[np.bool_]  # (cells,): whether it is of A
    lines: NDArray[np.intp]  # (settings n,): where each row begins, among the cells of A


class Cells(NamedTuple):
    """Elements of A and b of all settings, and their largest sizes in each span."""

    at: Layout
    size: Floats  # (spans, cells)


_layouts: dict[Any, Layout] = {}
_looks_of: dict[Any, tuple[Ints, Floats]] = {}


def watched(noise: Noise, model: Model, timeline: Timeline, alive: NDArray[np.bool_]) -> Timeline:
    """Return the timeline with the steps of looks and the harmless sizes.

    `alive` is (settings, replicas); a setting without any is not looked at.
    """
    looked_at = alive.any(axis=1)
    key = (
        noise.summed, looked_at, model.entries, model.offsets, model.factors, model.extremes,
        model.read, timeline.begin, timeline.segment_end, timeline.weights, timeline.amplitude,
        timeline.samples,
    )  # fmt: skip

    def make() -> tuple[Ints, Floats]:
        with np.errstate(all="ignore"):  # what overflows has no bound
            spans = _spans(noise, timeline)
            growth, harmless = _bounds(model, spans)
        decisive = (harmless[:, 0] > 0.0) & looked_at
        rate = growth[:, decisive].max(axis=1, initial=0.0)
        return _looks(spans.at, rate), harmless

    looks, harmless = remembered(_looks_of, key, make)
    return timeline._replace(looks=looks, harmless=harmless)


def _spans(noise: Noise, timeline: Timeline) -> Spans:
    """Divide a timeline into spans."""
    ends, weights = timeline.segment_end, timeline.weights
    size = LARGEST_SAMPLE * timeline.samples if noise.summed else LARGEST_NORMAL
    drawn = np.abs(timeline.amplitude) * size
    if ends.size <= MOST_SPANS:  # each is one segment
        return Spans(np.append(timeline.begin, ends), weights, weights, drawn)
    first = np.arange(0, ends.size, -(-ends.size // MOST_SPANS))
    return Spans(
        np.append(timeline.begin, ends[np.append(first[1:], ends.size) - 1]),
        np.minimum.reduceat(weights, first),
        np.maximum.reduceat(weights, first),
        np.maximum.reduceat(drawn, first),
    )


def _layout(model: Model) -> Layout:
    """Find where the entries of a model are in A and b."""
    settings, n = model.read.shape
    own = np.repeat(np.arange(settings), np.diff(model.offsets))
    _, row, column, _ = model.entries.T
    g, a = (x.ravel() for x in np.indices((settings, n)))
    number = np.concatenate([(own * n + row) * (n + 1) + column, (g * n + a) * (n + 1) + a])
    order = np.argsort(number, kind="stable")
    cells, first = np.unique(number[order], return_index=True)
    line, to = np.divmod(cells, n + 1)
    inside = to < n
    # Every row has its diagonal, and rows are in order.
    lines = np.unique(line[inside], return_index=True)[1]
    return Layout(own, order, first, line // n, line % n, to, inside, lines)


def _cells(model: Model, spans: Spans) -> Cells:
    """Return the elements of A and b; one may be anything between the extremes of its factors."""
    at = remembered(
        _layouts, (model.entries, model.offsets, *model.read.shape), lambda: _layout(model)
    )
    term, _, _, source = model.entries.T
    values = model.factors * np.where(source < 0, 1.0, model.extremes[:, source])
    weights = np.array([spans.least[:, at.own, term], spans.most[:, at.own, term]])
    corners = weights[:, None] * values[:, None]
    ends = np.ones((2, len(spans.noise), at.order.size))
    corners.min(axis=(0, 1), out=ends[0, :, : term.size])
    corners.max(axis=(0, 1), out=ends[1, :, : term.size])
    sums = np.add.reduceat(ends[..., at.order], at.first, axis=2)
    return Cells(at, np.abs(sums).max(axis=0))


def _norm_weights(cells: Cells, settings: int, n: int) -> Floats:
    """Return the weights q of the components in the norm, (settings, n), the largest 1.

    They are close to the eigenvector of the largest sizes, which grows least.
    """
    q = np.ones((settings, n, 1))
    if n == 1:  # one component has nothing to be weighed against
        return q[..., 0]
    at, largest = cells.at, np.zeros((settings, n, n + 1))
    largest[at.setting, at.row, at.column] = cells.size.max(axis=0)
    for _ in range(SWEEPS):
        q = largest[..., :n] @ q
        q = np.maximum(q / q.max(axis=1, keepdims=True), 1e-250)
    return q[..., 0]


def _bounds(model: Model, spans: Spans) -> tuple[Floats, Floats]:
    """Return the growth in a step of each span, in decades, (spans, settings).

    Beside it are the harmless sizes, (settings, n), which are negative where there is no bound.
    """
    settings, n = model.read.shape
    at, size = cells = _cells(model, spans)
    q = _norm_weights(cells, settings, n)
    weights = np.append(q, np.ones((settings, 1)), axis=1)  # the noise comes after the components
    parts = size * (weights[at.setting, at.column] / q[at.setting, at.row])
    rows = np.add.reduceat(parts[:, at.inside], at.lines, axis=1).reshape(-1, settings, n)
    growth = np.log10(np.maximum(rows.max(axis=2), 1.0)) + 1e-9
    kick = np.zeros((len(parts), settings, n))
    kicked = ~at.inside
    kick[:, at.setting[kicked], at.row[kicked]] = parts[:, kicked]
    sigma = np.abs(model.extremes[:, -2]).max()
    added = kick.max(axis=2) * (sigma * spans.noise) * np.diff(spans.at)[:, None]
    whole = added.sum(axis=0)
    weight = np.abs(model.extremes[:, -1]).max()
    reach = math.sqrt(LIMIT) / np.sqrt(weight) / (np.abs(model.read) * q).sum(axis=1)
    harmless = np.minimum(0.5 * reach, LARGEST) * 10.0**-MARGIN
    bounded = (whole <= harmless) & (growth <= EARLIER).all(axis=0) & (harmless > 0.0)
    return growth, np.where(bounded[:, None], np.maximum(harmless[:, None] * q, 0.0), -1.0)


def _looks(at: Ints, rate: Floats) -> Ints:
    """Return the steps at which to look, the first and the last among them.

    Spans begin at steps `at`, and in a step of each a state grows by `rate` decades.
    """
    grown = np.append(0.0, np.cumsum(rate * np.diff(at)))
    due = np.arange(APART, grown[-1], APART)
    segment = np.searchsorted(grown, due, side="left") - 1
    step = at[segment] + np.floor((due - grown[segment]) / rate[segment]).astype(np.int64)
    step = np.minimum(step, at[segment + 1])
    early = np.maximum(step - step % ALIGNED, at[0])
    gap = np.interp(step, at, grown) - np.interp(early, at, grown)
    return np.unique(np.concatenate([at[[0, -1]], np.where(gap <= EARLIER, early, step)]))
