"""The law of the risk, against laws in closed form, other inversions, and simulated risks."""

import math

import mpmath
import numpy as np
import pytest
from helpers import KINDS, PROBLEMS
from scipy import integrate, stats

import nqm_fast as nqm
from nqm_fast import schedules

TAILS = (1e-12, 1e-6, 0.01, 0.5, 0.99)


def scaled(count, mean, variance, h):
    """The law of ``h / 2`` times the sum of `count` squares, by scipy."""
    if mean == 0.0:
        return stats.chi2(count, scale=0.5 * h * variance)
    return stats.ncx2(count, count * mean**2 / variance, scale=0.5 * h * variance)


def assert_law(law, exact, xs, rel=1e-10):
    for x in xs:
        assert law.cdf(x) == pytest.approx(exact.cdf(x), rel=rel, abs=0)
        assert law.sf(x) == pytest.approx(exact.sf(x), rel=rel, abs=0)
        assert law.pdf(x) == pytest.approx(exact.pdf(x), rel=rel, abs=0)


# -- laws in closed form -----------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1e-2, 1.0, 6.0])
@pytest.mark.parametrize("steps", [0, 1, 7, 10**6])
def test_one_coordinate_has_a_noncentral_chi_square(mean, steps):
    h, c, lr, batch, var0 = 0.3, 0.2, 0.5, 4, 0.7
    problem = nqm.Problem([h], c, mean0=mean, var0=var0)
    a = 1.0 - lr * h
    variance = a ** (2 * steps) * var0 + lr**2 * c / batch * (1 - a ** (2 * steps)) / (1 - a**2)
    exact = scaled(1, a**steps * mean, variance, h)
    law = nqm.risk_distribution(problem, nqm.SGD(lr), batch, steps)
    assert law.mean == pytest.approx(exact.mean(), rel=1e-13)
    assert law.std == pytest.approx(exact.std(), rel=1e-12)
    assert law.skewness == pytest.approx(float(exact.stats(moments="s")), rel=1e-10)
    xs = [exact.ppf(p) for p in TAILS] + [exact.isf(p) for p in (1e-6, 1e-12)]
    assert_law(law, exact, xs)
    for p in TAILS:
        assert exact.cdf(law.quantile(p)) == pytest.approx(p, rel=1e-9)
    assert exact.sf(law.quantile(1.0 - 2.0**-30)) == pytest.approx(2.0**-30, rel=1e-7)


def test_two_equal_coordinates_have_an_exponential_law():
    law = nqm.risk_distribution(nqm.Problem([0.5], count=2), nqm.SGD(0.1), 8, 0)
    assert_law(law, stats.expon(scale=0.5), [1e-9, 0.1, 0.5, 0.500000001, 3.0, 15.0, 300.0])
    assert law.pdf(0.0) == pytest.approx(2.0, rel=1e-14)
    assert law.cdf(0.0) == law.cdf(-1.0) == law.pdf(-1.0) == 0.0


@pytest.mark.parametrize("count", [0.3, 1.0, 50.0, 1e5, 1e12])
def test_equal_coordinates_have_a_chi_square_of_any_degrees_of_freedom(count):
    law = nqm.risk_distribution(nqm.Problem([1.0], count=count), nqm.SGD(0.1), 1, 0)
    exact = stats.gamma(0.5 * count)
    xs = [exact.ppf(p) for p in (1e-6, 0.2, 0.5, 0.9)]
    probabilities = law.cdf(xs)
    if count < 1e12:
        # Beyond, scipy's incomplete gamma function is an approximation.
        assert probabilities == pytest.approx(exact.cdf(xs), rel=1e-7)
    assert law.cdf(law.quantile([1e-9, 0.3, 0.8])) == pytest.approx([1e-9, 0.3, 0.8], rel=1e-3)
    normal = stats.norm(law.mean, law.std)
    if count == 1e12:
        assert law.quantile([0.01, 0.5, 0.9]) == pytest.approx(
            normal.ppf([0.01, 0.5, 0.9]), rel=1e-11
        )


def test_a_density_without_bound_is_infinite_at_its_end_only():
    law = nqm.risk_distribution(nqm.Problem([1.0]), nqm.SGD(0.1), 1, 0)
    assert law.pdf(0.0) == math.inf
    assert law.pdf(1e-300) == pytest.approx(stats.chi2(1, scale=0.5).pdf(1e-300), rel=1e-9)
    three = nqm.risk_distribution(nqm.Problem([1.0], count=3), nqm.SGD(0.1), 1, 0)
    assert three.pdf(0.0) == 0.0


# -- other inversions ----------------------------------------------------------------------

FEW = {
    "three": ([1.0, 0.3, 0.1], [0.0, 0.0, 0.0]),
    "shifted": ([1.0, 0.3, 0.02], [0.5, 2.0, 9.0]),
    "six": ([1.0, 0.5, 0.4, 0.3, 0.02, 1e-3], [0.0, 1.0, 0.3, 0.0, 2.0, 9.0]),
}


@pytest.mark.parametrize("name", FEW)
def test_a_few_coordinates_are_inverted_as_by_talbot(name):
    h, mean = FEW[name]
    law = nqm.risk_distribution(nqm.Problem(h, mean0=mean), nqm.SGD(0.1), 1, 0)

    def transform(p):
        logs = [
            -mpmath.log(1 + a * p) / 2 - a * m * m / 2 * p / (1 + a * p)
            for a, m in zip(h, mean, strict=True)
        ]
        return mpmath.exp(mpmath.fsum(logs))

    with mpmath.workdps(60):
        for place in (-1.0, 0.0, 1.0, 6.0):
            x = law.mean + place * law.std
            if x > 0.0:
                below = mpmath.invertlaplace(lambda p: transform(p) / p, x, degree=120)
                density = mpmath.invertlaplace(transform, x, degree=120)
                assert law.cdf(x) == pytest.approx(float(below), rel=1e-11)
                assert law.sf(x) == pytest.approx(float(1 - below), rel=1e-9)
                assert law.pdf(x) == pytest.approx(float(density), rel=1e-9)


PAIRS = {  # curvature, mean and count of many, beside one coordinate of curvature 1
    "close": (1 / 30, 0.0, 900.0),
    "far": (1 / 300, 0.0, 1e5),
    "very far": (1e-3, 0.0, 1e6),
    "shifted": (0.02, 9.0, 1.0),
    "shifted, many": (0.02, 2.0, 60.0),
}


@pytest.mark.parametrize("name", PAIRS)
def test_one_coordinate_above_many_is_their_convolution(name):
    h, mean, count = PAIRS[name]
    problem = nqm.Problem([1.0, h], mean0=[0.0, mean], count=[1.0, count])
    law = nqm.risk_distribution(problem, nqm.SGD(0.1), 1, 0)
    many = scaled(count, mean, 1.0, h)
    for place in (-2.0, 0.0, 1.0, 6.0):
        x = law.mean + place * law.std

        def above(w, x=x):
            return 2.0 * stats.norm.pdf(w) * many.sf(x - 0.5 * w * w)

        edge = math.sqrt(2.0 * max(x - many.mean(), 0.0)) or 1.0
        expected = integrate.quad(
            above, 0.0, 12.0, points=[edge, 0.9 * edge], limit=400, epsabs=1e-14, epsrel=1e-11
        )[0]
        assert law.sf(x) == pytest.approx(expected, rel=1e-8)


def test_a_coordinate_that_does_not_vary_moves_the_law():
    problem = nqm.Problem([1.0, 0.5], 0.0, mean0=[0.0, 2.0], var0=[1.0, 0.0])
    law = nqm.risk_distribution(problem, nqm.SGD(0.1), 1, 0)
    exact = stats.chi2(1, loc=1.0, scale=0.5)
    assert_law(law, exact, [1.001, 1.2, 3.0, 9.0], rel=1e-9)
    assert law.cdf([0.5, 1.0]).tolist() == [0.0, 0.0]
    assert law.quantile(0.0) == 1.0
    assert law.quantile(0.3) == pytest.approx(exact.ppf(0.3), rel=1e-12)


# -- moments ---------------------------------------------------------------------------------


def test_cumulants_are_those_of_full_sums():
    d, lr, batch, t = 10_000, 0.5, 8, 300
    law = nqm.risk_distribution(nqm.Problem.power_law(d), nqm.SGD(lr), batch, t)
    with mpmath.workdps(30):
        sums = [mpmath.mpf(0)] * 3
        for i in range(1, d + 1):
            h = mpmath.mpf(1) / i
            square = (1 - lr * h) ** (2 * t)
            scale = h * (
                square + mpmath.mpf(lr) ** 2 * h / batch * (1 - square) / (lr * h) / (2 - lr * h)
            )
            sums = [sums[0] + scale / 2, sums[1] + scale**2 / 2, sums[2] + scale**3]
        mean, variance, third = sums
        skewness = third / variance ** mpmath.mpf(1.5)
        assert law.mean == pytest.approx(float(mean), rel=1e-12)
        assert law.std == pytest.approx(float(mpmath.sqrt(variance)), rel=1e-11)
        assert law.skewness == pytest.approx(float(skewness), rel=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_mean_is_the_expected_risk(name, kind):
    steps = [0, 1, 2, 9, 50, 1000, 10**8]
    problem, algorithm = PROBLEMS[name], nqm.SGD(0.1, **KINDS[kind])
    law = nqm.risk_distribution(problem, algorithm, 8, steps)
    risk = nqm.expected_risk(problem, algorithm, 8, steps)
    assert law.mean == pytest.approx(risk, rel=1e-12)


def test_schedules_are_followed_through_all_their_parts():
    lr = schedules.Warmup(100, schedules.Cosine(0.5, 40_000))
    batch = schedules.Piecewise([8, 64, 16], [33_000, 5, 4])
    steps = [[0, 99, 100], [32_768, 33_004, 33_005], [40_000, 70_000, 10**7]]
    problem, algorithm = PROBLEMS["general"], nqm.SGD(lr, momentum=0.5)
    law = nqm.risk_distribution(problem, algorithm, batch, steps)
    assert law.mean.shape == law.std.shape == law.quantile(0.5).shape == (3, 3)
    assert law.mean == pytest.approx(nqm.expected_risk(problem, algorithm, batch, steps), rel=1e-12)


def test_a_count_stands_for_coordinates():
    counted = nqm.Problem([1.0, 0.1], count=[2, 40], mean0=[0.3, 1.0])
    listed = nqm.Problem([1.0] * 2 + [0.1] * 40, mean0=[0.3] * 2 + [1.0] * 40)
    first, second = (
        nqm.risk_distribution(p, nqm.SGD(0.2, momentum=0.5), 4, [3, 30]) for p in (counted, listed)
    )
    x = [[0.05], [0.5], [2.0]]
    assert first.cdf(x) == pytest.approx(second.cdf(x), rel=1e-12)
    assert first.quantile(x[:2]) == pytest.approx(second.quantile(x[:2]), rel=1e-12)


@pytest.mark.parametrize("kind", ["plain", "momentum", "momentum+ema"])
@pytest.mark.parametrize("by", ["formula", "array"])
def test_nodes_have_the_law_of_all_coordinates(kind, by):
    h = 1.0 / np.arange(1.0, 20_001.0)
    few = nqm.Problem.power_law(h.size) if by == "formula" else nqm.Problem(h, mean0=0.5)
    mean0 = 0.0 if by == "formula" else 0.5
    every = nqm.Problem(h, mean0=np.full(h.size, mean0), var0=np.ones(h.size))
    algorithm = nqm.SGD(0.3, **KINDS[kind])
    first, second = (nqm.risk_distribution(p, algorithm, 64, [30, 10**5]) for p in (few, every))
    for name in ("mean", "std", "skewness"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-12)
    x = second.mean + np.array([[-3.0], [0.0], [4.0]]) * second.std
    assert first.cdf(x) == pytest.approx(second.cdf(x), rel=1e-10)
    assert first.sf(x) == pytest.approx(second.sf(x), rel=1e-10)


# -- against simulation --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "momentum+ema"])
def test_a_million_simulated_risks_follow_the_law(name):
    problem = nqm.Problem([1.0, 0.5, 0.05], mean0=[1.0, 0.0, -2.0], var0=[0.2, 1.0, 0.5])
    algorithm, steps = nqm.SGD(0.3, **KINDS[name]), [1, 20]
    run = nqm.simulate(
        problem, algorithm, 2, 20, replicas=10**6, seed=5, record=steps, sampling="leap"
    )
    law = nqm.risk_distribution(problem, algorithm, 2, steps)
    for k in range(2):
        risk = np.sort(run.risk[:, k])
        at = np.arange(0, risk.size, 4999)
        probability = nqm.risk_distribution(problem, algorithm, 2, steps[k]).cdf(risk[at])
        distance = np.abs(probability - (at + 0.5) / risk.size).max()
        assert distance < 1.95 / math.sqrt(risk.size)  # exceeded once in 1000 times
        assert risk.mean() == pytest.approx(law.mean[k], rel=5e-3)


# -- values, shapes and mistakes -----------------------------------------------------------


def test_values_are_broadcast_against_steps():
    problem = nqm.Problem.power_law(20)
    law = nqm.risk_distribution(problem, nqm.SGD(0.1), 8, [10, 100, 10])
    assert law.quantile([[0.1], [0.9]]).shape == (2, 3)
    assert law.cdf(law.quantile([[0.1], [0.9]])) == pytest.approx(
        np.array([[0.1] * 3, [0.9] * 3]), rel=1e-11
    )
    assert law.mean[0] == law.mean[2] > law.mean[1]
    one = nqm.risk_distribution(problem, nqm.SGD(0.1), 8, 10)
    assert type(one.mean) is type(one.quantile(0.5)) is float
    assert one.quantile([0.0, 1.0]).tolist() == [0.0, math.inf]
    nothing = nqm.risk_distribution(problem, nqm.SGD(0.1), 8, [])
    assert nothing.mean.shape == nothing.cdf(1.0).shape == (0,)


@pytest.mark.parametrize("unit", [1e-200, 1e-60, 1e200])
def test_units_do_not_matter(unit):
    laws = [
        nqm.risk_distribution(nqm.Problem([u, 0.3 * u], mean0=[1.0, 0.5]), nqm.SGD(0.0), 1, 5)
        for u in (1.0, unit)
    ]
    assert laws[1].quantile([0.1, 0.9]) / unit == pytest.approx(laws[0].quantile([0.1, 0.9]))
    assert laws[1].std / unit == pytest.approx(laws[0].std)
    assert laws[1].pdf(unit) * unit == pytest.approx(laws[0].pdf(1.0))


def test_extreme_values_have_the_probability_0_or_1():
    law = nqm.risk_distribution(nqm.Problem.power_law(500), nqm.SGD(0.1), 8, 10)
    assert law.cdf([1e-300, 0.0, -1.0, 1e300]).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert law.sf([1e-300, 0.0, 1e300]).tolist() == [1.0, 1.0, 0.0]
    assert law.pdf([1e-300, 0.0, 1e300]).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("x", [5e-324, 1e-320, 1e-308, 1e-200, 1e-85, 1e-75])
def test_the_smallest_risks_have_their_probabilities(x):
    """By the chi-squares' series at 0, of which the first power is all there is."""
    for h, count, mean in ((1.0, 1.0, 0.0), (0.5, 2.0, 3.0), (1e-60, 0.01, 0.0), (1.0, 3.0, 1.0)):
        problem = nqm.Problem([h], mean0=mean, count=count)
        law = nqm.risk_distribution(problem, nqm.SGD(0.0), 1, 0)
        log = 0.5 * count * (math.log(x) - math.log(h) - mean**2) - math.lgamma(0.5 * count + 1.0)
        below = math.exp(log)
        assert law.cdf(x) == pytest.approx(below, rel=1e-10, abs=1e-322)
        assert law.sf(x) == pytest.approx(1.0 - below, rel=1e-10)
        log_density = log + math.log(0.5 * count) - math.log(x)
        density = math.exp(log_density) if log_density < 709.0 else math.inf
        assert law.pdf(x) == pytest.approx(density, rel=1e-10)
        if 1e-300 < below < 0.9:
            assert law.quantile(below) == pytest.approx(x, rel=1e-8, abs=1e-323)


@pytest.mark.filterwarnings("error")
def test_quantiles_below_the_range_of_a_double_are_zero():
    def law(**more):
        return nqm.risk_distribution(nqm.Problem([1.0], **more), nqm.SGD(0.1), 4, 10)

    assert law().quantile([5e-324, 1e-170]).tolist() == [0.0, 0.0]
    assert law(count=[0.001]).quantile([0.05, 0.5]).tolist() == [0.0, 0.0]
    few = law(count=[0.001])
    assert few.cdf(few.quantile([0.9, 0.95, 0.999])) == pytest.approx([0.9, 0.95, 0.999], rel=1e-11)
    many = nqm.risk_distribution(nqm.Problem.power_law(100), nqm.SGD(0.1), 4, 10)
    assert many.cdf(1e-308) == many.pdf(1e-320) == 0.0
    assert many.sf(1e-320) == 1.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "more",
    [{"mean0": 1e20}, {"mean0": 1e100}, {"mean0": 1e149}, {"count": 1e100}, {"count": 1e299}],
)
def test_a_law_narrower_than_a_double_is_its_mean(more):
    law = nqm.risk_distribution(nqm.Problem([1.0], **more), nqm.SGD(0.0), 1, 0)
    assert law.quantile([1e-12, 0.5, 0.99]) == pytest.approx(law.mean, rel=1e-15)
    mean, count = more.get("mean0", 0.0), more.get("count", 1.0)
    assert law.std == pytest.approx(math.sqrt(0.5 * count + mean**2), rel=1e-12)
    third = 3.0 * mean**2 + count
    assert law.skewness == pytest.approx(third / law.std / law.std / law.std, rel=1e-12)
    assert law.cdf(np.array([0.999, 1.0, 1.001]) * law.mean) == pytest.approx([0.0, 0.5, 1.0])
    assert law.sf(1.001 * law.mean) == law.pdf(0.999 * law.mean) == 0.0
    assert law.pdf(law.mean) * law.std == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-6)


@pytest.mark.parametrize("place", [-37.0, -20.0, -15.0, -9.0, 9.0, 12.0, 15.0, 20.0, 36.0])
@pytest.mark.parametrize("mean", [40.0, 1e5])
def test_far_tails_have_all_their_digits(place, mean):
    """A square of a Gaussian far above 0 is at most x where the Gaussian is at most its root."""
    law = nqm.risk_distribution(nqm.Problem([2.0], mean0=mean), nqm.SGD(0.0), 1, 0)
    x = (mean + place) ** 2
    z = math.sqrt(x) - mean
    tail = law.cdf(x) if place < 0.0 else law.sf(x)
    assert tail == pytest.approx(stats.norm.sf(abs(z)), rel=1e-8)
    if place < 0.0:
        assert math.sqrt(law.quantile(stats.norm.cdf(z))) - mean == pytest.approx(z, rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_coordinates_that_never_count_are_left_out_of_probabilities():
    alone = nqm.risk_distribution(nqm.Problem([1.0], count=1e-100), nqm.SGD(0.1), 4, 10)
    assert alone.mean > 0.0
    assert alone.std > 0.0
    assert (alone.cdf([-1.0, 0.0, 1e-300]).tolist(), alone.quantile(0.9)) == ([0.0, 1.0, 1.0], 0.0)
    problem = nqm.Problem([1.0, 1e200], 0.0, count=[1.0, 1e-100])
    both = nqm.risk_distribution(problem, nqm.SGD(0.0), 4, 0)
    assert_law(both, stats.chi2(1, scale=0.5), [1e-9, 0.3, 5.0, 100.0])
    assert both.mean == pytest.approx(0.5e100)


def test_a_risk_without_variance_is_certain():
    law = nqm.risk_distribution(nqm.Problem([2.0], 0.0, mean0=3.0, var0=0.0), nqm.SGD(0.0), 1, 7)
    assert (law.mean, law.std, law.skewness) == (9.0, 0.0, 0.0)
    assert law.cdf([8.9, 9.0, 9.1]).tolist() == [0.0, 1.0, 1.0]
    assert law.quantile([0.0, 0.4, 1.0]).tolist() == [9.0] * 3
    assert law.pdf([8.0, 9.0]).tolist() == [0.0, math.inf]
    zero = nqm.risk_distribution(nqm.Problem([2.0], 0.0, var0=0.0), nqm.SGD(0.1), 1, 7)
    assert (zero.mean, zero.quantile(0.5), zero.cdf(0.0)) == (0.0, 0.0, 1.0)


def test_a_setting_that_diverges_has_no_finite_values():
    law = nqm.risk_distribution(nqm.Problem([1.0, 0.1]), nqm.SGD(3.0), 1, [1, 10**6])
    assert np.isfinite([law.mean, law.std, law.quantile(0.5)]).tolist() == [[True, False]] * 3
    assert law.cdf(1.0)[1] == 0.0


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda law: law.quantile(1.5), "q must be probabilities from 0 to 1, but contains 1.5"),
        (lambda law: law.quantile([0.5, -1]), "q must be probabilities from 0 to 1"),
        (lambda law: law.cdf([1.0, 2.0, 3.0]), r"x must have a shape that goes with .*\(2,\)"),
        (lambda law: law.pdf(math.nan), "x must be finite"),
        (lambda law: law.sf("much"), "x must be real numbers"),
    ],
)
def test_mistakes_are_named(ask, said):
    law = nqm.risk_distribution(nqm.Problem([1.0]), nqm.SGD(0.1), 8, [1, 2])
    with pytest.raises(nqm.InputError, match=said):
        ask(law)


def test_a_schedule_that_is_too_short_is_refused():
    with pytest.raises(nqm.InputError, match="lr has values for 3 steps, but 4"):
        nqm.risk_distribution(nqm.Problem([1.0]), nqm.SGD([0.1] * 3), 8, 4)
