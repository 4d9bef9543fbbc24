"""The kernel that takes coordinates through a timeline by an update rule, for GPUs.

It is as `step` for algorithms that are not linear. No bound says how fast their states grow, so
that the risk of every coordinate is compared with the limit at every step.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..contract import LEAF
from ..rules import rule_of
from .jit import cuda, device, large_kernel, read_at, write_at
from .noise import BATCH
from .step import (
    REPLICAS,
    SETTINGS,
    burst,
    burst_function,
    is_beyond,
    load_state,
    record_rows,
    state_offset,
)


@cache
def advance_rule_kernel(code: int, law: int) -> Any:
    """Return the kernel for the code of a model's rule, and of a law or `BATCH`.

    It takes steps, records, and notes the first steps of divergence. The numbers of the rule are in
    the timeline's factors.
    """
    rule, averages = rule_of(abs(code)), code < 0
    n, update = rule.components, rule.update
    components, numbers = n + averages, rule.numbers + averages
    evaluated = n if averages else 0
    draw_burst = burst_function(components, law)
    slots = burst(components, law) * LEAF
    kind = np.float32 if law == BATCH else np.float64

    @device
    def note_divergence(model, x, step, diverged_at, row):
        """Note the step if the risk of the thread's coordinate is beyond the limit."""
        if is_beyond(model, x):
            cuda.atomic.min(diverged_at, row, step)

    @device
    def step_task(sizes, model, timeline, task, segment, z, state, diverged_at, row):
        """Take the steps of a task with the numbers of a segment."""
        g = read_at(timeline.setting, task)
        at = state_offset(components, sizes, g)
        j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        s = cuda.local.array(components, np.float64)
        c = cuda.local.array(numbers, np.float64)
        load_state(components, state, at, s)
        own = segment * read_at(sizes, SETTINGS) + g
        for k in range(numbers):
            c[k] = read_at(timeline.factor, own * numbers + k)
        h = read_at(model.values, j)
        deviation = read_at(model.sigma, j) * read_at(timeline.amplitude, own)
        place = np.int32(read_at(timeline.row, task) * LEAF + cuda.threadIdx.x)
        i = np.int32(0)
        while i < read_at(timeline.length, task):
            new = update(s, h * s[0] + deviation * np.float64(read_at(z, place)), c)
            for a in range(n):
                s[a] = new[a]
            if averages:
                s[n] = c[numbers - 1] * s[n] + (1.0 - c[numbers - 1]) * s[0]
            i = np.int32(i + 1)
            note_divergence(
                model, s[evaluated], read_at(timeline.first, task) + i, diverged_at, row
            )
            place = np.int32(place + LEAF)
        for a in range(components):
            write_at(state, at + a * LEAF, s[a])

    @device
    def own_iterate(sizes, g, state):
        """Return the evaluated iterate of the thread's coordinate under setting g."""
        return read_at(state, state_offset(components, sizes, g) + evaluated * LEAF)

    @large_kernel
    def advance_rule(noise, model, timeline, sizes, alive, state, partial, diverged_at):
        z = cuda.shared.array(slots, kind)
        sums = cuda.shared.array(LEAF, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        task = np.int32(0)
        segment = np.int64(0)
        while task < timeline.setting.size:
            g = read_at(timeline.setting, task)
            row = g * read_at(sizes, REPLICAS) + r
            if read_at(alive, row):
                step = read_at(timeline.first, task)
                note_divergence(model, own_iterate(sizes, g, state), step, diverged_at, row)
            if read_at(timeline.record, task) >= 0:
                if read_at(alive, row):
                    row += (
                        read_at(timeline.record, task)
                        * read_at(sizes, SETTINGS)
                        * read_at(sizes, REPLICAS)
                    )
                    record_rows(model, own_iterate(sizes, g, state), row, sizes, sums, partial)
            else:
                if read_at(timeline.quads, task) > 0:
                    draw_burst(noise, timeline, sizes, task, z)
                if read_at(timeline.segment, task) >= 0:
                    segment = np.int64(read_at(timeline.segment, task))
                if read_at(alive, row):
                    step_task(sizes, model, timeline, task, segment, z, state, diverged_at, row)
            task = np.int32(task + 1)

    return advance_rule
