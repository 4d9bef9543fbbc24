"""The kernels that take coordinates through a timeline by leaps, for GPUs.

A leap needs the map of many steps, and a draw from the law that it gives. Maps are those of
`exact.leap_map`, with rows of d numbers. They are in memory, since a leap's cost does not depend on
how many steps it spans.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..contract import LEAF
from ..exact.extended_maps import MOST_CANCELLATION, ONE_STEP_CANCELLATION
from ..noise import LEAP
from .jit import cuda, device, kernel, large_kernel, read_at, square_root, write_at
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

MAPS = 3
"""Maps that memory is needed for, and for their second digits: the result, a power, a spare one."""


@device
def product_error(x, y, product):
    """Return what rounding has taken from a product, from halves of digits (Dekker 1971)."""
    scaled_x = 134217729.0 * x  # 2^27 + 1
    scaled_y = 134217729.0 * y
    a = scaled_x - (scaled_x - x)
    b = scaled_y - (scaled_y - y)
    return ((a * b - product) + a * (y - b) + (x - a) * b) + (x - a) * (y - b)


@device
def plus(is_extended, high, low, x, x_low):
    """Add two numbers, of two doubles each if `is_extended`, as `extended_maps.plus` does."""
    total = high + x
    answer, rest = total, 0.0
    if is_extended:
        part = total - high
        rest = ((high - (total - part)) + (x - part)) + (low + x_low)
        answer = total + rest
        rest = rest - (answer - total)
    return answer, rest


@device
def plus_product(is_extended, high, low, x, x_low, y, y_low):
    """Add a product to a number; all are of two doubles each if `is_extended`."""
    product = x * y
    error = 0.0
    if is_extended:
        error = product_error(x, y, product) + (x * y_low + x_low * y)
    return plus(is_extended, high, low, product, error)


@device
def rows_of_map(n):
    """Return how many rows a map has: M, the diagonal of M - I, and a half of V."""
    return n * n + n + n * (n + 1) // 2


def numbers_of_maps(n: int) -> int:
    """Return the numbers of memory for each coordinate: M and L, and maps with second digits."""
    return int(2 * n * n + 2 * MAPS * (n * n + n + n * (n + 1) // 2))


@device
def row_of_pair(a, b):
    """Return the row of an element in a half of a symmetric matrix."""
    return a * (a + 1) // 2 + b if a > b else b * (b + 1) // 2 + a


@device
def low_at(is_extended, maps, at, low):
    """Return the second digits of a number, whose place is `low` behind; zero without them."""
    return read_at(maps, at + low) if is_extended else 0.0


@device
def compose(n, d, is_extended, second, first, out, low, maps):
    """Write the map at `first`, then that at `second`, to `out`; all are offsets in `maps`."""
    dev = n * n * d
    cov = dev + n * d
    a = 0
    while a < n:
        b = 0
        while b < n:
            x = 0.0
            x_low = 0.0
            k = 0
            while k < n:
                if a != b or k != a:
                    p = second + (a * n + k) * d
                    q = first + (k * n + b) * d
                    x, x_low = plus_product(
                        is_extended, x, x_low, read_at(maps, p), low_at(is_extended, maps, p, low),
                        read_at(maps, q), low_at(is_extended, maps, q, low),
                    )  # fmt: skip
                k += 1
            if a == b:
                y = read_at(maps, second + dev + a * d)
                y_low = low_at(is_extended, maps, second + dev + a * d, low)
                z = read_at(maps, first + dev + a * d)
                z_low = low_at(is_extended, maps, first + dev + a * d, low)
                change, change_low = plus(is_extended, y, y_low, z, z_low)
                change, change_low = plus_product(
                    is_extended, change, change_low, y, y_low, z, z_low
                )
                change, change_low = plus(is_extended, change, change_low, x, x_low)
                p = second + (a * n + a) * d
                q = first + (a * n + a) * d
                if abs(change) < 0.5:
                    x, x_low = plus(is_extended, 1.0, 0.0, change, change_low)
                else:
                    x, x_low = plus_product(
                        is_extended, x, x_low, read_at(maps, p), low_at(is_extended, maps, p, low),
                        read_at(maps, q), low_at(is_extended, maps, q, low),
                    )  # fmt: skip
                    change, change_low = plus(is_extended, x, x_low, -1.0, 0.0)
                write_at(maps, out + dev + a * d, change)
                if is_extended:
                    write_at(maps, out + dev + a * d + low, change_low)
            write_at(maps, out + (a * n + b) * d, x)
            if is_extended:
                write_at(maps, out + (a * n + b) * d + low, x_low)
            b += 1
        a += 1
    a = 0
    while a < n:
        b = 0
        while b <= a:
            at = cov + row_of_pair(a, b) * d
            x = read_at(maps, second + at)
            x_low = low_at(is_extended, maps, second + at, low)
            k = 0
            while k < n:
                carried = 0.0
                carried_low = 0.0
                i = 0
                while i < n:
                    p = second + (a * n + i) * d
                    q = first + cov + row_of_pair(k, i) * d
                    carried, carried_low = plus_product(
                        is_extended, carried, carried_low, read_at(maps, p),
                        low_at(is_extended, maps, p, low), read_at(maps, q),
                        low_at(is_extended, maps, q, low),
                    )  # fmt: skip
                    i += 1
                p = second + (b * n + k) * d
                x, x_low = plus_product(
                    is_extended, x, x_low, carried, carried_low, read_at(maps, p),
                    low_at(is_extended, maps, p, low),
                )  # fmt: skip
                k += 1
            write_at(maps, out + at, x)
            if is_extended:
                write_at(maps, out + at + low, x_low)
            b += 1
        a += 1


@device
def write_one_step(n, d, c, unit, kicks, out, low, maps):
    """Write the map of one step from the coefficients `c`, with a kick in multiples of `unit`.

    If there are further kicks, the covariance is left as it is.
    """
    row = (n + 1) * LEAF
    me = cuda.threadIdx.x
    dev = n * n * d
    cov = dev + n * d
    a = 0
    while a < n:
        b = 0
        while b < n:
            write_at(maps, out + (a * n + b) * d, read_at(c, a * row + b * LEAF + me))
            write_at(maps, out + (a * n + b) * d + low, 0.0)
            b += 1
        change = read_at(c, a * row + a * LEAF + me)
        x, x_low = plus(True, 1.0, 0.0, change, 0.0)
        write_at(maps, out + dev + a * d, change)
        write_at(maps, out + dev + a * d + low, 0.0)
        write_at(maps, out + (a * n + a) * d, x)
        write_at(maps, out + (a * n + a) * d + low, x_low)
        x = read_at(c, a * row + n * LEAF + me) / unit
        b = 0 if kicks == 0 else n
        while b <= a:
            y = read_at(c, b * row + n * LEAF + me) / unit
            at = out + cov + row_of_pair(a, b) * d
            product, product_low = plus_product(True, 0.0, 0.0, x, 0.0, y, 0.0)
            write_at(maps, at, product)
            write_at(maps, at + low, product_low)
            b += 1
        a += 1


@device
def write_identity(n, d, out, low, maps):
    """Write the map of no step."""
    at = 0
    while at < rows_of_map(n):
        x = 1.0 if at < n * n and at % (n + 1) == 0 else 0.0
        write_at(maps, out + at * d, x)
        write_at(maps, out + at * d + low, 0.0)
        at += 1


@device
def loses_digits(n, d, allowed, at, maps):
    """Whether terms cancel when the map is squared, see `extended_maps.loses_digits`."""
    answer = False
    a = 0
    while a < n:
        terms = 0.0
        result = 0.0
        k = 0
        while k < n:
            x = read_at(maps, at + (a * n + k) * d) * read_at(maps, at + (k * n + a) * d)
            terms += abs(x)
            result += x
            k += 1
        size = abs(result)
        if terms - allowed * (size if size > 1.0 else 1.0) > 0.0:
            answer = True
        a += 1
    return answer


@device
def largest_kick(n, c, largest):
    """Return the largest entry of the coordinate's kick, or `largest`."""
    a = 0
    while a < n:
        size = abs(read_at(c, (a * (n + 1) + n) * LEAF + cuda.threadIdx.x))
        largest = size if size > largest else largest
        a += 1
    return largest


@device
def factorize(n, d, V, unit, L, maps):
    """Write the lower Cholesky factor of the covariance at V to L; both are offsets in `maps`.

    A column without variance is zero. The factor is multiplied by `unit`.
    """
    a = 0
    while a < n:
        b = 0
        while b < n:
            x = 0.0
            if b <= a:
                x = read_at(maps, V + row_of_pair(a, b) * d)
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
    a = 0
    while a < n * n:
        write_at(maps, L + a * d, read_at(maps, L + a * d) * unit)
        a += 1


@cache
def map_kernel(n: int) -> Any:
    """Return the kernel for the map of many steps of setting g, see `exact.leap_map`.

    It leaves the map M and the factor L at the beginning of `maps`, in n n rows each.
    """
    elements = n * (n + 1)
    slots = elements * LEAF

    @large_kernel
    def find_map(model, timeline, sizes, segment, g, settings, kicks, steps, maps):
        c = cuda.shared.array(slots, np.float64)
        d = read_at(sizes, LEAVES) * LEAF
        j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
        components = read_at(sizes, COMPONENTS)
        part = components * components * d
        size = rows_of_map(components) * d
        low = MAPS * size
        build_coefficients(n, model, timeline, segment, g, settings, c)
        whole = j + 2 * part
        power, spare = whole + size, whole + 2 * size
        unit = largest_kick(components, c, 0.0)
        unit = unit if unit > 0.0 else 1.0
        if kicks > 0:
            unit = read_at(maps, spare)  # as `kicks` has left it
        write_one_step(components, d, c, unit, kicks, power, low, maps)
        is_extended = False
        if components > 1 and loses_digits(components, d, ONE_STEP_CANCELLATION, power, maps):
            compose(components, d, False, power, power, spare, low, maps)
            is_extended = loses_digits(components, d, MOST_CANCELLATION, spare, maps)
        write_identity(components, d, whole, low, maps)
        left, squares = steps, False
        while left > 0:  # alternate, so that `compose` is inlined once
            first = power if squares else whole
            if squares:
                left >>= 1
            if left > 0 if squares else left & 1:
                compose(components, d, is_extended, power, first, spare, low, maps)
                if squares:
                    power, spare = spare, power
                else:
                    whole, spare = spare, whole
            squares = not squares
        row = 0
        while row < components * components:
            write_at(maps, j + row * d, read_at(maps, whole + row * d))
            row += 1
        factorize(components, d, whole + part + components * d, unit, j + part, maps)

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
                        factor = read_at(maps, j + part + (a * n + b) * d)
                        total = read_at(state, at + a * LEAF) + factor * np.float64(z[i])
                        write_at(state, at + a * LEAF, total)
            block = np.int32(block + 1)

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
