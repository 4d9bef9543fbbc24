"""The kernels that take coordinates through a timeline by leaps, for GPUs.

A leap needs the map of many steps, and a draw from the law that it gives. A map has three parts,
A - I, the covariance V, and scratch space, of n n rows of d numbers each. They are in memory, since
a leap's cost does not depend on how many steps it spans.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..contract import LEAF
from ..noise import LEAP
from .jit import cuda, device, kernel, read_at, square_root, write_at
from .noise import normals_of
from .step import (
    COMPONENTS,
    FIRST,
    LEAVES,
    REPLICAS,
    build_coefficients,
    evaluated_iterate,
    is_beyond,
    load_state,
    record_rows,
    state_offset,
)

MAPS = 3  # maps that memory is needed for: the result, a power and a spare one


@device
def compose(n, d, second, first, out, maps):
    """Write the map at `first`, then that at `second`, to `out`; all are offsets in `maps`."""
    part = n * n * d
    a = 0
    while a < n:
        b = 0
        while b < n:
            row, column = second + a * n * d, first + b * d
            total = read_at(maps, row) * read_at(maps, column)
            carried = read_at(maps, row) * read_at(maps, column + part)
            c = 1
            while c < n:
                row += d
                column += n * d
                total = total + read_at(maps, row) * read_at(maps, column)
                carried = carried + read_at(maps, row) * read_at(maps, column + part)
                c += 1
            at = (a * n + b) * d
            write_at(
                maps, out + at, (read_at(maps, second + at) + read_at(maps, first + at)) + total
            )
            write_at(maps, out + 2 * part + at, read_at(maps, first + part + at) + carried)
            b += 1
        a += 1
    a = 0
    while a < n:
        b = 0
        while b < n:
            row, column = out + 2 * part + a * n * d, second + b * n * d
            total = read_at(maps, row) * read_at(maps, column)
            c = 1
            while c < n:
                row += d
                column += d
                total = total + read_at(maps, row) * read_at(maps, column)
                c += 1
            at = part + (a * n + b) * d
            carried = read_at(maps, out + part + at)
            write_at(maps, out + at, read_at(maps, second + at) + (carried + total))
            b += 1
        a += 1


@device
def factorize(n, d, V, L, maps):
    """Write the lower Cholesky factor of the covariance at V to L; both are offsets in `maps`.

    A column without variance is zero.
    """
    a = 0
    while a < n:
        b = 0
        while b < n:
            x = 0.0
            if b <= a:
                x = read_at(maps, V + (a * n + b) * d)
                c = 0
                while c < b:
                    x = x - read_at(maps, L + (a * n + c) * d) * read_at(maps, L + (b * n + c) * d)
                    c += 1
                if a == b:
                    x = square_root(x if x > 0.0 else 0.0)
                else:
                    pivot = read_at(maps, L + (b * n + b) * d)
                    x = x / (pivot if pivot > 0.0 else 1.0) if pivot > 0.0 else 0.0
            write_at(maps, L + (a * n + b) * d, x)
            b += 1
        a += 1


@cache
def map_kernel(n: int) -> Any:
    """Return the kernel for the map of many steps of setting g.

    It leaves ``A - I``, the covariance and its Cholesky factor at the beginning of `maps`.
    """
    elements = n * (n + 1)
    slots = elements * LEAF

    @kernel
    def find_map(model, timeline, sizes, segment, g, settings, steps, maps):
        c = cuda.shared.array(slots, np.float64)
        me = cuda.threadIdx.x
        d = read_at(sizes, LEAVES) * LEAF
        j = cuda.blockIdx.x * LEAF + me
        components = read_at(sizes, COMPONENTS)
        part = components * components * d
        build_coefficients(n, model, timeline, segment, g, settings, c)
        whole, power, spare = j, j + 3 * part, j + 6 * part
        kick = components * LEAF + me
        row = (components + 1) * LEAF
        a = 0
        while a < components:
            b = 0
            while b < components:
                at = (a * components + b) * d
                write_at(maps, whole + at, 0.0)
                write_at(maps, whole + part + at, 0.0)
                write_at(maps, power + at, read_at(c, a * row + b * LEAF + me))
                write_at(
                    maps, power + part + at, read_at(c, a * row + kick) * read_at(c, b * row + kick)
                )
                b += 1
            a += 1
        left, squares = steps, False
        while left > 0:  # alternate, so that `compose` is inlined once
            if squares:
                left >>= 1
                if left > 0:
                    compose(components, d, power, power, spare, maps)
                    power, spare = spare, power
            elif left & 1:
                compose(components, d, power, whole, spare, maps)
                whole, spare = spare, whole
            squares = not squares
        factorize(components, d, whole + part, whole + 2 * part, maps)
        if whole != j:
            at = 0
            while at < 3 * part:
                write_at(maps, j + at, read_at(maps, whole + at))
                at += d

    return find_map


@cache
def leap_kernel(n: int) -> Any:
    """Return the kernel that draws the states of setting g at the end of a leap from step t."""

    @kernel
    def leap_states(noise, sizes, g, t, alive, maps, state):
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS) or not read_at(alive, g * read_at(sizes, REPLICAS) + r):
            return
        s = cuda.local.array(n, np.float64)
        j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        d = read_at(sizes, LEAVES) * LEAF
        part = read_at(sizes, COMPONENTS) * read_at(sizes, COMPONENTS) * d
        at = state_offset(n, sizes, g)
        load_state(n, state, at, s)
        for a in range(n):
            row = j + a * n * d
            total = read_at(maps, row) * s[0]
            for b in range(1, n):
                total = total + read_at(maps, row + b * d) * s[b]
            write_at(state, at + a * LEAF, total)
        replica, coordinate = read_at(noise.replicas, r), read_at(sizes, FIRST) + j
        block = np.int32(0)
        while 4 * block < n:
            z = normals_of(noise, coordinate, replica, t, block, LEAP)
            for i in range(4):
                b = 4 * block + i
                if b < n:
                    for a in range(n):
                        factor = read_at(maps, j + 2 * part + (a * n + b) * d)
                        total = read_at(state, at + a * LEAF) + factor * np.float64(z[i])
                        write_at(state, at + a * LEAF, total)
            block = np.int32(block + 1)
        for a in range(n):
            write_at(state, at + a * LEAF, s[a] + read_at(state, at + a * LEAF))

    return leap_states


@cache
def measure_kernel(n: int) -> Any:
    """Return the kernel that records at a stop, and looks for divergence there.

    The first stop at which a coordinate is beyond the limit is the step of divergence.
    """

    @kernel
    def measure(model, sizes, settings, record, t, alive, state, partial, diverged_at):
        sums = cuda.shared.array(LEAF, np.float64)
        s = cuda.local.array(n, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        g = 0
        while g < settings:
            row = g * read_at(sizes, REPLICAS) + r
            if read_at(alive, row):
                load_state(n, state, state_offset(n, sizes, g), s)
                x = evaluated_iterate(n, model.read, g, s)
                if record >= 0:
                    at = record * settings * read_at(sizes, REPLICAS) + row
                    record_rows(model, x, at, sizes, sums, partial)
                if is_beyond(model, x):
                    cuda.atomic.min(diverged_at, row, t)
            g += 1

    return measure
