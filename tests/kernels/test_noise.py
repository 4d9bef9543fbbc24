"""The generator, and the variates made of its words."""

import math
from fractions import Fraction
from functools import cache
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from helpers import DATA, random_words
from nqm_fast.kernels import load_backend, noise, reference
from nqm_fast.kernels.contract import LEAF, TILE, Chunk, Model, Noise, Timeline
from nqm_fast.kernels.excursions import extremes

EDGES = np.unique([w for k in range(32) for w in (2**k - 1, 2**k)] + [2**32 - 1]).astype(np.uint32)
UNIT = (0,) * (TILE // LEAF)


@pytest.fixture
def backend(machine):
    return load_backend(machine)


def same_bits(x, y):
    return x.dtype == y.dtype and np.array_equal(x.view(np.uint32), y.view(np.uint32))


# -- the generator -----------------------------------------------------------------------


def known_answers():
    """Counters, keys and words, as Salmon et al. published them."""
    lines = (DATA / "philox4x32_10.csv").read_text().split()
    table = np.array([[int(w, 16) for w in line.split(",")] for line in lines[1:]], dtype=np.uint32)
    assert table.shape == (3, 10)
    return table[:, :4], table[:, 4:6], table[:, 6:]


def test_known_answers(backend):
    counters, keys, words = known_answers()
    assert same_bits(backend.philox4x32(counters, keys), words)


@pytest.mark.parametrize("constant", ["_M0", "_M1", "_W0", "_W1"])
def test_a_wrong_constant_has_other_answers(monkeypatch, constant):
    monkeypatch.setattr(noise, constant, getattr(noise, constant) ^ np.uint64(2))
    counters, keys, words = known_answers()
    assert (reference.BACKEND.philox4x32(counters, keys) != words).any(axis=1).all()


def test_backends_have_the_same_words(backend):
    arguments = random_words(1, 100_000, 4), random_words(2, 100_000, 2)
    assert same_bits(backend.philox4x32(*arguments), reference.BACKEND.philox4x32(*arguments))


# how many values each field of the counter has, from its low bits up
FIELDS = noise.COORDINATES, noise.STEPS // 4, noise.REPLICAS, noise.BLOCKS, 1 << 4


def words_of(*fields):
    """The documented layout: fields are digits of one number of 128 bits, cut into words."""
    number, width = 0, 1
    for value, size in zip(fields, FIELDS, strict=True):
        assert 0 <= value < size
        number, width = number + value * width, width * size
    assert width == 2**128
    return [number >> 32 * i & 0xFFFFFFFF for i in range(4)]


def test_everything_has_a_counter_of_its_own():
    extremes = np.stack(np.meshgrid(*[[0, size - 1] for size in FIELDS]), axis=-1).reshape(-1, 5)
    rows = np.concatenate([extremes, np.random.default_rng(3).integers(0, FIELDS, (1000, 5))])
    found = np.stack(noise.counter(*rows[:, 1:].T), axis=1)
    assert found.tolist() == [words_of(*row)[1:] for row in rows.tolist()]
    assert len({noise.GRADIENT, noise.START, noise.LEAP}) == 3


RISK_ALONE, NO_GROUPS = np.array([[0, 0]]), np.zeros(0, dtype=np.int64)


def drawn(backend, first, replica, step, seed):
    """What a step adds to an iterate that is at 0, and where a run starts."""
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    stream = Noise(
        key, np.array([replica]), first, noise.LAWS["normal"].code, False, np.float32(0.0)
    )
    one, number = np.ones(LEAF), np.ones((1, 1), dtype=np.int64)
    only_b = np.array([[0, 0, 1, -1]]), np.array([0, 1])
    given = one[None], one, one[None]
    last = RISK_ALONE, NO_GROUPS, one[None, :1], extremes(*given)
    model = Model(*only_b, one[:1], *given, *last)
    factors = one.reshape(-1, 1, 1)[:1], one[None, :1]
    timeline = Timeline(step, step + 1, np.array([step + 1]), *factors, number, number[0, :0])
    state = np.zeros((1, 1, 1, LEAF))
    backend.advance(Chunk(stream, model, timeline, state, number > 0, 1))
    return state.ravel(), backend.start(stream, 0.0 * one, one, 1).ravel()


@pytest.mark.parametrize(
    ("first", "replica", "step", "seed"),
    [
        (0, 0, 0, 0),
        (TILE, 1, 5, 1 << 32),
        (2**31 - LEAF, 77, 4 * 2**32 + 2, 0x0123456789ABCDEF),
        (2**32 - LEAF, noise.REPLICAS - 1, noise.STEPS - 1, 2**64 - 1),
    ],
)
def test_what_a_simulation_draws(backend, first, replica, step, seed):
    """The noise of a step and of the start are those of the documented counters."""
    moved, started = drawn(backend, first, replica, step, seed)
    keys = np.array([[seed & 0xFFFFFFFF, seed >> 32]] * LEAF, dtype=np.uint32)
    places = (moved, step // 4, step % 4, noise.GRADIENT), (started, 0, 0, noise.START)
    for found, quad, lane, purpose in places:
        counters = [words_of(first + j, quad, replica, 0, purpose) for j in range(LEAF)]
        words = reference.BACKEND.philox4x32(np.array(counters, dtype=np.uint32), keys)
        assert np.array_equal(found, np.float64(reference.normals(words)[:, lane]))


# -- variates against 40 digits ----------------------------------------------------------

WORST = 0x72, 0x1F26EEF0  # the largest error of all 2^64 pairs, found by exhaustion: 9.90e-7
NEARLY_ONE = 2**32 - 2**24


def first_words():
    """Every binary exponent, with mantissas all over, at the ends and about sqrt(1/2)."""
    rng = np.random.default_rng(4)
    words = {0, 2**32 - 1, NEARLY_ONE - 1, NEARLY_ONE, WORST[0]}
    for power in (2**k for k in range(32)):
        words |= {power, 2 * power - 1} | {int(m * power) for m in rng.uniform(1.0, 2.0, 8)}
        words |= {int(math.sqrt(2.0) * power) + i * max(power >> 23, 1) for i in range(-1, 3)}
    return np.array(sorted(words), dtype=np.uint32)


def second_words():
    """Words in all four quadrants, with x all over, at the ends and about 0."""
    x = {0, -(2**29), 2**29 - 1, WORST[1]}
    x |= set(np.random.default_rng(5).integers(-(2**29), 2**29, 50).tolist())
    x |= {s * (2**k + i) for k in range(2, 29) for i in (-1, 0) for s in (-1, 1)}
    words = {(quadrant << 30) + (i & 0x3FFFFFFF) for quadrant in range(4) for i in x}
    return np.array(sorted(words), dtype=np.uint32)


def minus_log(cell):
    return 32 * mpmath.ln2 - mpmath.log(mpmath.mpf(float(cell)))


def cos_sin(word):
    """Cosine and sine of the angle ``pi/2 (q + x)``, with x rounded to float32."""
    x = float(np.float32(np.uint32(word << np.uint32(2)).view(np.int32)))
    angle = ((int(word) >> 30) + mpmath.mpf(x) / 2**32) / 2
    return mpmath.cospi(angle), mpmath.sinpi(angle)


def worst_normal(backend):
    """Largest error of the normals of all first words with all second words.

    The uniform number is that of the word, ``(word + 1/2) / 2^32``, but where the radius is
    below 0.09: float32 has steps of 2^-24 there, and what it makes of the word is the number.
    """
    a, b = first_words(), second_words()
    rounded = np.float64(np.float32(a) + np.float32(0.5))
    cells = np.where(a < NEARLY_ONE, np.float64(a) + 0.5, rounded)
    with mpmath.workdps(40):  # then as float64, whose error is a billionth of what is tested
        radius = np.array([float(mpmath.sqrt(2 * minus_log(cell))) for cell in cells])
        angle = np.array([[float(x) for x in cos_sin(word)] for word in b])
    first, second = (words.ravel() for words in np.meshgrid(a, b, indexing="ij"))
    z = backend.normals(np.stack([first, second, first, second], axis=1))
    assert same_bits(z[:, :2].copy(), z[:, 2:].copy())
    return np.abs(z[:, :2] - (radius[:, None, None] * angle).reshape(-1, 2)).max()


def test_normals_to_a_millionth(backend):
    assert {w.bit_length() for w in first_words().tolist()} == set(range(33))
    assert 9.89e-7 < worst_normal(backend) < 1e-6  # the worst pair is among them


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("_L7", 1.0001), ("_L4", 1.001), ("_L0", 1.1), ("_MINUS_LOG2", 1.000001),
        ("_S3", 1.000001), ("_S0", 1.1), ("_C3", 1.00001), ("_C0", 1.1),
        ("_SIGN", 0), ("_TURN", 0.999999), ("_HALF", 1.001),
    ],
)  # fmt: skip
def test_a_wrong_constant_is_noticed(monkeypatch, name, factor):
    constant = getattr(noise, name)
    monkeypatch.setattr(noise, name, type(constant)(constant * factor))
    assert not worst_normal(reference) < 1e-6


def test_minus_log():
    v = np.float32(first_words()) + np.float32(0.5)
    with mpmath.workdps(40):
        exact = np.array([float(minus_log(x)) for x in v])
    assert (np.abs(noise.minus_log(v) - exact) <= 1.3e-7 * exact).all()
    assert noise.minus_log(np.float32([2.0**32]))[0] == 0.0


def test_laplace():
    """Errors are those of float32: of the variate, and of a uniform number below 1."""
    words = np.concatenate([first_words(), EDGES, random_words(6, 500)])
    with mpmath.workdps(40):
        size = np.array([float(minus_log(2.0 * (int(w) % 2**31) + 1.0)) for w in words])
    found = noise.laplace(words)
    assert (np.abs(np.abs(found) - size) <= 1.3e-7 * size + 2.0**-25).all()
    assert np.array_equal(np.signbit(found), words >= 2**31)


@pytest.mark.parametrize("df", [2.01, 2.5, 5.0, 30.0, 1e6])
def test_student_t(df):
    exponent = np.float32(2.0 / df)
    a = first_words()
    b = np.resize(second_words(), a.size)
    v = np.float32(a) + np.float32(0.5)
    with mpmath.workdps(40):
        power = mpmath.mpf(float(exponent))
        radius = [mpmath.sqrt(mpmath.expm1(power * minus_log(x))) for x in v]
        exact = [float(r * cos_sin(w)[0]) for r, w in zip(radius, b, strict=True)]
    errors = np.abs(noise.student_t(a, b, exponent) - exact)
    assert (errors <= 1.3e-6 * np.array(radius, dtype=float)).all()


def test_expm1():
    y = np.float32(np.concatenate([[0.0], np.geomspace(1e-30, 80.0, 2000)]))
    with mpmath.workdps(60):
        exact = np.array([float(mpmath.expm1(float(x))) for x in y])
    assert (np.abs(noise.expm1(y) - exact) <= 1.3e-7 * exact).all()


@pytest.mark.parametrize("df", [2.01, 2.5, 5.0, 30.0, 1e4])
def test_scale_of_student_t(df):
    """The mean of U^-s over the midpoints of 2^32 cells, by Hurwitz's zeta function."""
    with mpmath.workdps(40):
        s, cells, half = 2 / mpmath.mpf(df), mpmath.mpf(2) ** 32, mpmath.mpf(1) / 2
        mean = cells ** (s - 1) * (mpmath.zeta(s, half) - mpmath.zeta(s, cells + half))
        assert noise.LAWS["student-t"].scale(df) == pytest.approx(
            float(mpmath.sqrt(2 / (mean - 1))), rel=1e-11
        )


def test_ones():
    words = np.concatenate([EDGES, random_words(7, 10_000)])
    assert noise.ones(words).tolist() == [word.bit_count() for word in words.tolist()]


# -- the same bits from compiled code ----------------------------------------------------


def test_backends_have_the_same_normals(backend):
    pairs = np.stack(np.meshgrid(EDGES, EDGES), axis=-1).reshape(-1, 2)
    words = np.concatenate([random_words(8, 100_000, 4), np.hstack([pairs, pairs[::-1]])])
    assert same_bits(backend.normals(words), reference.normals(words))


def test_compiled_variates_have_the_same_bits():
    numba_noise = pytest.importorskip("nqm_fast.kernels.numba.noise")
    rows = np.concatenate([random_words(9, 39 * 4 * TILE), np.resize(EDGES, 4 * TILE)])
    z, count = np.empty(4 * TILE, dtype=np.float32), np.empty(TILE, dtype=np.int64)
    make_laplaces = numba_noise.variates_kernel(noise.LAWS["laplace"])
    make_students = numba_noise.variates_kernel(noise.LAWS["student-t"])
    add_ones = numba_noise.count_kernel(noise.LAWS["rademacher"])
    for words in rows.reshape(-1, 4 * TILE):
        make_laplaces(UNIT, np.float32(0.0), words, z)
        assert same_bits(z, noise.laplace(words))
        a, b, c, d = words.reshape(4, TILE)
        for exponent in np.float32([0.99, 0.4, 1e-6]):
            make_students(UNIT, exponent, words, z)
            pairs = noise.student_t(a, b, exponent), noise.student_t(c, d, exponent)
            assert same_bits(z[: 2 * TILE], np.concatenate(pairs))
        count[:] = 1
        add_ones(UNIT, np.uint32(0x7FFFFFFF), a, count)
        assert np.array_equal(count, 1 + noise.ones(a & np.uint32(0x7FFFFFFF)))


def triples():
    """Sums of like and unlike sizes, and some that float64 rounds to a tie of float32."""
    rng = np.random.default_rng(10)
    x, y, z = (rng.normal(size=3000) * 2.0 ** rng.integers(-30, 30, 3000) for _ in range(3))
    z[::3] = -x[::3] * y[::3]  # most of it cancels
    k, m = rng.integers(15, 24, 3000), rng.integers(0, 2**23, 3000)
    near = 2.0**-12 * (1.0 + 2.0**-k), 2.0**-12 * (1.0 - 2.0**-k)  # their product is 2^-24, almost
    hard = near[0] * rng.choice([-1.0, 1.0], 3000), near[1], 1.0 + 2.0**-23 * m
    return np.float32([np.concatenate(row) for row in zip((x, y, z), hard, strict=True)])


def test_fma_is_rounded_once():
    def nearest(x):
        guess = np.float32(float(x))
        around = guess, *(np.nextafter(guess, np.float32(end)) for end in (-np.inf, np.inf))
        return min(around, key=lambda y: (abs(Fraction(float(y)) - x), y.view(np.int32) & 1))

    x, y, z = triples()
    rows = (map(Fraction, map(float, row)) for row in zip(x, y, z, strict=True))
    exact = np.array([nearest(a * b + c) for a, b, c in rows])
    assert np.array_equal(noise.fma(x, y, z), exact)
    twice = np.float32(np.float64(x) * np.float64(y) + np.float64(z))
    assert np.count_nonzero(twice != exact) > 1000  # the hard cases are hard


def test_fma_is_the_instruction():
    numba = pytest.importorskip("numba")
    pytest.importorskip("nqm_fast.kernels.numba.jit")  # which says what it is compiled to
    compiled = numba.vectorize(lambda x, y, z: noise.fma(x, y, z))
    zeros = np.stack(np.meshgrid(*np.float32([[0.0, -0.0, 1.0, -1.0]] * 3))).reshape(3, -1)
    rows = np.hstack([triples(), zeros])
    assert same_bits(compiled(*rows), noise.fma(*rows))


# -- the square root ---------------------------------------------------------------------

PARTS = np.linspace(0x3F800000, 0x40800000, 17, dtype=np.uint32)  # from 1 to 4


@cache
def compiled_root():
    numba = pytest.importorskip("numba")
    jit = pytest.importorskip("nqm_fast.kernels.numba.jit")
    root_from = jit.extending.register_jitable(**jit.OPTIONS)(noise.root_from)
    return numba.vectorize(lambda x, y: root_from(x, y))


@pytest.mark.parametrize("off", [-6, -2, -1, 0, 1, 2, 6])
def test_the_root_is_correctly_rounded(off):
    """It is for every mantissa and parity of the exponent, from inverses that are a little off."""
    for first, last in pairwise(PARTS):
        x = np.arange(first, last, dtype=np.uint32).view(np.float32)
        inverse = (1.0 / np.sqrt(x.astype(np.float64))).astype(np.float32)
        y = (inverse.view(np.int32) + np.int32(off)).view(np.float32)
        assert np.array_equal(compiled_root()(x, y), np.sqrt(x))


def test_a_root_from_a_worse_inverse_is_not():
    x = np.arange(0x3F800000, 0x3F900000, dtype=np.uint32).view(np.float32)
    y = (1.003 / np.sqrt(x)).astype(np.float32)
    assert not np.array_equal(noise.root_from(x, y), np.sqrt(x))
