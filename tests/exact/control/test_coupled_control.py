"""optimal_control where noise depends on the iterate, and the groups of steps that it stands on."""

import itertools
import math
import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.exact.control.additive_search import ControlLimits
from nqm_fast.exact.control.batch_budget import BatchLimits, BestBatches
from nqm_fast.exact.control.coupled_pieces import CoupledModel, Groups
from nqm_fast.exact.control.coupled_search import LEAST_SHARE, Shares, control_search
from nqm_fast.exact.coupled.nodes import CoupledNodes
from nqm_fast.exact.search.nodes import fewest_nodes
from nqm_fast.noise import Gaussian, LossDependent

FEW = nqm.Problem([1.0, 0.5, 0.25], mean0=[1, -1, 2], var0=0)
MANY = nqm.Problem.power_law(1000)
SOME = nqm.Problem.power_law(60)
NOISES = [Gaussian(), Gaussian(1.0), Gaussian(label_noise=0.01), LossDependent(2.0)]
FREE = BatchLimits(1, math.inf, True, True)


ALGORITHMS = {
    "plain": nqm.SGD(1.0),
    "power": nqm.SGD(1.0, power=0.3),
    "momentum": nqm.SGD(1.0, momentum=0.9),
    "ema": nqm.SGD(1.0, ema=0.8),
    "both": nqm.SGD(1.0, momentum=0.7, ema=0.9, power=0.2),
    "nesterov": nqm.Nesterov(1.0, momentum=0.9),
    "pytorch": nqm.Nesterov(1.0, momentum=0.8, form="pytorch"),
    "qhm": nqm.QHM(1.0, momentum=0.95, nu=0.7),
    "delayed": nqm.DelayedSGD(1.0, 1),
}
every = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def model_of(problem, algorithm=ALGORITHMS["plain"]):
    nodes = CoupledNodes(problem)
    return CoupledModel(nodes.joined(20) if nodes.parts else nodes.every(), algorithm, 2.0)


def some_pieces(pieces, steps):
    rng = np.random.default_rng(3)
    lengths = np.diff(np.rint(np.linspace(0, steps, pieces + 1)).astype(np.int64))
    log_rates = np.log(np.geomspace(0.25, 0.03, pieces)) + 0.1 * rng.normal(size=pieces)
    return log_rates, lengths, np.geomspace(4.0, 30.0, pieces)


def exact_risk(problem, log_rates, lengths, sizes, algorithm=ALGORITHMS["plain"]):
    lr = schedules.Piecewise(np.exp(log_rates).tolist(), lengths.tolist())
    batch = schedules.Piecewise(sizes.tolist(), lengths.tolist())
    given_ = algorithm.with_hyper_parameters(lr=lr)
    return nqm.expected_risk(problem, given_, batch, int(lengths.sum()))


# -- groups of steps -----------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISES, ids=str)
@every
def test_groups_of_one_step_are_exact(noise, algorithm):
    problem = nqm.Problem.power_law(300).with_noise(noise)
    log_rates, lengths, sizes = some_pieces(5, 200)
    log_rates = log_rates - 1.0
    groups = Groups(lengths)
    risk = model_of(problem, algorithm).risk_and_slopes(log_rates, groups, 1.0 / sizes).risk
    exact = exact_risk(problem, log_rates, lengths, sizes, algorithm)
    assert risk == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize(("pieces", "steps"), [(4, 2000), (40, 5000)])
@pytest.mark.parametrize("name", ["plain", "momentum", "both"])
def test_long_groups_are_off_by_little(noise, pieces, steps, name):
    problem, algorithm = MANY.with_noise(noise), ALGORITHMS[name]
    log_rates, lengths, sizes = some_pieces(pieces, steps)
    log_rates = log_rates - 1.0
    model = model_of(problem, algorithm)
    groups = model.groups(lengths)
    assert len(groups.kind) < 400
    risk = model.risk_and_slopes(log_rates, groups, 1.0 / sizes).risk
    exact = exact_risk(problem, log_rates, lengths, sizes, algorithm)
    assert risk == pytest.approx(exact, rel=2e-5 if name == "plain" else 1e-3)


@pytest.mark.parametrize("lengths", [[1], [7], [300, 1, 5000], [10**9, 3, 10**12], [2**61]])
def test_groups_are_all_steps_of_their_pieces(lengths):
    groups = Groups(np.array(lengths))
    taken = [0] * len(lengths)
    for k in groups.kind.tolist():
        taken[groups.piece[k]] += int(groups.length[k])
    assert taken == lengths
    assert len(groups.kind) < 3000


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("steps", [60, 1000, 20_000])
def test_slopes_are_those_of_finite_differences(noise, steps):
    model = model_of(nqm.Problem.power_law(30).with_noise(noise))
    log_rates, lengths, sizes = some_pieces(4, steps)
    sizes = sizes / 3.0
    groups = Groups(lengths)

    def risk(log_rates, inverse):
        return model.risk_and_slopes(log_rates, groups, inverse).risk

    found = model.risk_and_slopes(log_rates, groups, 1.0 / sizes)
    for k in range(4):
        step = 1e-5 * (np.arange(4) == k)
        by_rate = (risk(log_rates + step, 1 / sizes) - risk(log_rates - step, 1 / sizes)) / 2e-5
        moved = step / sizes
        by_batch = risk(log_rates, 1 / sizes + moved) - risk(log_rates, 1 / sizes - moved)
        assert found.slope[k] == pytest.approx(by_rate, rel=1e-5, abs=1e-8 * found.risk)
        assert found.weights[k] / sizes[k] == pytest.approx(
            by_batch / 2e-5, rel=1e-5, abs=1e-8 * found.risk
        )


def precise_risk(problem, algorithm, log_rates, lengths, inverse):
    """The risk in the digits of mpmath, step by step."""
    size, noise = problem.dim, problem.noise_model
    recurrence = algorithm.recurrence(problem.h)
    terms, start, read, gradient = recurrence
    n = len(read)
    point = [1.0] + [0.0] * (n - 1) if gradient is None else gradient

    def number(entry, j):
        value = entry[0] * entry[1] if isinstance(entry, tuple) else entry
        return mpmath.mpf(float(np.broadcast_to(value, (size,))[j]))

    start, read, point = (mpmath.matrix([mpmath.mpf(x) for x in y]) for y in (start, read, point))
    factors = [x.tolist() for x in (problem.c, *noise.coupling(problem.h, problem.c))]
    moments = [x * start * start.T for x in (problem.mean0**2 + problem.var0).tolist()]
    for x, length, inv in zip(log_rates, lengths, inverse, strict=True):
        maps = []
        for j in range(size):
            matrix, kick = mpmath.eye(n), mpmath.matrix(n, 1)
            for weight, (change, kicks) in zip([1, mpmath.exp(x)], terms, strict=True):
                for a in range(n):
                    kick[a] += weight * number(kicks[a], j)
                    for b in range(n):
                        matrix[a, b] += weight * number(change[a][b], j)
            maps.append((matrix, kick))
        for _ in range(int(length)):
            squares = [(point.T * m * point)[0] for m in moments]
            total = sum(w * s for w, s in zip(factors[3], squares, strict=True))
            moments = [
                matrix * m * matrix.T + kick * kick.T * inv * (c + own * square + shared * total)
                for (matrix, kick), m, square, c, own, shared in zip(
                    maps, moments, squares, *factors[:3], strict=True
                )
            ]
    both = zip(problem.h.tolist(), moments, strict=True)
    return sum(mpmath.mpf(h) / 2 * (read.T * m * read)[0] for h, m in both)


@pytest.mark.parametrize("noise", [Gaussian(), LossDependent(2.0)], ids=str)
@pytest.mark.parametrize("name", ["plain", "momentum", "ema", "nesterov", "both"])
def test_slopes_are_those_of_finite_differences_in_50_digits(name, noise):
    """Groups of single steps are exact, so that these are derivatives of the risk itself."""
    problem, algorithm = FEW.with_noise(noise), ALGORITHMS[name]
    log_rates, lengths, sizes = some_pieces(3, 20)
    inverse = 1.0 / sizes
    found = model_of(problem, algorithm).risk_and_slopes(log_rates, Groups(lengths), inverse)
    with mpmath.workdps(50):
        numbers = [mpmath.mpf(float(x)) for x in [*log_rates, *inverse]]

        def risk(k, change):
            moved = [x + change * (m == k) for m, x in enumerate(numbers)]
            return precise_risk(problem, algorithm, moved[:3], lengths, moved[3:])

        assert found.risk == pytest.approx(float(risk(-1, 0)), rel=1e-13)
        step = mpmath.mpf(10) ** -18
        for k in range(6):
            exact = float((risk(k, step) - risk(k, -step)) / (2 * step))
            slope = np.append(found.slope, found.weights)[k]
            assert slope == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize(
    "problem",
    [
        nqm.Problem.power_law(10**9),
        nqm.Problem.power_law(10**5, exponent=1.5),
        nqm.Problem(np.geomspace(1, 1e-4, 3000), np.geomspace(1, 1e-6, 3000)),
    ],
    ids=["long", "steep", "array"],
)
def test_few_nodes_stand_for_all(problem, noise):
    problem = problem.with_noise(noise)
    nodes = CoupledNodes(problem)
    few = fewest_nodes(problem, has_state=False)
    all_ = nodes.joined(20) if nodes.parts else nodes.every()
    assert few.h.size <= 80 < all_.h.size
    log_rates, lengths, sizes = some_pieces(6, 3000)
    pair = [
        CoupledModel(x, ALGORITHMS["momentum"], 2.0).risk_and_slopes(
            log_rates - 2.0, Groups(lengths), 1.0 / sizes
        )
        for x in (few, all_)
    ]
    assert pair[0].risk == pytest.approx(pair[1].risk, rel=2e-3)
    assert pair[0].slope == pytest.approx(pair[1].slope, rel=1e-2, abs=1e-3 * pair[1].risk)


# -- budgets -------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=9),
    st.integers(1, 5),
    st.integers(1, 40) | st.none(),
    st.booleans(),
    st.floats(0.01, 0.99),
    st.randoms(use_true_random=False),
)
def test_budgets_hold_whatever_the_free_numbers_are(lengths, least, more, may_fall, part, random):
    most = math.inf if more is None else least + more
    steps = sum(lengths)
    samples = steps * (least + part * (30 if more is None else more))
    limits = BatchLimits(least, most, True, may_fall)
    shares = Shares(BestBatches(samples, limits), np.array(lengths))
    assert shares.are_free
    free = np.array([random.uniform(low / 5, high / 5) for low, high in shares.bounds])
    rates = np.array([random.uniform(-3, 0) for _ in lengths])
    batch, change = shares.batches(free, rates)
    assert batch @ lengths == pytest.approx(samples, rel=1e-9)
    assert least * (1 - 1e-12) <= batch.min() <= batch.max() <= most * (1 + 1e-12)
    assert may_fall or (np.diff(batch) >= -1e-9 * batch.max()).all()
    again = shares.batches(shares.free_of(batch, rates), rates)[0]
    mean = (samples - least * steps) / steps  # of what is taken beyond the least
    has_room = math.isinf(most) or batch.max() < most - max(LEAST_SHARE * (most - mean), 0.01)
    if batch.min() > least + LEAST_SHARE * mean and has_room:
        assert again == pytest.approx(batch, rel=1e-6)
    weight = np.array([random.uniform(-1, 1) for _ in lengths])
    by_free, by_rate = shares.slopes(weight, change)
    for k in range(len(free)):
        step = 1e-5 * (np.arange(len(free)) == k)
        for slope, up, down in (
            (by_free, (free + step, rates), (free - step, rates)),
            (by_rate, (free, rates + step), (free, rates - step)),
        ):
            moved = weight @ (shares.batches(*up)[0] - shares.batches(*down)[0]) / 2e-5
            assert slope[k] == pytest.approx(moved, rel=1e-4, abs=1e-5 * batch.max())


@pytest.mark.parametrize("noise", [Gaussian(label_noise=0.3), LossDependent(1.0)], ids=str)
def test_no_grid_beats_the_best_two_pieces(noise):
    problem = FEW.with_noise(noise)
    lengths, samples = (6, 6), 60
    best = nqm.optimal_control(problem, steps=12, samples=samples, pieces=lengths)
    h, c = problem.h, problem.c
    own, shared, weight = noise.coupling(h, c)
    rates = np.geomspace(0.05, 1.6, 60)
    first, last = (x.ravel()[:, None] for x in np.meshgrid(rates, rates))
    lowest = math.inf
    for size in range(1, 10):
        moments = (problem.mean0**2) * np.ones((len(first), 1))
        for lr, b in ((first, size), (last, 10 - size)):
            for _ in range(6):
                variance = c + own * moments + shared * (moments @ weight)[:, None]
                moments = (1 - lr * h) ** 2 * moments + lr**2 * variance / b
        lowest = min(lowest, (0.5 * moments @ h).min())
    assert best.samples == samples
    assert 0.99 * lowest <= best.risk <= lowest * (1.0 + 1e-9)


@pytest.mark.parametrize("noise", [Gaussian(), Gaussian(1.5), LossDependent(0.7)], ids=str)
def test_one_coordinate_has_the_best_rate_of_every_step(noise):
    problem = nqm.Problem([0.8], 0.7, var0=2.0).with_noise(noise)
    steps = 12
    best = nqm.optimal_control(problem, steps=steps, samples=steps)
    own, shared, weight = (float(x[0]) for x in noise.coupling(problem.h, problem.c))
    moment, rates = 2.0, []
    for _ in range(steps):
        variance = 0.7 + (own + shared * weight) * moment
        rates.append(0.8 * moment / (0.64 * moment + variance))
        moment = (1.0 - 0.8 * rates[-1]) ** 2 * moment + rates[-1] ** 2 * variance
    assert best.risk == pytest.approx(0.4 * moment, rel=1e-8)
    assert best.lr.values_ == pytest.approx(rates, rel=1e-3)


def test_without_dependence_the_answer_is_that_of_additive_noise():
    given_ = {"steps": 100, "samples": 5000, "pieces": [25] * 4}
    alone = nqm.optimal_control(SOME, **given_)
    best = nqm.optimal_control(SOME.with_noise(LossDependent(1e-7)), **given_)
    assert best.risk == pytest.approx(alone.risk, rel=2e-5)
    assert best.samples == alone.samples


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 64])
def test_named_schedules_are_not_better(size):
    problem, steps = SOME.with_noise(Gaussian()), 100
    best = nqm.optimal_control(problem, steps=steps, samples=size * steps, pieces=[20] * 5)
    for make in (
        float,
        lambda x: schedules.Cosine(x, steps),
        lambda x: schedules.Linear(x, 0, steps),
    ):
        risks = [
            nqm.expected_risk(problem, nqm.SGD(make(x)), size, steps)
            for x in np.geomspace(0.02, 1.9, 16).tolist()
        ]
        assert best.risk < min(risks)


@pytest.mark.slow
def test_the_joint_optimum_is_where_batch_sizes_ask_for_themselves():
    """The derivatives by batch sizes, as weights in closed form, lead to the same batch sizes."""
    problem = SOME.with_noise(Gaussian())
    limits = ControlLimits(True, True, math.inf, 0, FREE)
    search = control_search(
        problem, fewest_nodes(problem, has_state=False), nqm.SGD(1.0), 16, limits
    )
    search.tolerance = 1e-14
    found = search.lowest(1000, 30_000)
    lengths, rates = found.layout.lengths, found.layout.log_rates(found.free)
    at = search.model.risk_and_slopes(rates, Groups(lengths), 1.0 / found.batch)
    asked = search.batches_of(30_000)(at.weights, lengths)
    assert found.batch == pytest.approx(asked, rel=2e-3)


@pytest.mark.mostly_slow(1, slow=1)
@pytest.mark.parametrize("name", ["momentum", "nesterov", "ema"])
def test_no_grid_beats_the_best_two_pieces_of_a_method(name):
    problem = nqm.Problem(np.geomspace(1.0, 0.05, 4), mean0=1.0).with_noise(Gaussian())
    algorithm = ALGORITHMS[name]
    lengths, samples = [7, 5], 120
    best = nqm.optimal_control(
        problem, steps=12, samples=samples, pieces=lengths, algorithm=algorithm
    )
    model, groups = model_of(problem, algorithm), Groups(np.array(lengths))
    rates = np.log(np.geomspace(0.01, 1.0, 18))
    lowest = math.inf
    for pair in itertools.product(rates, rates):
        for size in (2, 4, 6, 8, 9, 10, 11, 12, 14):
            sizes = np.array([size, (samples - 7 * size) / 5])
            risk = model.risk_and_slopes(np.array(pair), groups, 1.0 / sizes).risk
            lowest = min(lowest, risk)
    assert best.samples == samples
    assert best.algorithm.with_hyper_parameters(lr=1.0) == algorithm
    assert 0.85 * lowest <= best.risk <= lowest * (1.0 + 1e-9)


NAMED = st.one_of(
    st.builds(schedules.Constant, st.floats(1e-3, 1.9)),
    st.builds(schedules.Cosine, st.floats(1e-3, 1.9), st.integers(1, 60), st.floats(0, 0.5)),
    st.builds(schedules.Linear, st.floats(1e-3, 1.9), st.floats(0, 1.9), st.integers(1, 60)),
    st.builds(schedules.InverseTime, st.floats(1e-3, 1.9), st.floats(0.5, 50), st.floats(0.2, 2)),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    NAMED,
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(NOISES),
    st.sampled_from(["plain", "momentum", "ema", "nesterov"]),
    st.sampled_from([FEW, SOME]),
)
def test_no_named_schedule_is_better_where_every_step_is_a_piece(
    named, steps, size, noise, name, problem
):
    problem, algorithm = problem.with_noise(noise), ALGORITHMS[name]
    best = nqm.optimal_control(problem, steps=steps, samples=steps * size, algorithm=algorithm)
    other = nqm.expected_risk(problem, algorithm.with_hyper_parameters(lr=named), size, steps)
    assert best.risk <= other * (1.0 + 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [Gaussian(label_noise=1.0), LossDependent(0.5)], ids=str)
@pytest.mark.parametrize("name", ["plain", "momentum"])
def test_tuned_named_schedules_are_not_better_at_any_dimension(noise, name):
    problem, steps, size = nqm.Problem.power_law(10**12).with_noise(noise), 4096, 64
    algorithm = ALGORITHMS[name]
    best = nqm.optimal_control(problem, steps=steps, samples=size * steps, algorithm=algorithm)
    assert best.samples == size * steps
    assert best.samples == sum(
        n * b for n, b in zip(best.batch_size.lengths, best.batch_size.values_, strict=True)
    )
    assert best.risk == nqm.expected_risk(problem, best.algorithm, best.batch_size, steps)
    for make in (
        float,
        lambda x: schedules.Cosine(x, steps),
        lambda x: schedules.Linear(x, 0, steps),
        lambda x: schedules.WarmupStableDecay(x, 0, steps - steps // 5, steps // 5),
    ):
        for peak in np.geomspace(0.01, 1.5, 12).tolist():
            other = algorithm.with_hyper_parameters(lr=make(peak))
            assert best.risk < nqm.expected_risk(problem, other, size, steps)


def test_a_method_without_state_is_plain_sgd():
    """QHM without its momentum goes through the general recurrence."""
    problem, given_ = SOME.with_noise(Gaussian()), {"steps": 200, "samples": 5000, "pieces": 4}
    plain = nqm.optimal_control(problem, **given_)
    other = nqm.optimal_control(problem, **given_, algorithm=nqm.QHM(1.0, momentum=0.9, nu=0.0))
    assert other.risk == pytest.approx(plain.risk, rel=1e-4)


def test_limits_hold():
    best = nqm.optimal_control(
        SOME.with_noise(Gaussian()), steps=120, samples=2400, pieces=5, min_batch=10, max_batch=40,
        max_lr=0.5, warmup=20, monotone=True,
    )  # fmt: skip
    sizes, rates = best.batch_size.values_, best.lr.values(np.arange(20, 120))
    assert 10 <= min(sizes) <= max(sizes) <= 40
    assert list(sizes) == sorted(sizes)
    assert best.samples == 2400
    assert rates.max() <= 0.5 * (1 + 1e-12)
    assert (np.diff(rates) <= 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("searched", ["steps", "samples"])
def test_targets_are_reached_by_what_is_the_fewest(searched):
    problem = SOME.with_noise(Gaussian())
    amount = {"steps": {"samples": 3000}, "samples": {"steps": 150}}[searched]
    best = nqm.optimal_control(problem, **amount, target=0.3, pieces=4)
    assert 0.28 < best.risk <= 0.3
    fewer = {searched: round(getattr(best, searched) * 0.9)}
    assert nqm.optimal_control(problem, **amount, **fewer, pieces=4).risk > 0.3


def test_comparisons_have_such_noise():
    problem = nqm.Problem.power_law(20).with_noise(Gaussian())
    found = nqm.compare_schedules(problem, 2000, 100, ["constant", "linear", "optimal"], horizons=1)
    constant, linear, optimal = (row.risk for row in found.schedules)
    assert constant > linear > optimal
    wanted = nqm.expected_risk(problem, nqm.SGD(found["linear"].lr), 20, 100)
    assert linear == pytest.approx(wanted, rel=1e-12)


def test_others_are_refused():
    problem = SOME.with_noise(Gaussian())
    with pytest.raises(nqm.InputError, match="must have steps that are all alike but for lr"):
        nqm.optimal_control(problem, steps=9, samples=9, algorithm=nqm.ScheduleFree(1.0))
    with pytest.raises(nqm.InputError, match="must have a state of at most 4 numbers for optimal"):
        nqm.optimal_control(problem, steps=9, samples=9, algorithm=nqm.DelayedSGD(1.0, 9))


def irregular_problem():
    """An array whose very few nodes are off by parts in a thousand."""
    rng = np.random.default_rng(0)
    h = np.sort(rng.uniform(1e-4, 1.0, 300))[::-1]
    return nqm.Problem(h, c=rng.uniform(0.0, 1.0, 300), mean0=rng.normal(size=300))


@pytest.mark.parametrize(
    ("noise", "algorithm"),
    [
        (nqm.noise.LossDependent(3.0), nqm.SGD(1.0)),
        (nqm.noise.Gaussian(), nqm.SGD(1.0)),
        pytest.param(None, nqm.SGD(1.0, momentum=0.9), marks=pytest.mark.slow),
    ],
)
def test_targets_just_above_the_lowest_risk_are_reached(noise, algorithm):
    """Few nodes do not decide that they are not, and what is said to be the lowest risk is that."""
    problem = irregular_problem().with_noise(noise)
    how = {"steps": 100, "max_batch": 8, "algorithm": algorithm}
    lowest = nqm.optimal_control(problem, **how).risk
    best = nqm.optimal_control(problem, **how, target=lowest * (1.0 + 1e-4))
    assert best.risk <= lowest * (1.0 + 1e-4)
    assert best.samples <= 800
    with pytest.raises(nqm.InputError, match="target must be at least") as refusal:
        nqm.optimal_control(problem, **how, target=lowest * (1.0 - 1e-3))
    said = float(re.search(r"at least ([\d.]+)", str(refusal.value)).group(1))
    assert said == pytest.approx(lowest, rel=3e-5)


@pytest.mark.parametrize("noise", [None, nqm.noise.Gaussian(), nqm.noise.LossDependent(2.0)])
@pytest.mark.parametrize("algorithm", [nqm.SGD(1.0, momentum=0.9), nqm.Nesterov(1.0, 0.9)])
def test_methods_with_a_state_reach_targets_in_so_many_steps(noise, algorithm):
    """Without noise their risk decays to rounding errors, which may be negative."""
    problem = nqm.Problem([1.0, 0.3, 0.01]).with_noise(noise)
    how = {"steps": 100, "pieces": 4, "algorithm": algorithm}
    best = nqm.optimal_control(problem, **how, target=1e-2)
    assert best.risk <= 1e-2
    assert nqm.optimal_control(problem, **how, samples=best.samples).risk <= 1.01e-2


def test_without_noise_a_method_with_a_state_leaves_next_to_nothing():
    problem = nqm.Problem([1.0, 0.3, 0.01], c=0.0)
    algorithm = nqm.SGD(1.0, momentum=0.9)
    best = nqm.optimal_control(problem, steps=100, samples=1000, pieces=4, algorithm=algorithm)
    assert 0.0 <= best.risk < 1e-9


def test_numbers_near_the_largest_double_are_no_warnings():
    problem = nqm.Problem([1e200, 1e190], c=1e300).with_noise(nqm.noise.LossDependent(1.0))
    start = nqm.expected_risk(problem, nqm.SGD(0.0), 1, 0)
    assert nqm.optimal_control(problem, steps=20, samples=100).risk <= start * (1.0 + 1e-9)
