"""The noise: known answers, the transform against mpmath, and its statistics."""

import csv
from fractions import Fraction
from pathlib import Path

import llvmlite.binding
import mpmath
import numba
import numpy as np
import pytest
from nqm_fast.kernels import compile, noise, numba_cpu, numba_noise, numba_tile, reference
from scipy import special, stats

BACKENDS = [reference, numba_cpu]
DRAWS = 10**7


@pytest.fixture(params=BACKENDS, ids=["numpy", "numba"])
def backend(request):
    return request.param


def random_words(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32)


# -- the generator -----------------------------------------------------------------------


def test_known_answers(backend):
    """The vectors that Salmon et al. 2011 publish with Random123."""
    with (Path(__file__).parent / "data" / "philox4x32_10.csv").open() as file:
        rows = np.array([[int(x, 16) for x in row] for row in list(csv.reader(file))[1:]])
    rows = rows.astype(np.uint32)
    assert np.array_equal(backend.philox4x32(rows[:, :4], rows[:, 4:6]), rows[:, 6:])


def test_backends_give_the_same_words():
    both = random_words((10**5, 6))
    args = both[:, :4], both[:, 4:]
    assert np.array_equal(numba_cpu.philox4x32(*args), reference.philox4x32(*args))


def test_the_counter_is_injective():
    """Fields come back from the words, at random and at their limits."""
    rng = np.random.default_rng(1)
    limits = [noise.STEPS // 4, noise.REPLICAS, noise.BLOCKS, 16]
    rows = [tuple(int(rng.integers(limit)) for limit in limits) for _ in range(500)]
    rows += [tuple((limit - 1) * bit for limit, bit in zip(limits, bits, strict=True))
             for bits in np.ndindex(2, 2, 2, 2)]  # fmt: skip
    for quad, replica, block, purpose in rows:
        c1, c2, c3 = (int(x) for x in noise.counter(quad, replica, block, purpose))
        assert max(c1, c2, c3) < 2**32
        assert (c1 | (c2 & 0xFF) << 32, c2 >> 8) == (quad, replica)
        assert (c3 & (2**28 - 1), c3 >> 28) == (block, purpose)


# -- the transform -----------------------------------------------------------------------


def exact_normals(a, b):
    """The transform of two words as documented, of what float32 keeps of them."""
    u = (mpmath.mpf(float(np.float32(a))) + mpmath.mpf(1) / 2) / 2**32
    x = mpmath.mpf(float(np.float32(np.uint32((b << 2) & 0xFFFFFFFF).view(np.int32)))) / 2**32
    angle = mpmath.pi / 2 * ((b >> 30) + x)
    radius = mpmath.sqrt(-2 * mpmath.log(min(u, mpmath.mpf(1))))
    return radius * mpmath.cos(angle), radius * mpmath.sin(angle)


def test_error_of_the_transform(backend):
    """Every exponent of the radius, every quadrant, the ends of both, and between."""
    rng = np.random.default_rng(2)
    first = {0, 2**32 - 1, 2**32 - 129}
    for exponent in range(32):
        low = 2**exponent
        first |= {low, 2 * low - 1, int(low * 1.41421), int(low * 1.41422)}
        first |= {low + int(rng.integers(low)) for _ in range(6)}
    second = [
        (q << 30) + offset
        for q in range(4)
        for offset in (0, 1, 2**29 - 1, 2**29, 2**30 - 1, *rng.integers(0, 2**30, 4).tolist())
    ]
    pairs = [(a, b) for a in sorted(first) for b in second]
    words = np.array([(a, b, 0, 0) for a, b in pairs], dtype=np.uint32)
    z = backend.normals(words)[:, :2].astype(float)
    with mpmath.workdps(30):
        exact = np.array([[float(x) for x in exact_normals(a, b)] for a, b in pairs])
    assert np.abs(exact).max() > 6.7
    worst = np.abs(z - exact).max()
    assert worst < 1e-6
    assert worst > 1e-8  # float32 has this much: a zero would mean comparing with itself


def test_backends_give_the_same_normals():
    edges = [0, 1, 2**32 - 1, *(2**k for k in range(32)), *(2**k - 1 for k in range(1, 32))]
    grid = np.array([(a, b, b, a) for a in edges for b in edges], dtype=np.uint32)
    words = np.concatenate([grid, random_words((10**5, 4))])
    assert np.array_equal(numba_cpu.normals(words), reference.normals(words))


def test_fused_multiply_add_is_rounded_once():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 3000)).astype(np.float32)
    z = (-x * y * rng.choice([1, 1 + 2.0**-20, 2.0**-24, 0.5], 3000)).astype(np.float32)
    z[::3] = rng.normal(size=1000)
    exact = [Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
             for a, b, c in zip(x, y, z, strict=True)]  # fmt: skip
    got = noise.fma(x, y, z)
    around = np.stack([np.nextafter(got, -np.inf), got, np.nextafter(got, np.inf)], axis=1)
    for e, row in zip(exact, around, strict=True):
        gaps = [abs(Fraction(float(v)) - e) for v in row]
        assert gaps[1] == min(gaps)


def test_other_variates():
    words = random_words((2000, 2))
    words[:6, 0] = [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    a, b = words.T
    with mpmath.workdps(30):
        y = np.float32(np.geomspace(1e-6, 60, 500))
        exact = np.array([float(mpmath.expm1(float(x))) for x in y])
        assert noise.expm1(y).astype(float) == pytest.approx(exact, rel=4e-7)
        u = np.float64(np.float32(a << np.uint32(1))) + 1
        size = np.array([-float(mpmath.log(v / 2**32)) for v in u])
    x = noise.laplace(a).astype(float)
    assert np.abs(x) == pytest.approx(size, rel=3e-7, abs=1e-7)
    assert np.array_equal(np.signbit(x), a >= 2**31)
    exponent = np.float32(0.4)
    u = np.minimum((np.float64(np.float32(a)) + 0.5) / 2**32, 1.0)
    cosine = np.float64(noise.cos_sin(b)[0])
    t = np.sqrt(np.expm1(-np.float64(exponent) * np.log(u))) * cosine
    assert noise.student_t(a, b, exponent).astype(float) == pytest.approx(t, rel=2e-6, abs=1e-7)
    assert noise.ones(a).tolist() == [int(w).bit_count() for w in a]


@pytest.mark.parametrize(
    ("data", "df"),
    [("uniform", 5), ("laplace", 5), ("student-t", 2.1), ("student-t", 3), ("student-t", 30)],
)
def test_scales_give_variance_one(data, df):
    """By integrating over the words: the quantiles of the radius, the mean of cos^2."""
    u = (np.arange(2**20) + 0.5) / 2**20
    scale = noise.scale(data, df)
    if data == "uniform":
        variance = np.mean(((u - 0.5) * 2**32 * scale) ** 2)
    elif data == "laplace":
        variance = np.mean((np.log(u) * scale) ** 2)
    else:
        s = 2 / df
        with mpmath.workdps(40):  # sum of (k + 1/2)^-s over 2^32 words
            whole = mpmath.zeta(s, 0.5) - mpmath.zeta(s, 2**32 + 0.5)
            variance = float((whole * mpmath.mpf(2) ** (32 * (s - 1)) - 1) / 2) * scale**2
    assert variance == pytest.approx(1.0, rel=1e-4 if data == "laplace" else 1e-9)


# -- statistics: each gives a number of standard deviations, or a statistic and its limit ----


def stream(seed=0, replica=0, coordinates=1, quads=1, first=0):
    """Normals of consecutive quads and coordinates, shape (coordinates, 4 quads)."""
    c0 = np.arange(first, first + coordinates)
    rows = []
    for quad in range(quads):
        c1, c2, c3 = noise.counter(quad, replica, 0, noise.GRADIENT)
        counters = np.empty((coordinates, 4), dtype=np.uint32)
        counters[:, 0], counters[:, 1:] = c0, (c1, c2, c3)
        keys = np.broadcast_to(np.uint32([seed & 0xFFFFFFFF, seed >> 32]), (coordinates, 2))
        rows.append(numba_cpu.normals(numba_cpu.philox4x32(counters, np.ascontiguousarray(keys))))
    return np.concatenate(rows, axis=1)


def moment_scores(z):
    """Of the first six moments, against those of the normal law."""
    known = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 5: (0, 945), 6: (15, 10170)}
    return [
        (np.mean(z**k) - mean) / np.sqrt(variance / z.size) for k, (mean, variance) in known.items()
    ]


def tail_scores(z):
    """Of the counts beyond k standard deviations on either side."""
    scores = []
    for k in (0.5, 1, 2, 3, 4, 5):
        p = special.ndtr(-k)
        for side in (z, -z):
            scores.append((np.sum(side > k) - z.size * p) / np.sqrt(z.size * p))
    return scores


def anderson_darling(z):
    z = np.sort(z)
    i = np.arange(1, z.size + 1)
    terms = (2 * i - 1) * (special.log_ndtr(z) + special.log_ndtr(-z[::-1]))
    return -z.size - np.mean(terms)


def dependence_scores(x, y):
    """Of the correlations of two samples, of their squares and of their signs."""
    functions = (lambda v: v, np.square, np.abs, np.sign)
    return [np.sqrt(x.size) * np.corrcoef(f(x), g(y))[0, 1] for f in functions for g in functions]


@pytest.fixture(scope="module")
def draws():
    return stream(seed=7, coordinates=DRAWS // 40, quads=10).astype(float)


def test_moments(draws):
    assert np.abs(moment_scores(draws.ravel())).max() < 5


def test_tails(draws):
    assert np.abs(tail_scores(draws.ravel())).max() < 5


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_anderson_darling(seed):
    """The limit is exceeded once in 10^4 times."""
    z = stream(seed=seed, coordinates=DRAWS // 40, quads=10).astype(float).ravel()
    assert anderson_darling(z) < 8.3


NEIGHBOURS = {
    "pair": lambda d: (d[:, 0::4], d[:, 1::4]),
    "other pair": lambda d: (d[:, 2::4], d[:, 3::4]),
    "pairs of a block": lambda d: (d[:, 0::4], d[:, 2::4]),
    "steps": lambda d: (d[:, :-1], d[:, 1:]),
    "blocks": lambda d: (d[:, :-4], d[:, 4:]),
    "coordinates": lambda d: (d[:-1], d[1:]),
    "distant coordinates": lambda d: (d[:-512], d[512:]),
    "replicas": lambda d: (d[:20000], stream(7, replica=1, coordinates=20000, quads=10)),
    "seeds": lambda d: (d[:20000], stream(seed=8, coordinates=20000, quads=10)),
    "high halves of seeds": lambda d: (d[:20000], stream(7 + 2**32, coordinates=20000, quads=10)),
}


@pytest.mark.parametrize("between", NEIGHBOURS)
def test_independence(draws, between):
    x, y = (np.asarray(v, dtype=float).ravel() for v in NEIGHBOURS[between](draws))
    assert np.abs(dependence_scores(x, y)).max() < 5


def test_the_pair_fills_the_plane_evenly(draws):
    """Radius and angle of a pair in equally likely cells."""
    x, y = draws[:, 0::4].ravel(), draws[:, 1::4].ravel()
    radius = np.exp(-0.5 * (x * x + y * y))
    angle = np.arctan2(y, x) / (2 * np.pi) + 0.5
    counts, _, _ = np.histogram2d(radius, angle, bins=32, range=[[0, 1], [0, 1]])
    assert 1e-4 < stats.chisquare(counts.ravel()).pvalue < 1 - 1e-4


def test_the_statistics_see_small_defects(draws):
    """A thousandth too wide, one step used twice, a lost quadrant, a mild skew."""
    z = draws.ravel()
    assert np.abs(moment_scores(1.002 * z)).max() > 5
    assert np.abs(tail_scores(np.clip(z, -4, 4))).max() > 5
    assert anderson_darling(z + 0.003) > 8.3
    mixed = 0.99 * z[1:] + 0.01 * z[:-1]
    assert np.abs(dependence_scores(mixed, z[:-1])).max() > 5
    assert np.abs(dependence_scores(z[1:], np.abs(z[1:]))).max() > 5


# -- machine code ------------------------------------------------------------------------


def assembly(function, *arguments):
    """Of the function compiled anew: code from the cache cannot be looked into."""
    fresh = numba.njit(**compile.OPTIONS)(function.py_func)
    fresh(*arguments)
    return fresh.inspect_asm(fresh.signatures[0])


def hot_loops():
    unit, T = (0,) * 8, 512
    words, z = np.zeros(4 * T, dtype=np.uint32), np.zeros(4 * T, dtype=np.float32)
    key = np.uint64(1)
    yield "words", assembly(numba_noise.draw_words, unit, 0, *[key] * 5, words)
    yield "normals", assembly(numba_noise.make_normals, unit, words, 0, z)
    for n in (1, 2, 3):
        coefficient, state = np.zeros(n * (n + 1) * T), np.zeros(n * T)
        arguments = (0.0,) * n, unit, 0, 4, coefficient, z, state
        yield f"steps of {n}", assembly(numba_tile.whole_quads, *arguments)


def test_hot_loops_use_wide_registers_and_call_nothing():
    features = llvmlite.binding.get_host_cpu_features()
    wide, fused = ("zmm", "ymm"), "vfmadd"
    if not features.get("avx512f"):
        wide = ("ymm",)
    if not features.get("avx2"):
        pytest.skip("register names are known here for x86 with AVX2 only")
    arithmetic = {"words": "vpmuludq", "normals": "vfmadd"}
    for name, text in hot_loops():
        lines = [line.strip() for line in text.splitlines()]
        operation = arithmetic.get(name, "vmulpd")
        assert any(line.startswith(operation) and any(r in line for r in wide) for line in lines), (
            name
        )
        called = [line for line in lines if line.startswith("call")]
        assert not [line for line in called if any(f in line for f in ("log", "sin", "cos", "exp"))]
        if name.startswith("steps"):
            assert not any(line.startswith(fused) for line in lines)  # the contract forbids it
