"""Translation of the Numba kernels to C, so that they can be compiled ahead of time.

The hot code is written once, in Python, and a change of it reaches every backend. Only the part of
Python that the kernels use is translated: numbers, arrays whose last axis is contiguous, tuples of
a known length, and named tuples; loops over ranges, of which short ones with known bounds are
unrolled. As in Numba, a function is translated anew for other types of its arguments. Anything else
is refused by an error that names the line.

Whole numbers have 64 bits; ``//`` and ``%`` are C's, so their operands must not be negative, and
slices must lie within their arrays.
"""

from __future__ import annotations

from .exports import write

__all__ = ["write"]
