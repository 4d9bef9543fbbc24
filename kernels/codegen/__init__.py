"""Kernels as C: what Numba compiles while a program runs, translated to be compiled before.

So the hot code is written once, in Python, and a change of it reaches every backend. What is
translated is what the kernels use: scalars, arrays whose last axis is contiguous, tuples of a
known length, records; loops over ranges, of which short ones with known bounds are unrolled, as
Numba's are over the components of a state. As in Numba, a function is translated anew for other
types of its arguments. Anything else is refused, with the line it stands in.

Whole numbers have 64 bits; ``//`` and ``%`` are C's, so their operands must not be negative, and
slices must lie within their arrays.
"""

from __future__ import annotations

from .exports import write

__all__ = ["write"]
