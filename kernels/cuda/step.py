"""A coordinate through a timeline, step by step, for GPUs: each thread has one, a block a leaf.

The timeline is a list of tasks, made by `cuda_plan`. In a task, the state of a setting and its
coefficients are in registers; between tasks they are in memory, so that there is room for what
makes noise. The noise of a few steps is in shared memory, where several settings see it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contract import LEAF, LIMIT, Floats, Ints
from .jit import cuda, device, kernel, pick, put
from .noise import BATCH, DRAWS
from .reduce import leaf_sum

Shorts = NDArray[np.int32]

REPLICAS, SETTINGS, LEAVES, BANDS, FIRST, COMPONENTS = range(6)  # places in `sizes`
IN_REGISTERS = 3  # numbers of a state, at most


class Coefficients(NamedTuple):
    """A `Model` flattened, its entries in the order of the matrix elements they add up to."""

    begin: Ints  # (settings,): where a setting's entries begin
    element: Ints  # (entries + 1,): number of an element, counting through settings; last -1
    source: Ints  # (entries,): where a row of values begins, or -1
    values: Floats  # (arrays d,)
    sigma: Floats  # (d,)
    weight: Floats  # (d,)
    band: Ints  # (d,)
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
        s[a] = pick(state, at + a * LEAF)


@device
def here(n, sizes, g):
    """Where the state of a thread's coordinate under a setting begins."""
    r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
    row = g * pick(sizes, REPLICAS) + r
    return (row * pick(sizes, LEAVES) + cuda.blockIdx.x) * n * LEAF + cuda.threadIdx.x


@device
def risk_of(n, read, g, weight, s):
    """Of a coordinate with state s."""
    x = pick(read, g * n) * s[0]
    for a in range(1, n):
        x = x + pick(read, g * n + a) * s[a]
    return (weight * x) * x


@device
def build(n, model, steps, segment, g, settings, c):
    """Rows of ``A - I`` and ``b sigma amplitude`` of a setting, one element after the other."""
    j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    e = pick(model.begin, g)
    factor = segment * model.source.size
    element = g * n * (n + 1)
    column = 0
    at = cuda.threadIdx.x
    while at < n * (n + 1) * LEAF:
        total = 0.0
        while pick(model.element, e) == element:
            source = pick(model.source, e)
            value = 1.0 if source < 0 else pick(model.values, source + j)
            total += pick(steps.factor, factor + e) * value
            e += 1
        if column == n:
            total *= pick(model.sigma, j) * pick(steps.amplitude, segment * settings + g)
            column = -1
        put(c, at, total)
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
        c[k] = pick(coefficients, k * LEAF + cuda.threadIdx.x)
    while row < end:
        move(n, c, np.float64(pick(z, row)), s, new)
        row = np.int32(row + LEAF)


@device
def go_in_memory(n, row, end, z, c, s):
    """The same with more numbers than there are registers; `s` is followed by as much room."""
    me = np.int32(cuda.threadIdx.x)
    wide = np.int32(n * LEAF)
    while row < end:
        x = np.float64(pick(z, row))
        at = me
        element = me
        while at < wide:
            total = pick(c, element + wide) * x + pick(c, element) * pick(s, me)
            b = np.int32(LEAF)
            while b + LEAF < wide:
                pair = pick(c, element + b) * pick(s, me + b)
                total = total + (pair + pick(c, element + b + LEAF) * pick(s, me + b + LEAF))
                b = np.int32(b + 2 * LEAF)
            if b < wide:
                total = total + pick(c, element + b) * pick(s, me + b)
            put(s, wide + at, pick(s, at) + total)
            at = np.int32(at + LEAF)
            element = np.int32(element + wide + LEAF)
        at = me
        while at < wide:
            put(s, at, pick(s, wide + at))
            at = np.int32(at + LEAF)
        row = np.int32(row + LEAF)


@device
def fetch(sizes, at, state, s):
    """A coordinate's state to shared memory, its numbers a leaf apart."""
    a = np.int32(cuda.threadIdx.x)
    while a < pick(sizes, COMPONENTS) * LEAF:
        put(s, a, pick(state, at))
        a = np.int32(a + LEAF)
        at += LEAF


@device
def bring(sizes, at, state, s):
    """And back."""
    a = np.int32(cuda.threadIdx.x)
    while a < pick(sizes, COMPONENTS) * LEAF:
        put(state, at, pick(s, a))
        a = np.int32(a + LEAF)
        at += LEAF


@device
def record_risk(model, risk, row, sizes, sums, partial):
    """Sum of the leaf's risk, whole and by band."""
    leaves = pick(sizes, LEAVES)
    at = row * (1 + pick(sizes, BANDS)) * leaves + cuda.blockIdx.x
    leaf_sum(sums, risk)
    if cuda.threadIdx.x == 0:
        put(partial, at, pick(sums, 0))
    band = 1
    while band <= pick(sizes, BANDS):
        at += leaves
        own = pick(model.band, cuda.blockIdx.x * LEAF + cuda.threadIdx.x) == band
        if cuda.syncthreads_or(1 if own else 0):
            leaf_sum(sums, risk if own else 0.0)
            if cuda.threadIdx.x == 0:
                put(partial, at, pick(sums, 0))
        band += 1
    cuda.syncthreads()


@cache
def _parts(n: int, law: int) -> Any:
    """Of kernels for states of n numbers; `law` is a code of noise.DATA, or `BATCH`."""
    draw = DRAWS[law]
    length = burst(n, law)

    @device
    def fill(noise, steps, sizes, task, z):
        """Noise for the rest of a burst."""
        quad = pick(steps.quad, task)
        left = pick(steps.quads, task)
        coordinate = pick(sizes, FIRST) + cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        replica = pick(noise.replicas, cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z)
        own = np.int32(4 * task)
        while left > 0:
            at = np.int32((quad & (length // 4 - 1)) * 4 * LEAF + cuda.threadIdx.x)
            draw(noise, coordinate, replica, quad, steps.samples, own, z, at, LEAF)
            quad += 1
            left = np.int32(left - 1)

    @device
    def own_risk(sizes, model, g, state):
        """Of the thread's coordinate."""
        s = cuda.local.array(n, np.float64)
        load(n, state, here(n, sizes, g), s)
        j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        return risk_of(n, model.read, g, pick(model.weight, j), s)

    @device
    def prepare(noise, model, steps, sizes, task, z, coefficients):
        """What a task needs and is not there: noise, and the coefficients of its setting."""
        if pick(steps.quads, task) > 0:
            fill(noise, steps, sizes, task, z)
        if pick(steps.segment, task) >= 0:
            g, segment = pick(steps.setting, task), pick(steps.segment, task)
            build(n, model, steps, segment, g, pick(sizes, SETTINGS), coefficients)

    return prepare, own_risk


def _shared_memory(n: int, law: int) -> tuple[Any, int, int, int]:
    """Of a block: the type of its noise; how much noise, and numbers of matrices and states."""
    kind = np.float32 if law == BATCH else np.float64
    return kind, burst(n, law) * LEAF, n * (n + 1) * LEAF, 2 * n * LEAF


@cache
def advance_kernel(n: int, law: int) -> Any:
    """Steps, records, and a mark where a setting diverges."""
    prepare, own_risk = _parts(n, law)
    kind, slots, rows, room = _shared_memory(n, law)
    elements = n * (n + 1)
    in_registers = n <= IN_REGISTERS

    @device
    def go(sizes, steps, task, z, coefficients, state):
        """The steps of a task."""
        row = np.int32(pick(steps.row, task) * LEAF + cuda.threadIdx.x)
        end = np.int32(row + pick(steps.length, task) * LEAF)
        if in_registers:
            s = cuda.local.array(n, np.float64)
            new = cuda.local.array(n, np.float64)
            c = cuda.local.array(elements, np.float64)
            load(n, state, here(n, sizes, pick(steps.setting, task)), s)
            go_in_registers(n, row, end, z, coefficients, s, new, c)
            at = here(n, sizes, pick(steps.setting, task))
            for a in range(n):
                put(state, at + a * LEAF, s[a])
        else:
            shared = cuda.shared.array(room, np.float64)
            fetch(sizes, here(n, sizes, pick(steps.setting, task)), state, shared)
            go_in_memory(pick(sizes, COMPONENTS), row, end, z, coefficients, shared)
            bring(sizes, here(n, sizes, pick(steps.setting, task)), state, shared)

    @kernel
    def advance(noise, model, steps, sizes, alive, state, partial, beyond):
        z = cuda.shared.array(slots, kind)
        coefficients = cuda.shared.array(rows, np.float64)
        sums = cuda.shared.array(LEAF, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= pick(sizes, REPLICAS):
            return
        task = np.int32(0)
        while task < steps.setting.size:
            g = pick(steps.setting, task)
            row = g * pick(sizes, REPLICAS) + r
            if pick(steps.record, task) >= 0:
                if pick(alive, row):
                    risk = own_risk(sizes, model, g, state)
                    row += pick(steps.record, task) * pick(sizes, SETTINGS) * pick(sizes, REPLICAS)
                    record_risk(model, risk, row, sizes, sums, partial)
            elif pick(steps.length, task) > 0:
                prepare(noise, model, steps, sizes, task, z, coefficients)
                if pick(alive, row):
                    go(sizes, steps, task, z, coefficients, state)
            elif pick(alive, row) and not own_risk(sizes, model, g, state) <= LIMIT:
                put(beyond, row, 1)
            task = np.int32(task + 1)

    return advance


@cache
def search_kernel(n: int, law: int) -> Any:
    """The first step at which a coordinate that has diverged did so, found by going again."""
    prepare, own_risk = _parts(n, law)
    kind, slots, rows, room = _shared_memory(n, law)

    @device
    def look(sizes, model, g, s, step, exceeded, row):
        """Note the step, if the risk is beyond the limit."""
        x = pick(model.read, g * n) * pick(s, cuda.threadIdx.x)
        a = 1
        while a < pick(sizes, COMPONENTS):
            x = x + pick(model.read, g * n + a) * pick(s, a * LEAF + cuda.threadIdx.x)
            a += 1
        weight = pick(model.weight, cuda.blockIdx.x * LEAF + cuda.threadIdx.x)
        if not (weight * x) * x <= LIMIT:
            cuda.atomic.min(exceeded, row, step)

    @kernel
    def search(noise, model, steps, sizes, alive, before, after, exceeded):
        z = cuda.shared.array(slots, kind)
        coefficients = cuda.shared.array(rows, np.float64)
        s = cuda.shared.array(room, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= pick(sizes, REPLICAS):
            return
        task = np.int32(0)
        while task < steps.setting.size:
            g = pick(steps.setting, task)
            row = g * pick(sizes, REPLICAS) + r
            prepare(noise, model, steps, sizes, task, z, coefficients)
            if pick(alive, row) and not own_risk(sizes, model, g, after) <= LIMIT:
                fetch(sizes, here(n, sizes, g), before, s)
                i = np.int32(0)
                while i <= pick(steps.length, task):
                    look(sizes, model, g, s, pick(steps.first, task) + i, exceeded, row)
                    begin = np.int32((pick(steps.row, task) + i) * LEAF + cuda.threadIdx.x)
                    end = np.int32(begin + (LEAF if i < pick(steps.length, task) else 0))
                    go_in_memory(pick(sizes, COMPONENTS), begin, end, z, coefficients, s)
                    i = np.int32(i + 1)
                bring(sizes, here(n, sizes, g), before, s)
            task = np.int32(task + 1)

    return search
