"""Risks within the range of a double whose factors are not, against 60 digits."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

import nqm_fast as nqm

SCALES = [1e-250, 1e-165, 1e-120, 1e120, 1e160, 1e200]
METHODS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]


def exact_risks(h, c, second_moment, lr, momentum, ema, steps, noise=True):
    """Compute the risk of a coordinate before each of some steps and after the last."""
    with mp.workdps(60):
        h, c, lr, m, g = (mp.mpf(x) for x in (h, c, lr, momentum, ema))
        step = mp.matrix([[1 - lr * h, m, 0], [-lr * h, m, 0], [0, 0, g]])
        for column in range(2):
            step[2, column] = (1 - g) * step[0, column]
        kick = mp.matrix([-lr, -lr, -(1 - g) * lr])
        moments = mp.matrix(3, 3)
        for a in (0, 2):
            for b in (0, 2):
                moments[a, b] = mp.mpf(second_moment)
        found = [h * moments[2, 2] / 2]
        for _ in range(steps):
            moments = step * moments * step.T + kick * kick.T * c * noise
            found.append(h * moments[2, 2] / 2)
        return found


def cases():
    """Yield problems of one coordinate whose risk, unlike its factors, is a double."""
    rng = np.random.default_rng(5)
    while True:
        h = float(rng.choice(SCALES))
        c = 10.0 ** float(rng.choice([-250, -100, 0, 100, 250, math.log10(h)]))
        start = 10.0 ** float(rng.choice([-200, -100, 0, 100, 200, -math.log10(h)]))
        momentum, ema = METHODS[rng.integers(len(METHODS))]
        lr = float(rng.choice([0.3, 0.7, 1.5])) / h
        steps = int(rng.choice([0, 1, 3, 20]))
        risks = exact_risks(h, c, start, lr, momentum, ema, steps)
        if mp.mpf("1e-280") < risks[-1] < mp.mpf("1e300"):
            algorithm = nqm.SGD(lr, momentum=momentum, ema=ema)
            yield nqm.Problem([h], c, var0=start), algorithm, risks


@pytest.mark.parametrize("case", range(40))
def test_risks_whose_factors_leave_the_range_are_exact(case):
    generator = cases()
    for _ in range(case):
        next(generator)
    problem, algorithm, risks = next(generator)
    steps, want = len(risks) - 1, float(risks[-1])
    assert nqm.expected_risk(problem, algorithm, 1, steps) == pytest.approx(want, rel=1e-12)
    assert nqm.risk_distribution(problem, algorithm, 1, steps).mean == pytest.approx(want, 1e-12)
    moments = nqm.moments(problem, algorithm, 1, steps)
    assert moments.risk[0] == pytest.approx(want, rel=1e-12)
    target = want * (1.0 + 1e-6)
    first = next(t for t, risk in enumerate(risks) if risk <= target)
    assert nqm.steps_to_target(problem, algorithm, 1, target, max_steps=steps) == first
    if not algorithm.momentum and not algorithm.ema:
        lr = algorithm.lr.value
        assert nqm.bounds.plain_risk(problem, lr, 1, steps) == pytest.approx(want, rel=1e-12)


H, C, VAR0 = np.array([1.0, 0.5, 0.03]), np.array([1.0, 0.7, 0.0]), np.array([1.0, 2.0, 0.5])


def scaled(h, r):
    """Return a problem with curvatures and risks multiplied by powers of two."""
    h, r = (math.ldexp(1.0, x) for x in (h, r))
    return nqm.Problem(H * h, C * (r * h), var0=VAR0 * (r / h))


ALGORITHMS = {
    "momentum": lambda h: nqm.SGD(0.3 * h, momentum=0.9),
    "average": lambda h: nqm.SGD(0.3 * h, momentum=0.5, ema=0.9),
    "schedule": lambda h: nqm.SGD(nqm.schedules.PerStep(np.linspace(0.7, 0.1, 40) * h)),
    "decay": lambda h: nqm.SGD(nqm.schedules.Cosine(0.7 * h, 60), momentum=0.5),
    "lookahead": lambda h: nqm.Lookahead(nqm.SGD(0.7 * h, momentum=0.5)),
    "nesterov": lambda h: nqm.Nesterov(0.3 * h, momentum=0.9),
}


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(("h", "r"), [(-540, 0), (540, 0), (-900, 0), (300, -300), (-540, 200)])
def test_powers_of_two_change_no_digit(name, h, r):
    algorithms = [ALGORITHMS[name](math.ldexp(1.0, -x)) for x in (0, h)]
    problems = [scaled(0, 0), scaled(h, r)]
    pairs = list(zip(problems, algorithms, strict=True))
    steps = [0, 1, 5, 40]
    plain, other = (nqm.expected_risk(p, a, 4, steps) for p, a in pairs)
    np.testing.assert_allclose(np.ldexp(other, -r), plain, rtol=1e-12)
    plain, other = (nqm.moments(p, a, 4, steps) for p, a in pairs)
    np.testing.assert_allclose(np.ldexp(other.convergence, -r), plain.convergence, rtol=1e-12)
    np.testing.assert_allclose(np.ldexp(other.steady_state, -r), plain.steady_state, rtol=1e-12)
    np.testing.assert_allclose(np.ldexp(other.variance, h - r), plain.variance, rtol=1e-12)
    plain, other = (nqm.risk_distribution(p, a, 4, 5).quantile(0.5) for p, a in pairs)
    assert math.ldexp(other, -r) == pytest.approx(plain, rel=1e-9)
    if name not in ("schedule", "decay"):
        plain, other = (nqm.largest_stable_lr(p, a, 4) for p, a in pairs)
        assert math.ldexp(other, h) == pytest.approx(plain, rel=1e-9)


def test_coordinates_in_different_units_are_summed():
    # The first starts beyond the range of a double and shrinks into it, the second is ordinary.
    problem = nqm.Problem([1e200, 1.0], 0.0, var0=[1e200, 1.0])
    algorithm = nqm.SGD(1.5e-200, momentum=0.0)
    assert nqm.expected_risk(problem, algorithm, 1, [0, 1000, 10000])[1:] == pytest.approx(0.5)
    assert nqm.expected_risk(problem, algorithm, 1, 0) == math.inf
    assert nqm.expected_risk(problem, algorithm, 1, 40) == math.inf
    left = 0.5 * 1e200 * (0.25**500 * 1e200)
    assert nqm.expected_risk(problem, algorithm, 1, 500) == pytest.approx(0.5 + left)


def test_divergence_and_certain_starts_are_never_nan():
    problem = nqm.Problem([1e-165], var0=0.0)
    assert nqm.expected_risk(problem, nqm.SGD(1e165), 1, 1) == pytest.approx(0.5)
    risks = nqm.expected_risk(problem, nqm.SGD(1e170, momentum=0.9), 1, [1, 10, 10**6])
    assert not np.isnan(risks).any()
    assert risks[-1] == math.inf
