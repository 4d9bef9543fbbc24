"""Exact answers at any number of coordinates equal sums over all of them."""

import math
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
from helpers import assert_consistent

import nqm_fast as nqm
from nqm_fast import certified_sums as certified
from nqm_fast.exact.first_passage import checked_steps
from nqm_fast.exact.risk import RiskSums
from nqm_fast.schedules import Constant, Cosine, Piecewise

STEPS = np.unique(np.geomspace(1, 10**6, 7).astype(int)).tolist()
LAWS = {
    "paper": nqm.Problem.power_law(10_000),
    "three laws": nqm.Problem.power_law(
        10_000, 0.7, noise_exponent=1.3, start_exponent=0.4, scale=1.5, noise=0.3, start=7.0
    ),
    "steep": nqm.Problem.power_law(10_001, 2.5),
    "flat, damped": nqm.Problem.power_law(9_999, 0.2, damping=1e-3),
}
ALGORITHMS = {
    "plain": nqm.SGD(0.5),
    "momentum 0.9": nqm.SGD(0.3, momentum=0.9),
    "momentum 0.99": nqm.SGD(0.5, momentum=0.99),
    "momentum 0.9999": nqm.SGD(0.5, momentum=0.9999),
    "averaged": nqm.SGD(0.3, ema=0.999),
    "all": nqm.SGD(0.3, momentum=0.9, ema=0.99, power=0.5),
    "strong power": nqm.SGD(0.1, power=0.9),
    "near the limit": nqm.SGD(1.33, momentum=0.01),
    "schedule": nqm.SGD(Piecewise([0.6, 0.1, 0.01], [100, 10**5, 10**6]), momentum=0.95),
}


def full_sums(monkeypatch, problem, algorithm, batch_size, steps):
    """The risk as a sum over all coordinates."""
    with monkeypatch.context() as patch:
        patch.setattr(certified, "WORTH_A_PASS", problem.dim)
        whole = problem
        if problem.is_power_law:
            whole = nqm.Problem(problem.h, problem.c, var0=problem.var0)
        assert certified.summed_nodes(whole) is None
        return nqm.expected_risk(whole, algorithm, batch_size, steps)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_power_law_equals_its_full_sum(monkeypatch, law, kind):
    problem, algorithm = LAWS[law], ALGORITHMS[kind]
    want = full_sums(monkeypatch, problem, algorithm, 8, STEPS)
    got = nqm.expected_risk(problem, algorithm, 8, STEPS)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_the_paper_problem_in_30_digits():
    steps = [0, 3, 100, 10_000]
    with mpmath.workdps(30):
        lr, risks = mpmath.mpf("0.5"), []
        for t in steps:
            risk = 0
            for i in range(1, 10_001):
                h = 1 / mpmath.mpf(i)
                kept = (1 - lr * h) ** (2 * t)
                risk += h * kept / 2 + (1 - kept) * lr * h / (2 * 8 * (2 - lr * h))
            risks.append(float(risk))
    got = nqm.expected_risk(LAWS["paper"], nqm.SGD(0.5), 8, steps)
    np.testing.assert_allclose(got, risks, rtol=2e-15)


def test_a_million_million_coordinates_by_euler_and_maclaurin():
    # sum f = integral + (f(a) + f(b)) / 2 + (f'(b) - f'(a)) / 12 - ..., from a = 200 on
    dim, cut, batch_size, exponents = 10**12, 200, 4, (1.1, 1.3)
    problem = nqm.Problem.power_law(dim, noise_exponent=1.3, start_exponent=1.1)
    for t in (1, 1000, 10**8):
        with mpmath.workdps(30):

            def risk(i, t=t):
                kept = mpmath.exp(2 * t * mpmath.log1p(-1 / (2 * i)))
                start, noise = (i ** -mpmath.mpf(x) for x in exponents)
                return start * kept / 2 + (1 - kept) * noise / (4 * batch_size * (2 - 1 / (2 * i)))

            def in_log(x, risk=risk):
                return risk(mpmath.exp(x)) * mpmath.exp(x)

            ends = [mpmath.mpf(cut), mpmath.mpf(dim)]
            points = mpmath.linspace(mpmath.log(ends[0]), mpmath.log(ends[1]), 25)
            want = mpmath.fsum(risk(mpmath.mpf(i)) for i in range(1, cut))
            want += mpmath.quad(in_log, points) + sum(map(risk, ends)) / 2
            for order, factor in ((1, mpmath.mpf(1) / 12), (3, -mpmath.mpf(1) / 720)):
                low, high = (mpmath.diff(risk, x, order) for x in ends)
                want += factor * (high - low)
        got = nqm.expected_risk(problem, nqm.SGD(0.5), batch_size, t)
        np.testing.assert_allclose(got, float(want), rtol=1e-12)


@pytest.mark.parametrize("kind", ["momentum 0.99", "momentum 0.9999", "plain"])
def test_an_answer_does_not_depend_on_what_else_is_asked(kind):
    algorithm = ALGORITHMS[kind]
    together = nqm.expected_risk(LAWS["paper"], algorithm, 8, STEPS)
    alone = [nqm.expected_risk(LAWS["paper"], algorithm, 8, t) for t in STEPS]
    np.testing.assert_array_equal(together, alone)


def test_nodes_that_are_too_few_are_noticed(monkeypatch):
    # With momentum the first nodes are off, and say so.
    problem, algorithm = LAWS["paper"], ALGORITHMS["momentum 0.9999"]
    sums = RiskSums(algorithm, Constant(8), np.array([10_000]))
    rough = sums([problem.nodes.joined(certified.FINE)], np.array([0]))[0, 0]
    want = full_sums(monkeypatch, problem, algorithm, 8, 10_000)
    assert abs(rough / want - 1.0) > 1e-8
    answer = certified.certified_sums(problem.nodes, sums)
    np.testing.assert_allclose(answer.sums, want, rtol=1e-12)
    np.testing.assert_allclose(sums([answer.block], np.array([0]))[0, 0], want, rtol=1e-12)
    monkeypatch.setattr(certified, "MOST_SPANS", 1)
    got = nqm.expected_risk(problem, algorithm, 8, 10_000)  # by a sum over all coordinates
    np.testing.assert_allclose(got, want, rtol=1e-12)
    monkeypatch.setattr(certified, "MOST_SUMMED", problem.dim - 1)
    with pytest.raises(
        nqm.InputError, match=r"problem needs more nodes .* i = \d+ \.\. \d+ alone has it to"
    ):
        nqm.expected_risk(problem, algorithm, 8, 10_000)


# -- first passage, tuning and bounds -----------------------------------------------------


@pytest.mark.parametrize("dim", [10**6, 10**12, 10**15])
@pytest.mark.parametrize("kind", ["plain", "momentum 0.9", "momentum 0.99", "averaged"])
def test_the_first_passage_is_where_the_risk_says(dim, kind):
    problem, algorithm = nqm.Problem.power_law(dim), ALGORITHMS[kind]
    target = 0.3 * nqm.expected_risk(problem, algorithm, 2**20, 0)
    first = nqm.steps_to_target(problem, algorithm, 2**20, target, max_steps=2**62)
    before, after = nqm.expected_risk(problem, algorithm, 2**20, [first - 1, first])
    assert before > target >= after


def test_an_oscillating_first_passage_is_the_first():
    problem, algorithm = nqm.Problem.power_law(10**12), nqm.SGD(0.5, momentum=0.9999)
    risk = nqm.expected_risk(problem, algorithm, 2**20, np.arange(1, 301))
    target = float(np.sort(risk)[3])
    first = nqm.steps_to_target(problem, algorithm, 2**20, target)
    assert first == 1 + np.flatnonzero(risk <= target)[0]


@pytest.mark.parametrize("over", [("lr",), ("lr", "ema")])
def test_tuning_of_a_million_million_coordinates(over):
    problem = nqm.Problem.power_law(10**12)
    best = nqm.tune(problem, 64, 2.9, over, max_steps=2**62, effort="fast")
    assert_consistent(problem, 64, 2.9, best)
    rates = best.algorithm.lr.value * np.array([0.8, 1.25])
    others = [nqm.SGD(lr, ema=best.algorithm.ema) for lr in rates]
    assert all(
        nqm.steps_to_target(problem, x, 64, 2.9, max_steps=2**62) > best.steps for x in others
    )


def test_bounds_of_power_laws_equal_those_of_arrays():
    for problem in LAWS.values():
        whole = nqm.Problem(problem.h, problem.c, var0=problem.var0)
        for function, arguments in (
            (nqm.bounds.plain_risk, (0.5, 8, STEPS)),
            (nqm.bounds.theorem1, (0.5, 0.99, 8, STEPS)),
            (nqm.bounds.theorem2, (0.5, 0.9, 8, STEPS)),
            (nqm.bounds.cramer_rao_samples, (0.01,)),
            (nqm.bounds.bayes_risk, (1e4,)),
            (nqm.bounds.bayes_samples, (0.1,)),
        ):
            got, want = function(problem, *arguments), function(whole, *arguments)
            np.testing.assert_allclose(got, want, rtol=1e-12)


# -- long horizons ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "momentum 0.9", "all"])
def test_the_steady_state_after_2_to_62_steps(kind):
    problem = nqm.Problem.power_law(10**6)
    late = nqm.expected_risk(problem, ALGORITHMS[kind], 8, [10**15, 2**62])
    assert 0.0 < late[0] < math.inf
    np.testing.assert_allclose(late[1], late[0], rtol=1e-13)


def test_a_long_schedule_of_few_pieces_is_a_constant():
    problem, half = nqm.Problem.power_law(10**9), 5 * 10**8
    pieces = nqm.SGD(Piecewise([0.1, 0.1 * (1 + 1e-15), 0.1], [half, half, half]), momentum=0.5)
    got = nqm.expected_risk(problem, pieces, 8, 2 * half)
    want = nqm.expected_risk(problem, nqm.SGD(0.1, momentum=0.5), 8, 2 * half)
    np.testing.assert_allclose(got, want, rtol=1e-11)


@pytest.mark.parametrize("last", [0, 1, 7, 9, 10**9 + 1, 2**61 + 5])
def test_steps_at_which_nodes_are_certified_have_few_bits(last):
    steps = checked_steps(last)
    assert steps[-1] == last
    assert (np.diff(steps) > 0).all()
    for step in steps[:-1].tolist():
        assert step.bit_length() - (step & -step).bit_length() < 3
    # None is far from the next.
    assert (steps[2:] <= 2.0 * max(last, 1) ** (1 / 31) * steps[1:-1]).all()


# -- arrays -------------------------------------------------------------------------------

DIM = 40_000


def arrays():
    rng = np.random.default_rng(5)
    h = rng.random(DIM) ** 3 + 1e-9
    yield nqm.Problem(h)
    yield nqm.Problem(np.exp(-8.0 * rng.random(DIM)), 0.3, mean0=0.2, count=rng.random(DIM) + 0.1)
    yield nqm.Problem(h, rng.random(DIM), mean0=rng.normal(size=DIM), var0=rng.random(DIM))
    yield nqm.Problem(np.r_[np.ones(DIM), 1e-3], np.r_[np.zeros(DIM), 1.0])
    yield nqm.Problem(np.repeat(rng.random(40), DIM // 40), rng.random(DIM))


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_arrays_equal_their_full_sum(monkeypatch, kind):
    for problem in arrays():
        want = full_sums(monkeypatch, problem, ALGORITHMS[kind], 8, STEPS)
        got = nqm.expected_risk(problem, ALGORITHMS[kind], 8, STEPS)
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_cells_that_are_too_wide_are_noticed():
    problem = next(arrays())
    smooth, rippled = (RiskSums(ALGORITHMS[k], Constant(8), np.array([1000])) for k in (
        "plain", "momentum 0.9999"))  # fmt: skip
    assert certified.certified_sums(problem.nodes, smooth).block.h.size < 2000
    assert certified.certified_sums(problem.nodes, rippled) is None


def test_the_first_passage_and_bounds_of_arrays(monkeypatch):
    for problem in arrays():
        target = 0.3 * nqm.expected_risk(problem, nqm.SGD(0.5), 2**20, 0)
        arguments = [(kind, target) for kind in (nqm.SGD(0.5), nqm.SGD(0.2, momentum=0.9))]
        got = [nqm.steps_to_target(problem, a, 2**20, x) for a, x in arguments]
        bayes = nqm.bounds.bayes_risk(problem, 1e4)
        rao = nqm.bounds.cramer_rao_samples(problem, 1.0)
        with monkeypatch.context() as patch:
            patch.setattr(certified, "WORTH_A_PASS", problem.dim)
            assert got == [nqm.steps_to_target(problem, a, 2**20, x) for a, x in arguments]
            np.testing.assert_allclose(bayes, nqm.bounds.bayes_risk(problem, 1e4), rtol=1e-12)
            np.testing.assert_allclose(rao, nqm.bounds.cramer_rao_samples(problem, 1.0), rtol=1e-12)


def test_threads_share_the_nodes_of_a_problem():
    problem = next(arrays())
    with ThreadPoolExecutor(8) as pool:
        assert len({id(x) for x in pool.map(lambda _: problem.nodes, range(8))}) == 1


def test_a_compressed_problem_has_nearly_the_same_risks():
    for problem in (LAWS["three laws"], *arrays()):
        small = problem.compressed()
        assert small.dim < 2500
        for algorithm in (nqm.SGD(0.3), nqm.SGD(0.3, ema=0.9), nqm.SGD(Cosine(0.5, 1000))):
            risks = [nqm.expected_risk(p, algorithm, 8, [0, 10, 1000]) for p in (small, problem)]
            np.testing.assert_allclose(*risks, rtol=1e-11)
    few = nqm.Problem.power_law(256)
    assert few.compressed() is few
    with pytest.raises(nqm.InputError, match="nodes must be"):
        few.compressed(0)


@pytest.mark.parametrize("copies", [1, 60])
def test_curvatures_without_noise_and_start_add_nothing(copies):
    """As spectra are measured: a stretch of them has neither, and the answers are as without it."""
    is_empty = np.tile(np.arange(400) < 100, copies)
    h = np.tile(np.geomspace(1e-5, 1.0, 400), copies)
    fields = np.where(is_empty, 0.0, 0.1), np.where(is_empty, 0.0, 1.0)
    whole = nqm.Problem(h, fields[0], var0=fields[1])
    part = nqm.Problem(h[~is_empty], fields[0][~is_empty], var0=fields[1][~is_empty])
    algorithm = nqm.SGD(0.3, momentum=0.5)
    risks = [nqm.expected_risk(problem, algorithm, 64, [0, 10, 1000]) for problem in (whole, part)]
    assert risks[0] == pytest.approx(risks[1], rel=1e-11)
    target = 1.001 * float(risks[1][1])
    first = [nqm.steps_to_target(problem, algorithm, 64, target) for problem in (whole, part)]
    assert first[0] == first[1]
    assert whole.compressed().count.sum() >= part.compressed().count.sum()
    assert nqm.tune(whole, 64, target).steps == nqm.tune(part, 64, target).steps


def test_nothing_that_moves_has_no_risk():
    still = nqm.Problem(np.geomspace(0.1, 1.0, 20_000), np.zeros(20_000), var0=np.zeros(20_000))
    assert nqm.expected_risk(still, nqm.SGD(0.3), 4, 10) == 0.0
    assert nqm.steps_to_target(still, nqm.SGD(0.3), 4, 0.1) == 0
