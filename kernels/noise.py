"""Noise as a pure function of (seed, replica, coordinate, step, sample).

Written once for all backends: every function here takes NumPy arrays, or the scalars of a
compiled kernel, and does the same IEEE operations on both. Numbers have their width spelled
out, because NumPy and compilers promote integers differently.

The generator is Philox4x32 with 10 rounds (Salmon et al. 2011): a 128-bit counter and a
64-bit key, the seed, give four 32-bit words. The counter holds, from its low bits up::

    word 0    coordinate                           32 bits
    words 1, 2 (low 8 bits)   step // 4            40 bits
    word 2 (high 24 bits)     replica              24 bits
    word 3    block of samples, then the purpose   28 + 4 bits

One block of four words serves a quad: four consecutive steps of one coordinate. The `Law` says what
a sample takes of it, mostly one word for each of the four steps. The normal law takes both
Box-Muller pairs of the four words; Student's t takes words (0, 1) and (2, 3) for two steps, so
that a sample of all four takes two blocks; and a word has 32 Rademacher samples, one bit each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

STREAM = 1  # the version of the stream, which all that follows defines

COORDINATES = 1 << 32
STEPS = 1 << 42
REPLICAS = 1 << 24
BLOCKS = 1 << 28  # blocks of samples for one coordinate and quad

GRADIENT, START, LEAP = range(3)  # purposes of the noise

WORD = 32  # bits in a word of the generator

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)

_f = np.float32
_HALF = _f(0.5)


def fma(x: Any, y: Any, z: Any) -> Any:
    """Return ``x * y + z`` in float32, rounded once; compiled kernels use the instruction.

    The product is exact in float64. The sum is rounded to odd there: towards zero, and then its
    last bit is set if anything was lost. Rounding that to float32 gives the rounded exact sum.
    """
    product = np.float64(x) * np.float64(y)
    addend = np.float64(z)
    total = product + addend
    part = total - product
    lost = (product - (total - part)) + (addend - part)
    bits = total.view(np.uint64)
    beyond = (bits ^ lost.view(np.uint64)) >> np.uint64(63)  # 1 where the sum was rounded up
    odd = (bits - beyond) | np.uint64(1)
    return np.float32(select(lost != 0.0, odd, bits).view(np.float64))


def select(condition: Any, x: Any, y: Any) -> Any:
    """Return `x` where the condition holds, else `y`."""
    return np.where(condition, x, y)


def root(x: Any) -> Any:
    """Return the correctly rounded square root; GPUs replace this function."""
    return np.sqrt(x)


def product(x: Any, y: Any) -> Any:
    """Multiply the low half of a uint64 by a number below 2^32, as vector instructions do."""
    return (x & _LOW) * y


def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return four uint32 words for a counter and a key, given as uint64 whose low halves count."""
    for _ in range(10):
        p0 = product(c0, _M0)
        p1 = product(c2, _M1)
        c0 = (p1 >> _WORD) ^ c1 ^ k0
        c1 = p1
        c2 = (p0 >> _WORD) ^ c3 ^ k1
        c3 = p0
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return np.uint32(c0 & _LOW), np.uint32(c1 & _LOW), np.uint32(c2 & _LOW), np.uint32(c3 & _LOW)


def counter(quad: Any, replica: Any, block: Any, purpose: Any) -> Any:
    """Return words 1 to 3 of the counter, as uint64, for steps ``4 quad .. 4 quad + 3``."""
    high = (np.uint64(quad) >> _WORD) | (np.uint64(replica) << np.uint64(8))
    return (
        np.uint64(quad) & _LOW,
        high,
        np.uint64(block) | (np.uint64(purpose) << np.uint64(28)),
    )


def root_from(x: Any, y: Any) -> Any:
    """Return the correctly rounded square root of a float32, given `y` close to ``1 / sqrt(x)``.

    `y` may be off by 6 units in its last place, which a step of Goldschmidt's method corrects. GPUs
    have an instruction for `y`; their own square root calls a subroutine for rare numbers.
    """
    s, half = x * y, _HALF * y
    off = fma(-s, half, _HALF)
    half = fma(half, off, half)
    s = fma(s, off, s)
    return fma(fma(-s, s, x), half, s)


# -- float32 functions; coefficients are minimax fits, made for these ranges ----------------

_ONE = _f(1.0)
_HALF_ROOT_BITS = np.int32(0x3F3504F3)  # sqrt(1/2)
_MANTISSA = np.int32(23)
# -log(1 + f) = -f + f^2 / 2 + f^3 p(f), on sqrt(1/2) - 1 <= f < sqrt(2) - 1, to 6e-9
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = (
    _f(x)
    for x in (
        0.07634495195223874,
        -0.12761575402955433,
        0.1316018208367762,
        -0.14201758240744003,
        0.16623357411911888,
        -0.20001226865955146,
        0.2500082103179696,
        -0.33333331707873104,
    )
)
_MINUS_LOG2 = _f(-0.6931471805599453)
# sin(pi x / 2) = x s(x^2) and cos(pi x / 2) = 1 + x^2 c(x^2), on |x| <= 1/2, to 3e-9 and 6e-11
_S0, _S1, _S2, _S3 = (
    _f(x)
    for x in (-0.004602176981086045, 0.07968022806234329, -0.6459634786414742, 1.5707963219668168)
)
_C0, _C1, _C2, _C3 = (
    _f(x)
    for x in (0.0009040605657445024, -0.02086030850034915, 0.253669247228377, -1.233700543507857)
)
_TURN = _f(2.0**-32)
_SIGN = np.uint32(0x80000000)
# exp(r) - 1 = r + r^2 e(r), on |r| <= log(2) / 2, to 1.4e-8
_E0, _E1, _E2, _E3, _E4 = (
    _f(x)
    for x in (
        0.00139464159009472,
        0.008366564742079672,
        0.04166628260990399,
        0.16666543172121653,
        0.5000000061709845,
    )
)
_PER_LOG2 = _f(1.4426950408889634)
_MINUS_LOG2_HIGH = _f(-0.693359375)  # few bits, so that its multiples are exact
_MINUS_LOG2_LOW = _f(0.00021219444)
_ROUND = _f(1.5 * 2.0**23)  # adding it rounds to a whole number


def minus_log(v: Any) -> Any:
    """Return ``-log(v / 2^32)`` for float32 v in [1/2, 2^32]."""
    bits = np.float32(v).view(np.int32)
    k = np.int32(np.int32(bits - _HALF_ROOT_BITS) >> _MANTISSA)
    f = np.int32(bits - np.int32(k << _MANTISSA)).view(np.float32) - _ONE
    p = fma(_L0, f, _L1)
    p = fma(p, f, _L2)
    p = fma(p, f, _L3)
    p = fma(p, f, _L4)
    p = fma(p, f, _L5)
    p = fma(p, f, _L6)
    p = fma(p, f, _L7)
    square = f * f
    tail = fma(square * f, p, fma(_HALF, square, -f))
    return fma(np.float32(np.int32(k - np.int32(32))), _MINUS_LOG2, tail)


def open_unit(word: Any) -> Any:
    """Return ``word + 1/2`` as float32, which is 2^32 times a uniform number in (0, 1]."""
    return np.float32(word) + _HALF


def cos_sin(word: Any) -> Any:
    """Return cosine and sine of a uniform angle; the top two bits of the word are the quadrant q.

    The other thirty, rounded to float32, are a signed x in [-1/2, 1/2]; the angle is
    ``pi/2 (q + x)``.
    """
    x = np.float32(np.uint32(word << np.uint32(2)).view(np.int32)) * _TURN
    y = x * x
    s = fma(_S0, y, _S1)
    s = fma(s, y, _S2)
    s = fma(s, y, _S3)
    s = s * x
    c = fma(_C0, y, _C1)
    c = fma(c, y, _C2)
    c = fma(c, y, _C3)
    c = fma(c, y, _ONE)
    crossed = np.uint32(word & np.uint32(0x40000000)) != np.uint32(0)
    cosine = select(crossed, s, c)
    sine = select(crossed, c, s)
    flip = np.uint32(np.uint32(word ^ np.uint32(word << np.uint32(1))) & _SIGN)
    cosine = np.uint32(np.float32(cosine).view(np.uint32) ^ flip).view(np.float32)
    flip = np.uint32(word & _SIGN)
    sine = np.uint32(np.float32(sine).view(np.uint32) ^ flip).view(np.float32)
    return cosine, sine


def box_muller(a: Any, b: Any) -> Any:
    """Return two independent float32 normals from two words (Box and Muller 1958).

    They are within 1e-6 of the exact transform of what `open_unit` and `cos_sin` make of the words.
    """
    half = minus_log(open_unit(a))
    radius = root(half + half)
    cosine, sine = cos_sin(b)
    return radius * cosine, radius * sine


def laplace(word: Any) -> Any:
    """Return a float32 of density ``exp(-|x|) / 2``; the top bit of the word is the sign."""
    v = np.float32(np.uint32(word << np.uint32(1))) + _ONE
    size = np.float32(minus_log(v)).view(np.uint32)
    return np.uint32(size ^ np.uint32(word & _SIGN)).view(np.float32)


def expm1(y: Any) -> Any:
    """Return ``exp(y) - 1`` for float32 y in [0, 80]."""
    rounded = fma(y, _PER_LOG2, _ROUND)
    k = rounded - _ROUND
    r = fma(k, _MINUS_LOG2_LOW, fma(k, _MINUS_LOG2_HIGH, y))
    p = fma(_E0, r, _E1)
    p = fma(p, r, _E2)
    p = fma(p, r, _E3)
    p = fma(p, r, _E4)
    p = fma(r * r, p, r)
    power = np.int32(np.int32(np.int32(k) + np.int32(127)) << _MANTISSA).view(np.float32)
    return fma(power, p, power - _ONE)


def student_t_log(a: Any, exponent: Any) -> Any:
    """Return ``-exponent log U``, which `student_t_of_log` needs of the first word."""
    return exponent * minus_log(open_unit(a))


def student_t_of_log(log: Any, b: Any) -> Any:
    """Return ``sqrt(exp(log) - 1) cos(2 pi V)``."""
    cosine, _ = cos_sin(b)
    return root(expm1(log)) * cosine


def student_t(a: Any, b: Any, exponent: Any) -> Any:
    """Return Student's t over sqrt(df): ``sqrt(U^-exponent - 1) cos(2 pi V)``.

    The exponent is ``2 / df``. This is the trigonometric form of Bailey 1994 (Mathematics of
    Computation 62).
    """
    return student_t_of_log(student_t_log(a, exponent), b)


def ones(word: Any) -> Any:
    """Return how many bits of a uint32 are set."""
    x = np.uint32(word - np.uint32(np.uint32(word >> np.uint32(1)) & np.uint32(0x55555555)))
    x = np.uint32(
        np.uint32(x & np.uint32(0x33333333))
        + np.uint32(np.uint32(x >> np.uint32(2)) & np.uint32(0x33333333))
    )
    x = np.uint32(np.uint32(x + np.uint32(x >> np.uint32(4))) & np.uint32(0x0F0F0F0F))
    return np.uint32(np.uint32(x * np.uint32(0x01010101)) >> np.uint32(24))


def signed(word: Any) -> Any:
    """Return a word as a signed whole number."""
    return np.uint32(word).view(np.int32)


# -- laws of the data ---------------------------------------------------------------------


def normal_of_words(a: Any, b: Any, c: Any, d: Any, parameter: Any) -> Any:
    """Return a normal for each of four steps."""
    w, x = box_muller(a, b)
    y, z = box_muller(c, d)
    return w, x, y, z


def laplace_of_words(a: Any, b: Any, c: Any, d: Any, parameter: Any) -> Any:
    """Return a Laplace variate for each of four steps."""
    return laplace(a), laplace(b), laplace(c), laplace(d)


def student_t_of_words(a: Any, b: Any, c: Any, d: Any, parameter: Any) -> Any:
    """Return Student's t for two of four steps; the parameter is ``2 / df``."""
    return student_t(a, b, parameter), student_t(c, d, parameter)


STUDENT_T_RANGE = (2.75, 1e12)
"""Degrees of freedom at which samples scaled to variance 1 are too wide by less than 0.1 %.

Below, much of the variance is in tails that words of 32 bits do not reach: the scale makes up for
that in the body, by 22 % at 2.1. Above, ``U^(-2 / df) - 1`` has no digits, and the law is normal.
"""


def _student_t_scale(df: float) -> float:
    """Return the factor that gives a sample of `student_t` variance 1."""
    from scipy.special import zeta

    # E[U^-s] over the midpoints of 2^32 cells, by Hurwitz's zeta function
    s = 2.0 / df
    mean = 1.0 / (1.0 - s) + 2.0 ** (32.0 * (s - 1.0)) * (2.0**s - 1.0) * float(zeta(s))
    return float(np.sqrt(2.0 / (mean - 1.0)))


class Law(NamedTuple):
    """A law of the data: how words become samples, and how samples are summed.

    A law of real numbers has `variates`, which turns the four words of a block into one sample for
    each of `steps` steps: four, or two, in which case a sample of all four takes two blocks.
    Samples are added up as float64 numbers. Where a variate of two words takes more constants than
    a processor has registers, `stages` are two functions, of the first word and the parameter, and
    of that and the second word, through which kernels for the CPU take many coordinates in turn.

    A law of whole numbers has `count_of` instead. A block has one word for each of four steps, and
    a word has `per_word` samples, whose sum is the count; bits that belong to no sample are 0.
    Counts are added up as whole numbers, and the sum of n samples is ``factor count + shift n``.
    """

    code: int
    variates: Callable[..., Any] | None = None
    count_of: Callable[..., Any] | None = None
    stages: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    steps: int = 4
    per_word: int = 1
    factor: int = 1
    shift: float = 0.0
    scale: Callable[[float], float] = lambda df: 1.0
    """From df to the factor that gives a sample variance 1, at the words' finite resolution."""
    df_range: tuple[float, float] | None = None
    """Least and largest degrees of freedom df, if the law has this parameter."""

    @property
    def most_samples(self) -> int:
        """The largest batch size for which every sample has words of its own."""
        return BLOCKS * self.per_word * self.steps // 4


LAWS = {
    "normal": Law(0, variates=normal_of_words),
    "uniform": Law(
        1, count_of=signed, shift=0.5, scale=lambda df: float(np.sqrt(12.0)) * 2.0**-WORD
    ),
    "rademacher": Law(2, count_of=ones, per_word=WORD, factor=2, shift=-1.0),
    "laplace": Law(3, variates=laplace_of_words, scale=lambda df: float(np.sqrt(0.5))),
    "student-t": Law(
        4,
        variates=student_t_of_words,
        stages=(student_t_log, student_t_of_log),
        steps=2,
        scale=_student_t_scale,
        df_range=STUDENT_T_RANGE,
    ),
}
"""All laws by name; samplers, checks of input, and error messages follow from this table."""


SHARED: tuple[Any, ...] = (
    root,
    product,
    philox,
    counter,
    minus_log,
    open_unit,
    cos_sin,
    box_muller,
    laplace,
    expm1,
    student_t_log,
    student_t_of_log,
    student_t,
    *(law.variates or law.count_of for law in LAWS.values()),
)
"""Functions that compiled backends use as they stand; only `fma` and `select` are others there."""
