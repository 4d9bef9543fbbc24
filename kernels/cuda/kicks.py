"""The kernel for the covariance of several kicks, which the map of a whole period has, for GPUs.

It is launched before the map of a leap is found, which then reads what this leaves in memory.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..contract import LEAF
from .jit import cuda, device, large_kernel, read_at, write_at
from .leap import MAPS, largest_kick, plus_product, row_of_pair, rows_of_map
from .step import COMPONENTS, LEAVES, build_coefficients


@device
def build_kick(n, model, timeline, segment, g, settings, kick, kicks, e, c):
    """Write a further kick over the first one in `c`; return the entry behind its last.

    Its entries are from e on, element by element as in `tasks`.
    """
    j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    factor = segment * model.source.size
    size = read_at(model.sigma, j) * read_at(timeline.amplitude, segment * settings + g)
    element = (settings * (n + 1) + g * kicks + kick) * n
    a = 0
    while a < n:
        total = 0.0
        while read_at(model.element, e) == element:
            source = read_at(model.source, e)
            value = 1.0 if source < 0 else read_at(model.values, source + j)
            total += read_at(timeline.factor, factor + e) * value
            e += 1
        write_at(c, (a * (n + 1) + n) * LEAF + cuda.threadIdx.x, total * size)
        element += 1
        a += 1
    return e


@device
def add_kick(n, d, c, unit, out, low, maps):
    """Add the covariance of the kick in `c` to a map."""
    row = (n + 1) * LEAF
    me = cuda.threadIdx.x
    a = 0
    while a < n:
        x = read_at(c, a * row + n * LEAF + me) / unit
        b = 0
        while b <= a:
            y = read_at(c, b * row + n * LEAF + me) / unit
            at = out + (n * n + n + row_of_pair(a, b)) * d
            total, total_low = plus_product(
                True, read_at(maps, at), read_at(maps, at + low), x, 0.0, y, 0.0
            )
            write_at(maps, at, total)
            write_at(maps, at + low, total_low)
            b += 1
        a += 1


@cache
def kick_kernel(n: int) -> Any:
    """Return the kernel for the covariance of several kicks of setting g, before `map_kernel`.

    It leaves their unit where that has a spare map, and the covariance in the map of one step.
    """
    slots = n * (n + 1) * LEAF

    @large_kernel
    def add_kicks(model, timeline, sizes, segment, g, settings, kicks, maps):
        c = cuda.shared.array(slots, np.float64)
        d = read_at(sizes, LEAVES) * LEAF
        components = read_at(sizes, COMPONENTS)
        size = rows_of_map(components) * d
        low = MAPS * size
        power = cuda.blockIdx.x * LEAF + cuda.threadIdx.x + 2 * components * components * d + size
        unit = 0.0
        e = 0
        turn = 0
        while turn < 2 * (kicks + 1):  # all kicks twice, so that what builds them is inlined once
            if turn % (kicks + 1) == 0:
                build_coefficients(n, model, timeline, segment, g, settings, c)
                e = read_at(model.begin, settings + g)
            else:
                kick = turn % (kicks + 1) - 1
                e = build_kick(components, model, timeline, segment, g, settings, kick, kicks, e, c)
            if turn <= kicks:
                unit = largest_kick(components, c, unit)
            else:
                if turn == kicks + 1:
                    unit = unit if unit > 0.0 else 1.0
                    row = components * components + components
                    while row < rows_of_map(components):
                        write_at(maps, power + row * d, 0.0)
                        write_at(maps, power + row * d + low, 0.0)
                        row += 1
                add_kick(components, d, c, unit, power, low, maps)
            turn += 1
        write_at(maps, power + size, unit)

    return add_kicks
