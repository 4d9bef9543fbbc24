"""The loop that takes a tile of coordinates through a timeline by an update rule, for CPUs.

It is as `step` for algorithms that are not linear. No bound says how fast their states grow, so
that the risk of every coordinate is compared with the limit at every step.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from ..contract import LIMIT
from ..rules import RULES
from .jit import kernel, replace_component, uncached_inlined, uncached_kernel
from .lanes import lanes
from .noise import noise_buffer, noise_burst
from .tile import GAP, load_state, measure, store_state


def load_numbers(rule):
    """Return a function that takes a row of the numbers of a rule as a tuple."""
    zeros = (0.0,) * rule.numbers

    @uncached_inlined(f"rule {rule.code}")
    def load(numbers, row):
        c = zeros
        for k in range(len(zeros)):
            c = replace_component(c, k, numbers[row, k])
        return c

    return load


def state_loader(rule):
    """Return a function that takes the state of a coordinate of a tile as a tuple."""
    zeros = (0.0,) * rule.components

    @uncached_inlined(f"rule {rule.code}")
    def load(leaves, state, j):
        s = zeros
        for a in range(len(zeros)):
            s = replace_component(s, a, state[np.uint64(a * lanes(leaves)) + j])
        return s

    return load


def state_storer(rule):
    """Return a function that writes the state of a coordinate back.

    It is a function because a loop over components within the loop over coordinates would leave its
    counter behind, for which LLVM takes the first coordinate out of the loop.
    """
    n = rule.components

    @uncached_inlined(f"rule {rule.code}")
    def store(leaves, state, j, s):
        for a in range(n):
            state[np.uint64(a * lanes(leaves)) + j] = s[a]

    return store


def step_of(rule):
    """Return a kernel that takes one step of a tile by a rule; it passes over its code.

    Row i of `numbers` has those of the step, and the amplitude of its noise last; row i of `z` has
    the noise. The tile's h, sigma and weight of the risk are in `fields`. The kernel returns how
    many coordinates are beyond the limit then; averages of the iterates it leaves alone.

    Four steps at once, in registers, would take longer: the root and the quotient of one step are
    long chains, of which a processor works on many coordinates' at a time.
    """
    update, store = rule.update, state_storer(rule)
    numbers_of, state_of = load_numbers(rule), state_loader(rule)

    @uncached_kernel(f"rule {rule.code}")
    def step(leaves, code, i, numbers, fields, z, state):
        T = lanes(leaves)
        c = numbers_of(numbers, i)
        amplitude = numbers[i, numbers.shape[1] - 1]
        beyond = 0
        for j in range(T):
            u = np.uint64(j)  # unsigned indices spare the tests for negative ones
            s = state_of(leaves, state, u)
            x = np.float64(z[np.uint64(i * T) + u])
            noise = (fields[np.uint64(T + GAP) + u] * amplitude) * x
            s = update(s, fields[u] * s[0] + noise, c)
            weight = fields[np.uint64(2 * (T + GAP)) + u]
            beyond += 0 if (weight * s[0]) * s[0] <= LIMIT else 1  # false for NaN
            store(leaves, state, u, s)
        return beyond

    return step


def _choose_rule(others, rule):
    """Return a kernel that takes a step by this rule, and calls `others` for other codes."""
    own, own_code = step_of(rule), rule.code

    @uncached_kernel(f"rule {rule.code} or others")
    def step(leaves, code, i, numbers, fields, z, state):
        if code == own_code:
            return own(leaves, code, i, numbers, fields, z, state)
        return others(leaves, code, i, numbers, fields, z, state)

    return step


_FIRST, *_OTHERS = RULES.values()
step_by_rule = reduce(_choose_rule, _OTHERS, step_of(_FIRST))


@kernel
def average(leaves, decay, to, state):
    """Move the averages in state[to:] towards the iterates, which are first in the state."""
    fresh = 1.0 - decay
    for j in range(lanes(leaves)):
        row = np.uint64(to) + np.uint64(j)
        state[row] = decay * state[row] + fresh * state[j]


@kernel
def exceeds_limit(leaves, fields, row, state):
    """Whether the risk of a coordinate is beyond the limit, its iterate being in state[row:]."""
    T = lanes(leaves)
    beyond = 0
    for j in range(T):
        x = state[np.uint64(row) + np.uint64(j)]
        beyond += 0 if (fields[2 * (T + GAP) + j] * x) * x <= LIMIT else 1  # false for NaN
    return beyond > 0


@kernel
def steps_by_rule(leaves, code, first, last, step, numbers, fields, z, state, diverged):
    """Take steps first .. last - 1 of a burst; the first is `step`, and row i of `z` for step i.

    The code is negative if the state has averages of the iterates. Returns the first step at which
    a coordinate is beyond the limit, or `diverged` if that is one.
    """
    T = lanes(leaves)
    for i in range(first, last):
        beyond = step_by_rule(leaves, abs(code), i, numbers, fields, z, state) > 0
        if code < 0:
            average(leaves, numbers[i, numbers.shape[1] - 2], state.size - T, state)
            beyond = exceeds_limit(leaves, fields, state.size - T, state)
        if beyond and diverged < 0:
            diverged = step + (i - first) + 1
    return diverged


@kernel
def load_fields(leaves, model, at, fields):
    """Copy h, sigma and the weight of the risk of a tile to three rows."""
    T = lanes(leaves)
    for j in range(T):
        fields[j] = model.values[0, at + j]
        fields[T + GAP + j] = model.sigma[at + j]
        fields[2 * (T + GAP) + j] = model.weight[0, at + j]


@kernel
def load_burst(timeline, g, segment, begin, first, last, numbers):
    """Write the numbers of the rule, and amplitudes, to rows first .. last - 1 of a burst."""
    columns = timeline.weights.shape[2]
    for i in range(first, last):
        while timeline.segment_end[segment] <= begin + i:
            segment += 1
        for k in range(columns):
            numbers[i, k] = timeline.weights[segment, g, k]
        numbers[i, columns] = timeline.amplitude[segment, g]


@kernel
def rule_tile(
    leaves, summing, noise, model, timeline, burst, at, replica, settings, states, diverged, partial
):
    """Take the chosen settings of one tile and replica through the timeline.

    The arguments are those of `step.step_tile`. `diverged`, (settings,), receives the first step at
    which each has diverged; it has -1 where that is not so.
    """
    T = lanes(leaves)
    length = abs(burst)
    coordinate = noise.first + at
    words = np.empty(4 * T, dtype=np.uint32)
    x = np.empty(4 * T, dtype=np.float32)
    count = np.empty(4 * T, dtype=np.int64)
    z = noise_buffer(summing, length * T)
    numbers = np.empty((length, timeline.weights.shape[2] + 1))
    fields = np.empty(3 * (T + GAP))
    load_fields(leaves, model, at, fields)
    risk = np.empty(T)
    selected = np.empty(T)
    one = np.zeros(1)
    one[0] = 1.0
    code = model.rule
    evaluated = states.shape[1] - T if code < 0 else 0
    weight, rows, group = model.weight.ravel(), model.rows, model.group
    t = timeline.begin
    drawn_for = -1
    segment = 0
    record = 0
    for g in settings:
        if exceeds_limit(leaves, fields, evaluated, states[g]):
            diverged[g] = t
    while True:
        if record < timeline.records.size and timeline.records[record] == t:
            for g in settings:
                out = partial[record, g]
                iterate = states[g, evaluated : evaluated + T]
                measure(
                    (0.0,), leaves, one, weight, model.sigma.size, rows, group, at, iterate,
                    risk, selected, out,
                )  # fmt: skip
            record += 1
        if t == timeline.end:
            break
        begin = t - t % length
        stop = min(begin + length, timeline.end)
        if record < timeline.records.size:
            stop = min(stop, timeline.records[record])
        while timeline.segment_end[segment] <= t:
            segment += 1
        for g in settings:
            if drawn_for != begin or burst < 0:
                until = min(begin + length, timeline.end)
                noise_burst(
                    summing, leaves, noise, timeline, g, coordinate, replica, t, until, length,
                    words, x, count, z,
                )  # fmt: skip
                drawn_for = begin
            first, last = t - begin, stop - begin
            load_burst(timeline, g, segment, begin, first, last, numbers)
            diverged[g] = steps_by_rule(
                leaves, code, first, last, t, numbers, fields, z, states[g], diverged[g]
            )
        t = stop


@kernel
def advance_rule_tile(
    zeros, leaves, summing, noise, model, timeline, burst, turn, state, alive, partial, diverged_at
):
    """Advance one tile of one replica by the model's rule; `turn` numbers the tile and replica.

    The tuple `zeros` is empty, as the rule has the number of components.
    """
    T = lanes(leaves)
    n = state.shape[2]
    tiles = model.sigma.size // T
    r, tile = turn // tiles, turn % tiles
    at = tile * T
    chosen = np.empty(alive.shape[0], dtype=np.int64)
    count = 0
    for g in range(alive.shape[0]):
        if alive[g, r]:
            chosen[count] = g
            count += 1
    settings = chosen[:count]
    states = np.empty((state.shape[0], n * T))
    for g in settings:
        load_state(leaves, state[g, r], at, states[g])
    replica = noise.replicas[r]
    out = partial[:, :, r, :, tile * len(leaves) : (tile + 1) * len(leaves)]
    diverged = np.full(alive.shape[0], -1)
    rule_tile(
        leaves, summing, noise, model, timeline, burst, at, replica, settings, states, diverged, out
    )
    for g in settings:
        diverged_at[g, r, tile] = diverged[g]
        store_state(leaves, states[g], at, state[g, r])
