"""Measured problems have the spectrum, the noise and the start of what they were measured on."""

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import nqm_fast as nqm
from nqm_fast.spectra.bulk import Rule, spread

D, TOP, PROBES = 300, 10, 20
RNG = np.random.default_rng(16)
H = np.concatenate([10.0 - 0.7 * np.arange(TOP), 2.0 / np.arange(1, D - TOP + 1)])
BASIS = np.linalg.qr(RNG.normal(size=(D, D)))[0]
HESSIAN = (BASIS * H) @ BASIS.T
MEAN_GRADIENT = 0.3 * RNG.normal(size=D)  # which is no noise
SCALE = np.sqrt(H) * (1.0 + 0.5 * np.sin(np.arange(D)))
GRADIENTS = (RNG.normal(size=(1000, D)) * SCALE) @ BASIS.T + MEAN_GRADIENT
C = ((GRADIENTS - GRADIENTS.mean(axis=0)) @ BASIS).var(axis=0)
START = BASIS @ (RNG.normal(size=D) / np.sqrt(H))
TRUE = nqm.Problem(H, C, mean0=START @ BASIS, var0=0.0)


def measured(**more):
    arguments = {"start": START, "top": TOP, "probes": PROBES} | more
    return nqm.measure(HESSIAN.__matmul__, np.array_split(GRADIENTS, 7), **arguments)


PROBLEM = measured()
BULK = slice(TOP, None)


def bulk_sum(*names, power=0):
    """A sum over the bulk, of counts times a power of curvature, and of fields."""
    values = PROBLEM.count * PROBLEM.h**power
    for name in names:
        values = values * getattr(PROBLEM, name)
    return values[BULK].sum()


def test_the_top_is_exact():
    np.testing.assert_allclose(PROBLEM.h[:TOP], H[:TOP], rtol=1e-12)
    np.testing.assert_allclose(PROBLEM.c[:TOP], C[:TOP], rtol=1e-8)
    start = np.abs(START @ BASIS)[:TOP]
    np.testing.assert_allclose(np.abs(PROBLEM.mean0[:TOP]), start, rtol=1e-8)
    np.testing.assert_array_equal(PROBLEM.count[:TOP], 1.0)
    np.testing.assert_array_equal(PROBLEM.var0[:TOP], 0.0)


def test_what_is_exact_of_the_bulk():
    h, c, start = H[BULK], C[BULK], (START @ BASIS)[BULK]
    assert bulk_sum() == pytest.approx(D - TOP, rel=1e-12)
    assert bulk_sum("c") == pytest.approx(c.sum(), rel=1e-10)
    assert bulk_sum("var0") == pytest.approx(start @ start, rel=1e-10)
    # The start has a Lanczos run of its own, whose rule is exact for low powers.
    assert bulk_sum("var0", power=1) == pytest.approx(start @ (h * start), rel=1e-6)
    assert PROBLEM.h[BULK].min() >= H.min() - 1e-9
    assert PROBLEM.h[BULK].max() <= H[TOP] + 1e-9


@pytest.mark.parametrize("power", [1, 2, 3])
def test_moments_of_the_bulk_are_right_to_the_statistics_of_probes(power):
    """A random sign vector's v . A v has a variance of at most 2 tr A^2."""
    h, c = H[BULK], C[BULK]
    error = np.sqrt(2.0 * (h ** (2 * power)).sum() / PROBES)
    assert abs(bulk_sum(power=power) - (h**power).sum()) < 3 * error
    noise = np.sqrt(2.0 * ((c * h**power) ** 2).sum() / PROBES)
    # The sum that is scaled to be exact has an error of its own.
    noise += np.sqrt(2.0 * (c**2).sum() / PROBES) * (c @ h**power) / c.sum()
    assert abs(bulk_sum("c", power=power) - (c * h**power).sum()) < 3 * noise


@pytest.mark.parametrize("algorithm", [nqm.SGD(0.05), nqm.SGD(0.01, momentum=0.9, ema=0.9)])
def test_its_risk_is_near_that_of_the_truth(algorithm):
    steps = [0, 1, 10, 100, 1000, 10**5]
    risks = [nqm.expected_risk(p, algorithm, 8, steps) for p in (PROBLEM, TRUE)]
    np.testing.assert_allclose(*risks, rtol=5e-3)
    assert nqm.steps_to_target(PROBLEM, algorithm, 64, 0.1) == pytest.approx(
        nqm.steps_to_target(TRUE, algorithm, 64, 0.1), rel=0.02
    )


def test_the_bulk_alone_has_nearly_the_true_risk():
    """Without resolved eigenvalues, where all is left to quadrature."""
    problem = measured(top=0, probes=40)
    steps = [0, 1, 10, 100, 1000]
    risks = [nqm.expected_risk(p, nqm.SGD(0.05), 8, steps) for p in (problem, TRUE)]
    np.testing.assert_allclose(*risks, rtol=0.1)
    np.testing.assert_allclose(risks[0][:3], risks[1][:3], rtol=1e-3)


def test_all_resolved_is_the_truth():
    problem = measured(top=D)
    order = np.argsort(H)[::-1]
    for name, rtol in {"h": 1e-9, "c": 1e-6, "count": 0}.items():
        np.testing.assert_allclose(getattr(problem, name), getattr(TRUE, name)[order], rtol=rtol)
    np.testing.assert_allclose(np.abs(problem.mean0), np.abs(TRUE.mean0[order]), rtol=1e-6)


def test_what_it_may_be_given_as():
    """A function, an operator, a matrix; batches from a generator, or one array of all samples."""
    for operator in (aslinearoperator(HESSIAN), HESSIAN, lambda v: (HESSIAN @ v).tolist()):
        given = nqm.measure(operator, np.array_split(GRADIENTS, 7), START, top=TOP, probes=PROBES)
        np.testing.assert_allclose(given.h[:TOP], PROBLEM.h[:TOP], rtol=1e-10)
    batches = (batch for batch in np.array_split(GRADIENTS, 7))
    assert nqm.measure(HESSIAN, batches, START, top=TOP, probes=PROBES) == measured()
    one = nqm.measure(HESSIAN, GRADIENTS, START, top=TOP, probes=PROBES)
    np.testing.assert_allclose(one.c[:TOP], C[:TOP], rtol=1e-8)


def test_the_seed_decides():
    assert measured() == PROBLEM
    assert measured(seed=1) != PROBLEM
    np.testing.assert_allclose(measured(seed=1).h[:TOP], H[:TOP], rtol=1e-12)


def test_without_a_start_it_is_that_of_a_problem():
    problem = nqm.measure(HESSIAN, GRADIENTS, top=TOP, probes=2)
    np.testing.assert_array_equal(problem.mean0, 0.0)
    np.testing.assert_array_equal(problem.var0, 1.0)
    with pytest.raises(nqm.InputError, match="dim must be given, where neither"):
        nqm.measure(lambda v: v, GRADIENTS)
    assert nqm.measure(lambda v: v, GRADIENTS, dim=D, probes=1).count.sum() == pytest.approx(D)


# -- real spectra ------------------------------------------------------------------------

SIGNED = np.concatenate([H[:-40], -np.linspace(0.01, 0.2, 20), np.zeros(20)])
SINGULAR = (BASIS * SIGNED) @ BASIS.T


def test_negative_and_zero_eigenvalues():
    arguments = {"start": START, "top": TOP, "probes": PROBES, "nodes": 100, "seed": 1}
    with pytest.raises(nqm.InputError, match=r"h must be > 0.*negative='drop'"):
        nqm.measure(SINGULAR, GRADIENTS, **arguments)
    dropped = nqm.measure(SINGULAR, GRADIENTS, **arguments, negative="drop")
    assert dropped.count.sum() + dropped.dropped.count == pytest.approx(D)
    negative = np.abs(SIGNED[SIGNED < 0.0]).sum()
    assert dropped.dropped.share == pytest.approx(negative / np.abs(SIGNED).sum(), rel=0.3)
    flipped = nqm.measure(SINGULAR, GRADIENTS, **arguments, negative="abs")
    assert flipped.dropped.flipped_share == pytest.approx(dropped.dropped.share)
    damped = nqm.measure(SINGULAR, GRADIENTS, **arguments, damping=0.3)
    assert not damped.dropped
    assert damped.count.sum() == pytest.approx(D)
    np.testing.assert_allclose(damped.h[:TOP], H[:TOP] + 0.3, rtol=1e-12)
    np.testing.assert_allclose(damped.c[:TOP], C[:TOP], rtol=1e-8)


@pytest.mark.parametrize("negative", ["drop", "abs"])
def test_rounding_errors_of_zeros_are_zeros(negative):
    problem = nqm.measure(
        np.diag([3.0, 2.0, 1.0] + [0.0] * 37), GRADIENTS[:, :40], negative=negative
    )
    np.testing.assert_allclose(problem.h, [3.0, 2.0, 1.0], rtol=1e-12)
    assert (problem.dropped.count, problem.dropped.share) == (pytest.approx(37), 0.0)


@pytest.mark.parametrize("hessian", [np.eye(40), np.diag(np.repeat([3.0, 1.0], 20))])
def test_equal_eigenvalues(hessian):
    """ARPACK meets an invariant subspace, and goes on from a vector that must be seeded."""
    problem = nqm.measure(hessian, GRADIENTS[:, :40], np.ones(40), top=5)
    assert problem == nqm.measure(hessian, GRADIENTS[:, :40], np.ones(40), top=5)
    assert problem.count @ problem.h == pytest.approx(np.trace(hessian), rel=0.05)
    assert problem.count @ problem.c == pytest.approx(GRADIENTS[:, :40].var(axis=0).sum())


@pytest.mark.parametrize("d", [1, 2, 3])
def test_few_directions(d):
    h = np.arange(1.0, d + 1)
    for top in range(d + 1):
        problem = nqm.measure(np.diag(h), GRADIENTS[:, :d], np.ones(d), top=top)
        assert problem.count @ problem.h == pytest.approx(h.sum())
        assert problem.count @ problem.c == pytest.approx(GRADIENTS[:, :d].var(axis=0).sum())
        start = problem.mean0**2 + problem.var0
        assert problem.count @ (problem.h * start) == pytest.approx(h.sum())


def test_noise_that_is_small_beside_the_mean_keeps_its_digits():
    shifted = GRADIENTS[:, :40] * 1e-6 + 100.0
    problem = nqm.measure(np.diag(np.arange(1.0, 41)), np.array_split(shifted, 9), top=40)
    wanted = shifted[:, ::-1].astype(np.longdouble).var(axis=0).astype(float)
    np.testing.assert_allclose(problem.c, wanted, rtol=1e-7)


def test_single_precision_is_enough():
    matrix = HESSIAN.astype(np.float32)
    problem = nqm.measure(
        lambda v: matrix @ v.astype(np.float32), GRADIENTS.astype(np.float32), START, top=TOP
    )
    np.testing.assert_allclose(problem.h[:TOP], H[:TOP], rtol=1e-5)
    np.testing.assert_allclose(problem.c[:TOP], C[:TOP], rtol=1e-3)


def test_spreading_keeps_sums():
    rule = Rule(np.array([-1.0, 0.3, 1.0, 2.5]), np.array([1.0, 2.0, 3.0, 4.0]))
    points = np.array([-1.0, 0.0, 1.0, 3.0])
    mass = spread(rule, points)
    np.testing.assert_allclose(mass, [1.0, 2 * 0.7, 2 * 0.3 + 3 + 1, 3.0], rtol=1e-14)
    assert mass @ points == pytest.approx(rule.mass @ rule.h)
    beyond = spread(Rule(np.array([-9.0, 9.0]), np.array([1.0, 2.0])), points)
    np.testing.assert_array_equal(beyond, [1.0, 0.0, 0.0, 2.0])
    same = spread(Rule(np.array([1.0]), np.array([2.0])), np.array([1.0, 1.0, 1.0]))
    assert same.sum() == 2.0


# -- mistakes ----------------------------------------------------------------------------

SMALL, ROWS = np.diag(np.arange(1.0, 41)), GRADIENTS[:, :40]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hessian_vector_product": np.triu(np.ones((40, 40)))}, "must be symmetric and the same"),
        ({"hessian_vector_product": lambda v: v + 1, "dim": 40}, "must be symmetric and the same"),
        ({"hessian_vector_product": lambda v: v[:3], "dim": 40}, "must return an array of the sha"),
        (
            {"hessian_vector_product": lambda v: v / 0.0 * 0, "dim": 40},
            "must be finite, but contai",
        ),
        ({"hessian_vector_product": lambda v: 0 * v, "dim": 40}, "there is no curvature"),
        ({"hessian_vector_product": 5, "dim": 40}, "must be a LinearOperator or a function of an"),
        ({"hessian_vector_product": np.ones((3, 2))}, "must be square, but has shape (3, 2)"),
        ({"dim": 41}, "dim must agree on the number of directions, which is 40 by hessian_vector"),
        ({"start": np.ones(3)}, "start must agree on the number of directions, which is 40 by h"),
        ({"start": np.ones((40, 1))}, "start must have shape (d,), but has shape (40, 1)"),
        ({"start": [np.nan] * 40}, "start must be finite"),
        ({"per_sample_gradients": []}, "must have two samples at least, not 0"),
        ({"per_sample_gradients": [ROWS[:1]]}, "must have two samples at least, not 1"),
        (
            {"per_sample_gradients": [ROWS[:, :3]]},
            "must be arrays of shape (n, 40), one row a samp",
        ),
        ({"per_sample_gradients": ROWS[0]}, "must be arrays of shape (n, 40), one row a sample"),
        ({"per_sample_gradients": [ROWS * np.nan]}, "per_sample_gradients must be finite"),
        ({"per_sample_gradients": 5}, "must be an iterable of arrays of shape (n, d), not a int"),
        ({"top": 41}, "top must be a whole number from 0 to 40, not 41"),
        ({"top": -1}, "top must be a whole number >= 0"),
        ({"probes": 0}, "probes must be a whole number >= 1, not 0"),
        ({"nodes": 0}, "nodes must be a whole number >= 1, not 0"),
        ({"seed": -1}, "seed must be a whole number >= 0, not -1"),
        ({"negative": "clip"}, "negative must be one of error, drop, abs"),
        ({"damping": -1.0}, "damping must be >= 0"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_mistakes(arguments, said):
    usual = {"hessian_vector_product": SMALL, "per_sample_gradients": [ROWS]}
    with pytest.raises(nqm.InputError) as caught:
        nqm.measure(**(usual | arguments))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_of_the_product_say_whose_they_are():
    with pytest.raises(nqm.InputError) as caught:
        nqm.measure(lambda v: np.ones((4, 4)) @ v, GRADIENTS, dim=6)
    said = "hessian_vector_product must take an array of shape (6,), but raises ValueError: matmul"
    assert str(caught.value).startswith(said)
    assert isinstance(caught.value.__cause__, ValueError)
