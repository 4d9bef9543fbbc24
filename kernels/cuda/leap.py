"""Leaps of a coordinate, for GPUs: the map of many steps, and draws of where it leads.

Matrices of a coordinate are in memory, an element of all coordinates after the other: a leap's
cost does not depend on how many steps it spans.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..contract import LEAF, LIMIT
from ..noise import LEAP
from .jit import cuda, device, kernel, pick, put, square_root
from .noise import normals_of
from .step import COMPONENTS, FIRST, LEAVES, REPLICAS, build, here, load, record_risk, risk_of

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
            total = pick(m, row) * pick(m, column)
            moved = pick(m, row) * pick(m, column + part)
            c = 1
            while c < n:
                row += d
                column += n * d
                total = total + pick(m, row) * pick(m, column)
                moved = moved + pick(m, row) * pick(m, column + part)
                c += 1
            at = (a * n + b) * d
            put(m, out + at, (pick(m, second + at) + pick(m, first + at)) + total)
            put(m, out + 2 * part + at, pick(m, first + part + at) + moved)
            b += 1
        a += 1
    a = 0
    while a < n:
        b = 0
        while b < n:
            row, column = out + 2 * part + a * n * d, second + b * n * d
            total = pick(m, row) * pick(m, column)
            c = 1
            while c < n:
                row += d
                column += d
                total = total + pick(m, row) * pick(m, column)
                c += 1
            at = part + (a * n + b) * d
            moved = pick(m, out + part + at)
            put(m, out + at, pick(m, second + at) + (moved + total))
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
                x = pick(m, V + (a * n + b) * d)
                c = 0
                while c < b:
                    x = x - pick(m, L + (a * n + c) * d) * pick(m, L + (b * n + c) * d)
                    c += 1
                if a == b:
                    x = square_root(x if x > 0.0 else 0.0)
                else:
                    pivot = pick(m, L + (b * n + b) * d)
                    x = x / (pivot if pivot > 0.0 else 1.0) if pivot > 0.0 else 0.0
            put(m, L + (a * n + b) * d, x)
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
        d = pick(sizes, LEAVES) * LEAF
        j = cuda.blockIdx.x * LEAF + me
        components = pick(sizes, COMPONENTS)
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
                put(m, whole + at, 0.0)
                put(m, whole + part + at, 0.0)
                put(m, power + at, pick(c, a * row + b * LEAF + me))
                put(m, power + part + at, pick(c, a * row + kick) * pick(c, b * row + kick))
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
                put(m, j + at, pick(m, whole + at))
                at += d

    return find_map


@cache
def jump_kernel(n: int) -> Any:
    """Draw the states of a setting at the end of a leap."""

    @kernel
    def jump(noise, sizes, g, t, alive, m, state):
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= pick(sizes, REPLICAS) or not pick(alive, g * pick(sizes, REPLICAS) + r):
            return
        s = cuda.local.array(n, np.float64)
        j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        d = pick(sizes, LEAVES) * LEAF
        part = pick(sizes, COMPONENTS) * pick(sizes, COMPONENTS) * d
        at = here(n, sizes, g)
        load(n, state, at, s)
        for a in range(n):
            row = j + a * n * d
            total = pick(m, row) * s[0]
            for b in range(1, n):
                total = total + pick(m, row + b * d) * s[b]
            put(state, at + a * LEAF, total)
        replica, coordinate = pick(noise.replicas, r), pick(sizes, FIRST) + j
        block = np.int32(0)
        while 4 * block < n:
            z = normals_of(noise, coordinate, replica, t, block, LEAP)
            for i in range(4):
                b = 4 * block + i
                if b < n:
                    for a in range(n):
                        factor = pick(m, j + 2 * part + (a * n + b) * d)
                        total = pick(state, at + a * LEAF) + factor * np.float64(z[i])
                        put(state, at + a * LEAF, total)
            block = np.int32(block + 1)
        for a in range(n):
            put(state, at + a * LEAF, s[a] + pick(state, at + a * LEAF))

    return jump


@cache
def measure_kernel(n: int) -> Any:
    """Risk at a stop, recorded or not, and the first stop at which a leaf has diverged."""

    @kernel
    def measure(model, sizes, settings, record, t, last, alive, state, partial, first, exceeded):
        sums = cuda.shared.array(LEAF, np.float64)
        s = cuda.local.array(n, np.float64)
        r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
        if r >= pick(sizes, REPLICAS):
            return
        weight = pick(model.weight, cuda.blockIdx.x * LEAF + cuda.threadIdx.x)
        g = 0
        while g < settings:
            row = g * pick(sizes, REPLICAS) + r
            if pick(alive, row):
                load(n, state, here(n, sizes, g), s)
                risk = risk_of(n, model.read, g, weight, s)
                if record >= 0:
                    at = record * settings * pick(sizes, REPLICAS) + row
                    record_risk(model, risk, at, sizes, sums, partial)
                own = row * pick(sizes, LEAVES) + cuda.blockIdx.x
                beyond = cuda.syncthreads_or(0 if risk <= LIMIT else 1)
                if beyond and cuda.threadIdx.x == 0:
                    if pick(first, own) < 0:
                        put(first, own, t)
                    if last:
                        cuda.atomic.min(exceeded, row, pick(first, own))
            g += 1

    return measure
