"""The kernels that take coordinates through a timeline step by step, for GPUs.

A thread has one coordinate of one replica, and a block of threads a leaf. The timeline is cut into
tasks by `tasks`. During a task, the state of a setting and its coefficients are in registers;
between tasks they are in memory, so that the registers are free to draw noise. The noise of a burst
of steps is in shared memory, where several settings use it.

Arrays are flat. In memory, a state has a row of a leaf's numbers for each component; coefficients
have, for each component, n rows of A - I and one of b.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contract import ALL, LEAF, LIMIT, Floats, Ints
from .jit import cuda, device, kernel, read_at, write_at
from .noise import BATCH, DRAWS
from .reduce import leaf_sum

Shorts = NDArray[np.int32]

REPLICAS, SETTINGS, LEAVES, ROWS, FIRST, COMPONENTS = range(6)  # indices of an array `sizes`
IN_REGISTERS = 3  # the largest number of components for which a step is taken in registers


class FlatModel(NamedTuple):
    """A `Model` flattened, its entries in the order of the matrix elements they add up to."""

    begin: Ints  # (2 settings,): the first entry of a setting; then that of its further kicks
    element: Ints  # (entries + 1,): the element, numbered through all settings; the last is -1
    source: Ints  # (entries,): where the row of values begins, or -1 for the number itself
    values: Floats  # (arrays d,)
    sigma: Floats  # (d,)
    weight: Floats  # (weights d,)
    rows: Ints  # (2 rows,): for each row of a record, its weight and its group
    group: Ints  # (d,), or empty
    read: Floats  # (settings n,)


class FlatTimeline(NamedTuple):
    """A `Timeline` flattened, and cut into tasks of one setting within a burst and a segment."""

    factor: Floats  # (segments entries,): the multiple of a row of values, or the number itself;
    # or the numbers of a rule, (segments settings numbers,)
    amplitude: Floats  # (segments settings,)
    harmless: Floats  # (settings n,)
    setting: Shorts  # (tasks,)
    record: Shorts  # (tasks,): the number of the record, or -1
    first: Ints  # (tasks,): the first step
    row: Shorts  # (tasks,): the row of the burst with the noise of the first step
    length: Shorts  # (tasks,): steps; a task with neither steps nor a record is a look
    quad: Ints  # (tasks,): the first quad to draw noise for
    quads: Shorts  # (tasks,): quads to draw noise for, or 0 if it is drawn already
    samples: Ints  # (4 tasks,): to sum in each step of a quad; empty if none are summed
    segment: Shorts  # (tasks,): whose coefficients to build, or -1 if they are built already


def burst(n: int, law: int) -> int:
    """Return the number of steps whose noise a block draws at a time."""
    if law != BATCH:
        return 4
    return 16 if n < 3 else 8


@device
def load_state(n, state, at, s):
    """Load the state of the coordinate at `at` into `s`."""
    for a in range(n):
        s[a] = read_at(state, at + a * LEAF)


@device
def state_offset(n, sizes, g):
    """Return where the state of the thread's coordinate under setting g begins in memory."""
    r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
    row = g * read_at(sizes, REPLICAS) + r
    return (row * read_at(sizes, LEAVES) + cuda.blockIdx.x) * n * LEAF + cuda.threadIdx.x


@device
def evaluated_iterate(n, read, g, s):
    """Return the evaluated iterate of a coordinate with state s under setting g."""
    x = read_at(read, g * n) * s[0]
    for a in range(1, n):
        x = x + read_at(read, g * n + a) * s[a]
    return x


@device
def is_beyond(model, x):
    """Whether the risk of the thread's coordinate is beyond the limit, or not a number."""
    weight = read_at(model.weight, cuda.blockIdx.x * LEAF + cuda.threadIdx.x)
    return not (weight * x) * x <= LIMIT


@device
def build_coefficients(n, model, timeline, segment, g, settings, c):
    """Write ``A - I`` and ``b sigma amplitude`` of setting g to `c`, element by element."""
    j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    e = read_at(model.begin, g)
    factor = segment * model.source.size
    element = g * n * (n + 1)
    column = 0
    at = cuda.threadIdx.x
    while at < n * (n + 1) * LEAF:
        total = 0.0
        while read_at(model.element, e) == element:
            source = read_at(model.source, e)
            value = 1.0 if source < 0 else read_at(model.values, source + j)
            total += read_at(timeline.factor, factor + e) * value
            e += 1
        if column == n:
            total *= read_at(model.sigma, j) * read_at(timeline.amplitude, segment * settings + g)
            column = -1
        write_at(c, at, total)
        column += 1
        element += 1
        at += LEAF


@device
def step_state(n, c, x, s, new):
    """Take a coordinate's state s one step on, with noise x; terms are added in pairs."""
    for a in range(n):
        row = a * (n + 1)
        total = c[row + n] * x + c[row] * s[0]
        for b in range(1, n - 1, 2):
            total = total + (c[row + b] * s[b] + c[row + b + 1] * s[b + 1])
        if n % 2 == 0:
            total = total + c[row + n - 1] * s[n - 1]
        new[a] = s[a] + total
    for a in range(n):
        s[a] = new[a]


@device
def step_in_registers(n, row, end, z, coefficients, s, new, c):
    """Take steps in registers, with the noise in z[row], z[row + LEAF], ... before z[end]."""
    for k in range(n * (n + 1)):
        c[k] = read_at(coefficients, k * LEAF + cuda.threadIdx.x)
    while row < end:
        step_state(n, c, np.float64(read_at(z, row)), s, new)
        row = np.int32(row + LEAF)


@device
def step_in_shared_memory(n, row, end, z, c, s):
    """Take steps in shared memory, for more components than registers can hold.

    The state is at the beginning of `s`, which has room for two.
    """
    me = np.int32(cuda.threadIdx.x)
    wide = np.int32(n * LEAF)
    while row < end:
        x = np.float64(read_at(z, row))
        at = me
        element = me
        while at < wide:
            total = read_at(c, element + wide) * x + read_at(c, element) * read_at(s, me)
            b = np.int32(LEAF)
            while b + LEAF < wide:
                pair = read_at(c, element + b) * read_at(s, me + b)
                total = total + (pair + read_at(c, element + b + LEAF) * read_at(s, me + b + LEAF))
                b = np.int32(b + 2 * LEAF)
            if b < wide:
                total = total + read_at(c, element + b) * read_at(s, me + b)
            write_at(s, wide + at, read_at(s, at) + total)
            at = np.int32(at + LEAF)
            element = np.int32(element + wide + LEAF)
        at = me
        while at < wide:
            write_at(s, at, read_at(s, wide + at))
            at = np.int32(at + LEAF)
        row = np.int32(row + LEAF)


@device
def load_shared_state(sizes, at, state, s):
    """Copy a coordinate's state to shared memory, where its numbers are a leaf apart."""
    a = np.int32(cuda.threadIdx.x)
    while a < read_at(sizes, COMPONENTS) * LEAF:
        write_at(s, a, read_at(state, at))
        a = np.int32(a + LEAF)
        at += LEAF


@device
def store_shared_state(sizes, at, state, s):
    """Copy a coordinate's state from shared memory back."""
    a = np.int32(cuda.threadIdx.x)
    while a < read_at(sizes, COMPONENTS) * LEAF:
        write_at(state, at, read_at(s, a))
        a = np.int32(a + LEAF)
        at += LEAF


@device
def record_rows(model, x, at, sizes, sums, partial):
    """Write the leaf's sum for every row of a record; `at` numbers record, setting and replica."""
    leaves = read_at(sizes, LEAVES)
    at = at * read_at(sizes, ROWS) * leaves + cuda.blockIdx.x
    j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    row = 0
    while row < read_at(sizes, ROWS):
        number = read_at(model.rows, 2 * row + 1)
        own = number == ALL
        if not own:
            own = read_at(model.group, j) == number
        if cuda.syncthreads_or(1 if own else 0):
            weight = read_at(model.weight, read_at(model.rows, 2 * row) * leaves * LEAF + j)
            leaf_sum(sums, (weight * x) * x if own else 0.0)
            if cuda.threadIdx.x == 0:
                write_at(partial, at, read_at(sums, 0))
        at += leaves
        row += 1
    cuda.syncthreads()


@cache
def burst_function(n: int, law: int) -> Any:
    """Return the device function that draws noise, for n components and a law or `BATCH`."""
    draw = DRAWS[law]
    length = burst(n, law)

    @device
    def draw_burst(noise, timeline, sizes, task, z):
        """Draw the noise of a task's quads."""
        quad = read_at(timeline.quad, task)
        left = read_at(timeline.quads, task)
        coordinate = read_at(sizes, FIRST) + cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        replica = read_at(noise.replicas, cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z)
        numbers = np.int32(4 * task)
        while left > 0:
            at = np.int32((quad & (length // 4 - 1)) * 4 * LEAF + cuda.threadIdx.x)
            draw(noise, coordinate, replica, quad, timeline.samples, numbers, z, at, LEAF)
            quad += 1
            left = np.int32(left - 1)

    return draw_burst


@cache
def _device_functions(n: int, law: int) -> Any:
    """Return the device functions for n components and the code of a law, or `BATCH`."""
    draw_burst = burst_function(n, law)

    @device
    def own_iterate(sizes, model, g, state):
        """Return the evaluated iterate of the thread's coordinate under setting g."""
        s = cuda.local.array(n, np.float64)
        load_state(n, state, state_offset(n, sizes, g), s)
        return evaluated_iterate(n, model.read, g, s)

    @device
    def prepare_task(noise, model, timeline, sizes, task, z, coefficients):
        """Draw the noise and build the coefficients that a task needs, unless that is done."""
        if read_at(timeline.quads, task) > 0:
            draw_burst(noise, timeline, sizes, task, z)
        if read_at(timeline.segment, task) >= 0:
            g, segment = read_at(timeline.setting, task), read_at(timeline.segment, task)
            build_coefficients(
                n, model, timeline, segment, g, read_at(sizes, SETTINGS), coefficients
            )

    @device
    def is_harmless(sizes, timeline, g, state):
        """Whether no component of the coordinate's state is beyond its size, or not a number."""
        s = cuda.local.array(n, np.float64)
        load_state(n, state, state_offset(n, sizes, g), s)
        beyond = 0
        for a in range(n):
            beyond += 0 if abs(s[a]) <= read_at(timeline.harmless, g * n + a) else 1
        return beyond == 0

    return prepare_task, own_iterate, is_harmless


def _shared_sizes(n: int, law: int) -> tuple[Any, int, int, int]:
    """Return the type of noise, and the numbers of noise, coefficients and states in a block."""
    kind = np.float32 if law == BATCH else np.float64
    return kind, burst(n, law) * LEAF, n * (n + 1) * LEAF, 2 * n * LEAF


@cache
def advance_kernel(n: int, law: int) -> Any:
    """Return the kernel that takes steps, records, and marks settings that may have diverged."""
    prepare_task, own_iterate, is_harmless = _device_functions(n, law)
    kind, slots, rows, room = _shared_sizes(n, law)
    elements = n * (n + 1)
    in_registers = n <= IN_REGISTERS

    @device
    def step_task(sizes, timeline, task, z, coefficients, state):
        """Take the steps of a task."""
        row = np.int32(read_at(timeline.row, task) * LEAF + cuda.threadIdx.x)
        end = np.int32(row + read_at(timeline.length, task) * LEAF)
        if in_registers:
            s = cuda.local.array(n, np.float64)
            new = cuda.local.array(n, np.float64)
            c = cuda.local.array(elements, np.float64)
            load_state(n, state, state_offset(n, sizes, read_at(timeline.setting, task)), s)
            step_in_registers(n, row, end, z, coefficients, s, new, c)
            at = state_offset(n, sizes, read_at(timeline.setting, task))
            for a in range(n):
                write_at(state, at + a * LEAF, s[a])
        else:
            shared = cuda.shared.array(room, np.float64)
            load_shared_state(
                sizes, state_offset(n, sizes, read_at(timeline.setting, task)), state, shared
            )
            step_in_shared_memory(read_at(sizes, COMPONENTS), row, end, z, coefficients, shared)
            store_shared_state(
                sizes, state_offset(n, sizes, read_at(timeline.setting, task)), state, shared
            )

    @kernel
    def advance(noise, model, timeline, sizes, alive, state, partial, suspect):
        z = cuda.shared.array(slots, kind)
        coefficients = cuda.shared.array(rows, np.float64)
        sums = cuda.shared.array(LEAF, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        task = np.int32(0)
        while task < timeline.setting.size:
            g = read_at(timeline.setting, task)
            row = g * read_at(sizes, REPLICAS) + r
            if read_at(timeline.record, task) >= 0:
                if read_at(alive, row):
                    x = own_iterate(sizes, model, g, state)
                    row += (
                        read_at(timeline.record, task)
                        * read_at(sizes, SETTINGS)
                        * read_at(sizes, REPLICAS)
                    )
                    record_rows(model, x, row, sizes, sums, partial)
            elif read_at(timeline.length, task) > 0:
                prepare_task(noise, model, timeline, sizes, task, z, coefficients)
                if read_at(alive, row):
                    step_task(sizes, timeline, task, z, coefficients, state)
            elif read_at(alive, row) and not is_harmless(sizes, timeline, g, state):
                write_at(suspect, row, 1)
            task = np.int32(task + 1)

    return advance


@cache
def search_kernel(n: int, law: int) -> Any:
    """Return the kernel that takes settings that may have diverged through the steps again.

    It finds the first step of divergence of each setting and replica.
    """
    prepare_task, _, _ = _device_functions(n, law)
    kind, slots, rows, room = _shared_sizes(n, law)

    @device
    def note_divergence(sizes, model, g, s, step, diverged_at, row):
        """Note the step if the coordinate's risk is beyond the limit."""
        x = read_at(model.read, g * n) * read_at(s, cuda.threadIdx.x)
        a = 1
        while a < read_at(sizes, COMPONENTS):
            x = x + read_at(model.read, g * n + a) * read_at(s, a * LEAF + cuda.threadIdx.x)
            a += 1
        if is_beyond(model, x):
            cuda.atomic.min(diverged_at, row, step)

    @kernel
    def search(noise, model, timeline, sizes, suspect, before, diverged_at):
        z = cuda.shared.array(slots, kind)
        coefficients = cuda.shared.array(rows, np.float64)
        s = cuda.shared.array(room, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        task = np.int32(0)
        while task < timeline.setting.size:
            g = read_at(timeline.setting, task)
            row = g * read_at(sizes, REPLICAS) + r
            prepare_task(noise, model, timeline, sizes, task, z, coefficients)
            if read_at(suspect, row):
                load_shared_state(sizes, state_offset(n, sizes, g), before, s)
                i = np.int32(0)
                while i <= read_at(timeline.length, task):
                    note_divergence(
                        sizes, model, g, s, read_at(timeline.first, task) + i, diverged_at, row
                    )
                    begin = np.int32((read_at(timeline.row, task) + i) * LEAF + cuda.threadIdx.x)
                    end = np.int32(begin + (LEAF if i < read_at(timeline.length, task) else 0))
                    step_in_shared_memory(
                        read_at(sizes, COMPONENTS), begin, end, z, coefficients, s
                    )
                    i = np.int32(i + 1)
                store_shared_state(sizes, state_offset(n, sizes, g), before, s)
            task = np.int32(task + 1)

    return search
