"""Leaps of a coordinate, for GPUs: the map of many steps, and draws of where it leads.

Matrices of a coordinate are in memory, an element of all coordinates after the other: a leap's
cost does not depend on how many steps it spans.
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
    build,
    evaluated,
    here,
    is_beyond,
    load,
    record_rows,
)

MAPS = 3  # matrices pairs that the map of many steps takes


@device
def compose(n, d, second, first, out, m):
    """The map at `first`, then that at `second`, to `out`; each has parts A - I, V and X."""
    part = n * n * d
    a = 0
    while a < n:
        b = 0
        while b < n:
            row, column = second + a * n * d, first + b * d
            total = read_at(m, row) * read_at(m, column)
            moved = read_at(m, row) * read_at(m, column + part)
            c = 1
            while c < n:
                row += d
                column += n * d
                total = total + read_at(m, row) * read_at(m, column)
                moved = moved + read_at(m, row) * read_at(m, column + part)
                c += 1
            at = (a * n + b) * d
            write_at(m, out + at, (read_at(m, second + at) + read_at(m, first + at)) + total)
            write_at(m, out + 2 * part + at, read_at(m, first + part + at) + moved)
            b += 1
        a += 1
    a = 0
    while a < n:
        b = 0
        while b < n:
            row, column = out + 2 * part + a * n * d, second + b * n * d
            total = read_at(m, row) * read_at(m, column)
            c = 1
            while c < n:
                row += d
                column += d
                total = total + read_at(m, row) * read_at(m, column)
                c += 1
            at = part + (a * n + b) * d
            moved = read_at(m, out + part + at)
            write_at(m, out + at, read_at(m, second + at) + (moved + total))
            b += 1
        a += 1


@device
def factorize(n, d, V, L, m):
    """Lower factor of the covariance at V, to L; a column without variance is zero."""
    a = 0
    while a < n:
        b = 0
        while b < n:
            x = 0.0
            if b <= a:
                x = read_at(m, V + (a * n + b) * d)
                c = 0
                while c < b:
                    x = x - read_at(m, L + (a * n + c) * d) * read_at(m, L + (b * n + c) * d)
                    c += 1
                if a == b:
                    x = square_root(x if x > 0.0 else 0.0)
                else:
                    pivot = read_at(m, L + (b * n + b) * d)
                    x = x / (pivot if pivot > 0.0 else 1.0) if pivot > 0.0 else 0.0
            write_at(m, L + (a * n + b) * d, x)
            b += 1
        a += 1


@cache
def map_kernel(n: int) -> Any:
    """The map of many steps of a setting: ``A - I``, then the factor of its covariance."""
    elements = n * (n + 1)
    slots = elements * LEAF

    @kernel
    def find_map(model, steps, sizes, segment, g, settings, many, m):
        c = cuda.shared.array(slots, np.float64)
        me = cuda.threadIdx.x
        d = read_at(sizes, LEAVES) * LEAF
        j = cuda.blockIdx.x * LEAF + me
        components = read_at(sizes, COMPONENTS)
        part = components * components * d
        build(n, model, steps, segment, g, settings, c)
        whole, power, spare = j, j + 3 * part, j + 6 * part
        kick = components * LEAF + me
        row = (components + 1) * LEAF
        a = 0
        while a < components:
            b = 0
            while b < components:
                at = (a * components + b) * d
                write_at(m, whole + at, 0.0)
                write_at(m, whole + part + at, 0.0)
                write_at(m, power + at, read_at(c, a * row + b * LEAF + me))
                write_at(
                    m, power + part + at, read_at(c, a * row + kick) * read_at(c, b * row + kick)
                )
                b += 1
            a += 1
        left, squares = many, False
        while left > 0:  # in turns, so that `compose` stands here once
            if squares:
                left >>= 1
                if left > 0:
                    compose(components, d, power, power, spare, m)
                    power, spare = spare, power
            elif left & 1:
                compose(components, d, power, whole, spare, m)
                whole, spare = spare, whole
            squares = not squares
        factorize(components, d, whole + part, whole + 2 * part, m)
        if whole != j:
            at = 0
            while at < 3 * part:
                write_at(m, j + at, read_at(m, whole + at))
                at += d

    return find_map


@cache
def jump_kernel(n: int) -> Any:
    """Draw the states of a setting at the end of a leap."""

    @kernel
    def jump(noise, sizes, g, t, alive, m, state):
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS) or not read_at(alive, g * read_at(sizes, REPLICAS) + r):
            return
        s = cuda.local.array(n, np.float64)
        j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        d = read_at(sizes, LEAVES) * LEAF
        part = read_at(sizes, COMPONENTS) * read_at(sizes, COMPONENTS) * d
        at = here(n, sizes, g)
        load(n, state, at, s)
        for a in range(n):
            row = j + a * n * d
            total = read_at(m, row) * s[0]
            for b in range(1, n):
                total = total + read_at(m, row + b * d) * s[b]
            write_at(state, at + a * LEAF, total)
        replica, coordinate = read_at(noise.replicas, r), read_at(sizes, FIRST) + j
        block = np.int32(0)
        while 4 * block < n:
            z = normals_of(noise, coordinate, replica, t, block, LEAP)
            for i in range(4):
                b = 4 * block + i
                if b < n:
                    for a in range(n):
                        factor = read_at(m, j + 2 * part + (a * n + b) * d)
                        total = read_at(state, at + a * LEAF) + factor * np.float64(z[i])
                        write_at(state, at + a * LEAF, total)
            block = np.int32(block + 1)
        for a in range(n):
            write_at(state, at + a * LEAF, s[a] + read_at(state, at + a * LEAF))

    return jump


@cache
def measure_kernel(n: int) -> Any:
    """Risk at a stop, recorded or not, and the first stop at which a leaf has diverged."""

    @kernel
    def measure(model, sizes, settings, record, t, last, alive, state, partial, first, exceeded):
        sums = cuda.shared.array(LEAF, np.float64)
        s = cuda.local.array(n, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= read_at(sizes, REPLICAS):
            return
        g = 0
        while g < settings:
            row = g * read_at(sizes, REPLICAS) + r
            if read_at(alive, row):
                load(n, state, here(n, sizes, g), s)
                x = evaluated(n, model.read, g, s)
                if record >= 0:
                    at = record * settings * read_at(sizes, REPLICAS) + row
                    record_rows(model, x, at, sizes, sums, partial)
                own = row * read_at(sizes, LEAVES) + cuda.blockIdx.x
                beyond = cuda.syncthreads_or(1 if is_beyond(model, x) else 0)
                if beyond and cuda.threadIdx.x == 0:
                    if read_at(first, own) < 0:
                        write_at(first, own, t)
                    if last:
                        cuda.atomic.min(exceeded, row, read_at(first, own))
            g += 1

    return measure
