"""A coordinate through a timeline, step by step, for GPUs: each thread has one, a block a leaf.

The timeline is a list of tasks, made by `tasks`. In a task, the state of a setting and its
coefficients are in registers; between tasks they are in memory, so that there is room for what
makes noise. The noise of a few steps is in shared memory, where several settings see it.
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

REPLICAS, SETTINGS, LEAVES, ROWS, FIRST, COMPONENTS = range(6)  # places in `sizes`
IN_REGISTERS = 3  # numbers of a state, at most


class Coefficients(NamedTuple):
    """A `Model` flattened, its entries in the order of the matrix elements they add up to."""

    begin: Ints  # (settings,): where a setting's entries begin
    element: Ints  # (entries + 1,): number of an element, counting through settings; last -1
    source: Ints  # (entries,): where a row of values begins, or -1
    values: Floats  # (arrays d,)
    sigma: Floats  # (d,)
    weight: Floats  # (weights d,)
    rows: Ints  # (2 rows,): of observables, number of the weight and of the group
    group: Ints  # (d,), or none
    read: Floats  # (settings n,)


class Steps(NamedTuple):
    """A `Timeline` flattened, and cut into tasks: of a setting, within a burst and a segment."""

    factor: Floats  # (segments entries,): what values are multiplied with
    amplitude: Floats  # (segments settings,)
    setting: Shorts  # (tasks,)
    record: Shorts  # (tasks,): what is recorded, or -1
    first: Ints  # (tasks,): step
    row: Shorts  # (tasks,): of the burst, that a task begins with
    length: Shorts  # (tasks,): of steps; without any, or a record, divergence is looked for
    quad: Ints  # (tasks,): first to draw noise for
    quads: Shorts  # (tasks,): how many to draw noise for; none, if it is there
    samples: Ints  # (4 tasks,): summed in the steps that noise is drawn for, if any are
    segment: Shorts  # (tasks,): whose coefficients are built, or -1 if they are there


def burst(n: int, law: int) -> int:
    """Steps of noise that a block has at a time."""
    if law != BATCH:
        return 4
    return 16 if n < 3 else 8


@device
def load(n, state, at, s):
    """A coordinate's state."""
    for a in range(n):
        s[a] = read_at(state, at + a * LEAF)


@device
def here(n, sizes, g):
    """Where the state of a thread's coordinate under a setting begins."""
    r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
    row = g * read_at(sizes, REPLICAS) + r
    return (row * read_at(sizes, LEAVES) + cuda.blockIdx.x) * n * LEAF + cuda.threadIdx.x


@device
def evaluated(n, read, g, s):
    """The evaluated iterate of a coordinate with state s."""
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
def build(n, model, steps, segment, g, settings, c):
    """Rows of ``A - I`` and ``b sigma amplitude`` of a setting, one element after the other."""
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
            total += read_at(steps.factor, factor + e) * value
            e += 1
        if column == n:
            total *= read_at(model.sigma, j) * read_at(steps.amplitude, segment * settings + g)
            column = -1
        write_at(c, at, total)
        column += 1
        element += 1
        at += LEAF


@device
def move(n, c, x, s, new):
    """A coordinate's state one step on; sums are of pairs, as everywhere."""
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
def go_in_registers(n, row, end, z, coefficients, s, new, c):
    """Steps with the noise of z[row], z[row + LEAF], ...; all that is used is in registers."""
    for k in range(n * (n + 1)):
        c[k] = read_at(coefficients, k * LEAF + cuda.threadIdx.x)
    while row < end:
        move(n, c, np.float64(read_at(z, row)), s, new)
        row = np.int32(row + LEAF)


@device
def go_in_memory(n, row, end, z, c, s):
    """The same with more numbers than there are registers; `s` is followed by as much room."""
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
def state_to_shared(sizes, at, state, s):
    """A coordinate's state to shared memory, its numbers a leaf apart."""
    a = np.int32(cuda.threadIdx.x)
    while a < read_at(sizes, COMPONENTS) * LEAF:
        write_at(s, a, read_at(state, at))
        a = np.int32(a + LEAF)
        at += LEAF


@device
def state_from_shared(sizes, at, state, s):
    """And back."""
    a = np.int32(cuda.threadIdx.x)
    while a < read_at(sizes, COMPONENTS) * LEAF:
        write_at(state, at, read_at(s, a))
        a = np.int32(a + LEAF)
        at += LEAF


@device
def record_rows(model, x, at, sizes, sums, partial):
    """Sums of the leaf for every row of the observables; `at` numbers record and setting."""
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
def _parts(n: int, law: int) -> Any:
    """Of kernels for states of n numbers; `law` is the code of a law, or `BATCH`."""
    draw = DRAWS[law]
    length = burst(n, law)

    @device
    def fill(noise, steps, sizes, task, z):
        """Noise for the rest of a burst."""
        quad = read_at(steps.quad, task)
        left = read_at(steps.quads, task)
        coordinate = read_at(sizes, FIRST) + cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        replica = read_at(noise.replicas, cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z)
        own = np.int32(4 * task)
        while left > 0:
            at = np.int32((quad & (length // 4 - 1)) * 4 * LEAF + cuda.threadIdx.x)
            draw(noise, coordinate, replica, quad, steps.samples, own, z, at, LEAF)
            quad += 1
            left = np.int32(left - 1)

    @device
    def own_iterate(sizes, model, g, state):
        """The evaluated iterate of the thread's coordinate."""
        s = cuda.local.array(n, np.float64)
        load(n, state, here(n, sizes, g), s)
        return evaluated(n, model.read, g, s)

    @device
    def prepare(noise, model, steps, sizes, task, z, coefficients):
        """What a task needs and is not there: noise, and the coefficients of its setting."""
        if read_at(steps.quads, task) > 0:
            fill(noise, steps, sizes, task, z)
        if read_at(steps.segment, task) >= 0:
            g, segment = read_at(steps.setting, task), read_at(steps.segment, task)
            build(n, model, steps, segment, g, read_at(sizes, SETTINGS), coefficients)

    return prepare, own_iterate


def _shared_memory(n: int, law: int) -> tuple[Any, int, int, int]:
    """Of a block: the type of its noise; how much noise, and numbers of matrices and states."""
    kind = np.float32 if law == BATCH else np.float64
    return kind, burst(n, law) * LEAF, n * (n + 1) * LEAF, 2 * n * LEAF


@cache
def advance_kernel(n: int, law: int) -> Any:
    """Steps, records, and a mark where a setting diverges."""
    prepare, own_iterate = _parts(n, law)
    kind, slots, rows, room = _shared_memory(n, law)
    elements = n * (n + 1)
    in_registers = n <= IN_REGISTERS

    @device
    def go(sizes, steps, task, z, coefficients, state):
        """The steps of a task."""
        row = np.int32(read_at(steps.row, task) * LEAF + cuda.threadIdx.x)
        end = np.int32(row + read_at(steps.length, task) * LEAF)
        if in_registers:
            s = cuda.local.array(n, np.float64)
            new = cuda.local.array(n, np.float64)
            c = cuda.local.array(elements, np.float64)
            load(n, state, here(n, sizes, read_at(steps.setting, task)), s)
            go_in_registers(n, row, end, z, coefficients, s, new, c)
            at = here(n, sizes, read_at(steps.setting, task))
            for a in range(n):
                write_at(state, at + a * LEAF, s[a])
        else:
            shared = cuda.shared.array(room, np.float64)
            state_to_shared(sizes, here(n, sizes, read_at(steps.setting, task)), state, shared)
            go_in_memory(read_at(sizes, COMPONENTS), row, end, z, coefficients, shared)
            state_from_shared(sizes, here(n, sizes, read_at(steps.setting, task)), state, shared)

    @kernel
    def advance(noise, model, steps, sizes, alive, state, partial, beyond):
        z = cuda.shared.array(slots, kind)
        coefficients = cuda.shared.array(rows, np.float64)
        sums = cuda.shared.array(LEAF, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        task = np.int32(0)
        while task < steps.setting.size:
            g = read_at(steps.setting, task)
            row = g * read_at(sizes, REPLICAS) + r
            if read_at(steps.record, task) >= 0:
                if read_at(alive, row):
                    x = own_iterate(sizes, model, g, state)
                    row += (
                        read_at(steps.record, task)
                        * read_at(sizes, SETTINGS)
                        * read_at(sizes, REPLICAS)
                    )
                    record_rows(model, x, row, sizes, sums, partial)
            elif read_at(steps.length, task) > 0:
                prepare(noise, model, steps, sizes, task, z, coefficients)
                if read_at(alive, row):
                    go(sizes, steps, task, z, coefficients, state)
            elif read_at(alive, row) and is_beyond(model, own_iterate(sizes, model, g, state)):
                write_at(beyond, row, 1)
            task = np.int32(task + 1)

    return advance


@cache
def search_kernel(n: int, law: int) -> Any:
    """The first step at which a coordinate that has diverged did so, found by going again."""
    prepare, own_iterate = _parts(n, law)
    kind, slots, rows, room = _shared_memory(n, law)

    @device
    def look(sizes, model, g, s, step, exceeded, row):
        """Note the step, if the risk is beyond the limit."""
        x = read_at(model.read, g * n) * read_at(s, cuda.threadIdx.x)
        a = 1
        while a < read_at(sizes, COMPONENTS):
            x = x + read_at(model.read, g * n + a) * read_at(s, a * LEAF + cuda.threadIdx.x)
            a += 1
        if is_beyond(model, x):
            cuda.atomic.min(exceeded, row, step)

    @kernel
    def search(noise, model, steps, sizes, alive, before, after, exceeded):
        z = cuda.shared.array(slots, kind)
        coefficients = cuda.shared.array(rows, np.float64)
        s = cuda.shared.array(room, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        task = np.int32(0)
        while task < steps.setting.size:
            g = read_at(steps.setting, task)
            row = g * read_at(sizes, REPLICAS) + r
            prepare(noise, model, steps, sizes, task, z, coefficients)
            if read_at(alive, row) and is_beyond(model, own_iterate(sizes, model, g, after)):
                state_to_shared(sizes, here(n, sizes, g), before, s)
                i = np.int32(0)
                while i <= read_at(steps.length, task):
                    look(sizes, model, g, s, read_at(steps.first, task) + i, exceeded, row)
                    begin = np.int32((read_at(steps.row, task) + i) * LEAF + cuda.threadIdx.x)
                    end = np.int32(begin + (LEAF if i < read_at(steps.length, task) else 0))
                    go_in_memory(read_at(sizes, COMPONENTS), begin, end, z, coefficients, s)
                    i = np.int32(i + 1)
                state_from_shared(sizes, here(n, sizes, g), before, s)
            task = np.int32(task + 1)

    return search
