"""The statistics of the noise: ten million normals, and variates of other laws."""

from itertools import combinations

import numpy as np
import pytest
from helpers import random_words
from nqm_fast.kernels import load_backend, noise, present_backends
from scipy import special, stats

COMPILED = load_backend(present_backends()[0])

SEEDS = [7, 8, 8 + (1 << 32), 9 + (1 << 32), 0]
BLOCKS = np.uint64([(0, noise.GRADIENT), (1, noise.GRADIENT), (0, noise.START), (0, noise.LEAP)])
AXES = {"seed": 5, "replica": 4, "block": 4, "coordinate": 125, "quad": 250, "lane": 4}
NAMES = list(AXES)
SIGMAS = 5.0


@pytest.fixture(scope="module")
def draws():
    """Ten million normals, with an axis for everything that noise depends on."""
    shape = tuple(AXES.values())
    replica, block, coordinate, quad = np.indices(shape[1:5], dtype=np.uint64).reshape(4, -1)
    rest = noise.counter(quad, replica, *BLOCKS[block.astype(int)].T)
    counters = np.stack([coordinate, *rest], axis=1).astype(np.uint32)
    z = np.empty(shape, dtype=np.float32)
    for i, seed in enumerate(SEEDS):
        keys = np.resize(np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32), (500_000, 2))
        z[i] = COMPILED.normals(COMPILED.philox4x32(counters, keys)).reshape(shape[1:])
    assert z.size == 10**7
    z.flags.writeable = False
    return z


def anderson_darling(log_cdf, log_sf):
    """The statistic A^2 from sorted draws: it is 1 on average, and above 6 once in a thousand."""
    odd = 2.0 * np.arange(1, log_cdf.size + 1) - 1.0
    return -log_cdf.size - np.dot(odd, log_cdf + log_sf[::-1]) / log_cdf.size


def evenness(z):
    x = np.sort(z, axis=None).astype(np.float64)
    return anderson_darling(special.log_ndtr(x), special.log_ndtr(-x)) / 6.0 * SIGMAS


def moments(z):
    """Deviations of the first six moments, in standard errors."""
    z = z.astype(np.float64).ravel()
    law = [special.factorial2(k - 1) * (k % 2 == 0) for k in range(13)]
    error = [np.sqrt((law[2 * k] - law[k] ** 2) / z.size) for k in range(7)]
    power, found = np.ones_like(z), []
    for k in range(1, 7):
        power *= z
        found.append((power.mean() - law[k]) / error[k])
    return found


def tails(z):
    """Counts beyond 1, 2, ... 5, as unlikely as a normal number's being so large."""
    found = []
    for k in range(1, 6):
        for count in (np.count_nonzero(z > k), np.count_nonzero(z < -k)):
            law = stats.binom(z.size, special.ndtr(-k))
            found.append(-special.ndtri(min(law.cdf(count), law.sf(count - 1))))
    return found


def plane(z):
    """Chi-square of pairs in cells of angle and radius, in standard deviations."""
    x, y = z.reshape(-1, 2).astype(np.float64).T
    angle = np.minimum((np.arctan2(y, x) / (2.0 * np.pi) + 0.5) * 64, 63).astype(int)
    radius = np.minimum(np.exp(-0.5 * (x * x + y * y)) * 64, 63).astype(int)
    expected = x.size / 4096
    square = np.sum((np.bincount(64 * angle + radius, minlength=4096) - expected) ** 2) / expected
    return (square - 4095) / np.sqrt(2 * 4095)


PAIRS = {f"lanes {i} {j}": lambda z, i=i, j=j: (z[..., i], z[..., j])
         for i, j in combinations(range(4), 2)}  # fmt: skip
for number, axis in enumerate(NAMES[:-1]):
    PAIRS[axis] = lambda z, i=number: (np.moveaxis(z, i, 0)[:-1], np.moveaxis(z, i, 0)[1:])
PAIRS["next step"] = lambda z: (z[..., :-1, 3], z[..., 1:, 0])


def correlations(x, y):
    """Correlations of draws, squares and sizes, each with each, in standard errors."""

    def scaled(z):
        z, mean = z.astype(np.float64).ravel(), np.sqrt(2.0 / np.pi)
        size = (np.abs(z) - mean) / np.sqrt(1.0 - mean**2)
        return np.stack([z, (z * z - 1.0) / np.sqrt(2.0), size])

    total = sum(scaled(a) @ scaled(b).T for a, b in zip(x, y, strict=True))  # in little memory
    return total / np.sqrt(x.size)


CHECKS = {"evenness": evenness, "moments": moments, "tails": tails, "plane": plane}
CHECKS |= {name: lambda z, pair=pair: correlations(*pair(z)) for name, pair in PAIRS.items()}


def rejects(check, z):
    return bool(np.max(np.abs(CHECKS[check](z))) > SIGMAS)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_draws_are_independent_normals(draws, check):
    assert not rejects(check, draws)


FAULTS = {
    "wider": (["evenness", "moments"], lambda z: z * np.float32(1.003)),
    "shifted": (["evenness", "moments"], lambda z: z + np.float32(0.002)),
    "cut": (["tails"], lambda z: np.clip(z, -3.9, 3.9)),
    "heavy": (["tails", "moments"], lambda z: np.where(np.abs(z) > 4.2, 1.2 * z, z)),
    "no sign": (["evenness", "plane"], lambda z: np.where(np.arange(4) == 0, np.abs(z), z)),
    "one word": (["plane"], lambda z: z[..., [0, 0, 2, 2]]),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_draws_are_rejected(draws, fault):
    checks, spoil = FAULTS[fault]
    spoiled = spoil(draws)
    assert [check for check in checks if not rejects(check, spoiled)] == []


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_repeated_draws_are_rejected(draws, pair):
    """One draw in fifty is that of its partner, or only as large."""
    few = draws[..., :50, :]
    assert not rejects(pair, few)
    for spoil in (lambda x, y: x, np.copysign):
        spoiled = few.copy()
        x, y = PAIRS[pair](spoiled)
        repeated = np.random.default_rng(11).random(y.shape) < 0.02
        y[repeated] = spoil(x, y)[repeated]
        assert rejects(pair, spoiled)


@pytest.mark.slow
def test_other_variates_have_their_distribution():
    a, b = random_words(12, 2, 1_000_000)
    x = np.sort(noise.laplace(a)).astype(np.float64)
    tail, body = -np.abs(x) - np.log(2.0), np.log1p(-0.5 * np.exp(-np.abs(x)))
    assert anderson_darling(np.where(x < 0, tail, body), np.where(x < 0, body, tail)) < 6.0
    for df in (2.5, 5.0):
        t = np.sort(noise.student_t(a, b, np.float32(2.0 / df))).astype(np.float64) * np.sqrt(df)
        for wrong in (1.0, 1.05):
            law = (np.log(special.stdtr(df * wrong, sign * t)) for sign in (1.0, -1.0))
            assert (anderson_darling(*law) < 6.0) == (wrong == 1.0)
    expected = stats.binom.pmf(np.arange(4, 29), 32, 0.5)
    counts = np.bincount(noise.ones(a), minlength=33)[4:29]
    expected *= counts.sum() / expected.sum()
    assert stats.chisquare(counts, expected).pvalue > 1e-4
