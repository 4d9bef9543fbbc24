"""Curvatures that are not positive are refused, dropped or flipped, and damping comes first."""

import copy
import math
import pickle

import numpy as np
import pytest
from helpers import assert_same_problem

import nqm_fast as nqm

H = [2.0, -0.5, 0.0, 1.0, -0.1]
FIELDS = {
    "c": [1.0, 2.0, 3.0, 4.0, 5.0],
    "mean0": [0.1, 0.2, 0.3, 0.4, 0.5],
    "var0": [5.0, 4.0, 3.0, 2.0, 1.0],
    "count": [1.0, 2.0, 3.0, 4.0, 10.0],
}


def part(*chosen):
    return {name: np.array(values)[list(chosen)] for name, values in FIELDS.items()}


def test_the_error_says_how_many_the_least_and_what_to_pass():
    with pytest.raises(nqm.InputError) as caught:
        nqm.Problem(H)
    assert str(caught.value) == (
        "h must be > 0, but element 1 is -0.5, the least of 3 curvatures of 5 that are negative or "
        "zero: pass negative='drop' to leave them out, negative='abs' to take absolute values, or "
        "damping > 0.5"
    )
    with pytest.raises(nqm.InputError, match=r"3 curvatures of 5 \(15 of 20 coordinates\)"):
        nqm.Problem(H, count=FIELDS["count"])
    with pytest.raises(nqm.InputError, match=r"h \+ damping must be .* -0\.4, .* damping > 0\.5"):
        nqm.Problem(H, damping=0.1)
    with pytest.raises(nqm.InputError, match="1 curvature of 2 that is negative or zero"):
        nqm.Problem([1.0, 0.0])


def test_dropping_leaves_out_all_fields_of_a_coordinate():
    problem = nqm.Problem(H, **FIELDS, negative="drop")
    assert_same_problem(problem, nqm.Problem([2.0, 1.0], **part(0, 3)))
    assert problem.dropped.count == 15
    trace = 2.0 + 2 * 0.5 + 4.0 + 10 * 0.1
    assert problem.dropped.share == pytest.approx((2 * 0.5 + 10 * 0.1) / trace, rel=1e-14)
    assert problem.dropped.flipped == 0


def test_absolute_values_keep_all_but_zeros():
    problem = nqm.Problem(H, **FIELDS, negative="abs")
    assert_same_problem(problem, nqm.Problem([2.0, 0.5, 1.0, 0.1], **part(0, 1, 3, 4)))
    assert (problem.dropped.count, problem.dropped.share) == (3, 0.0)
    assert problem.dropped.flipped == 12
    assert problem.dropped.flipped_share == pytest.approx(2 / 8, rel=1e-14)


@pytest.mark.parametrize("negative", ["error", "drop", "abs"])
def test_damping_comes_first(negative):
    """A problem of a damped Hessian is that of damped curvatures, however noise is given."""
    for noise in ({}, {"c": FIELDS["c"]}, {"sigma": [1.0, 2.0, 3.0, 4.0, 5.0]}):
        damped = np.add(H, 0.6)
        wanted = nqm.Problem(damped, **noise)
        assert_same_problem(nqm.Problem(H, **noise, damping=0.6, negative=negative), wanted)
    assert not nqm.Problem(H, damping=0.6, negative=negative).dropped


def test_what_damping_leaves_negative_is_dropped():
    problem = nqm.Problem(H, damping=0.2, negative="drop")
    np.testing.assert_array_equal(problem.h, np.add([2.0, 0.0, 1.0, -0.1], 0.2))
    assert problem.dropped.count == 1
    assert problem.dropped.share == pytest.approx(0.3 / (2.2 + 0.3 + 0.2 + 1.2 + 0.1), rel=1e-14)


def test_a_zero_contributes_no_risk():
    """Dropping it is exact: the risk is that with a curvature that is as good as zero."""
    problem = nqm.Problem([1.0, 0.0], [0.3, 0.3], negative="drop")
    nearly = nqm.Problem([1.0, 1e-300], [0.3, 0.3])
    for algorithm in (nqm.SGD(0.3), nqm.SGD(0.1, momentum=0.9)):
        risks = [nqm.expected_risk(p, algorithm, 2, [0, 1, 100, 10**6]) for p in (problem, nearly)]
        np.testing.assert_allclose(*risks, rtol=1e-13)


def test_what_was_dropped_is_kept_and_shown(tmp_path):
    problem = nqm.Problem(H, **FIELDS, negative="drop")
    assert repr(problem) == (
        "<Problem: 2 curvatures from 1 to 2, 15 dropped with 0.25 of the trace>"
    )
    assert "15 dropped with 0.25 of the trace" in problem._repr_html_()
    problem.save(tmp_path / "p.npz")
    copies = [
        nqm.Problem.load(tmp_path / "p.npz"),
        nqm.read_spectrum(tmp_path / "p.npz"),
        pickle.loads(pickle.dumps(problem)),
        copy.deepcopy(problem),
    ]
    for other in copies:
        assert other.dropped == problem.dropped
        assert other == problem
    run = nqm.simulate(nqm.Problem(H, negative="drop"), nqm.SGD(0.1), 4, 3, out=tmp_path / "r.h5")
    assert nqm.open_run(tmp_path / "r.h5").experiment.problem.dropped.count == 3
    assert run.experiment.problem.dropped.count == 3
    whole = nqm.Problem([1.0, 2.0])
    assert not whole.dropped
    assert (whole.dropped.count, whole.dropped.share) == (0, 0.0)
    assert "dropped" not in repr(whole)


def test_problems_are_equal_whatever_was_dropped():
    problem = nqm.Problem(H, negative="drop")
    assert problem == nqm.Problem([2.0, 1.0])
    assert hash(problem) == hash(nqm.Problem([2.0, 1.0]))


def test_what_was_dropped_does_not_change():
    problem = nqm.Problem(H, negative="drop")
    with pytest.raises(AttributeError):
        problem.dropped = None
    with pytest.raises(AttributeError):
        problem.dropped.count = 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"negative": "clip"}, "negative must be one of error, drop, abs, not 'clip'"),
        ({"negative": None}, "negative must be one of error, drop, abs, not None"),
        ({"damping": -1}, "damping must be >= 0, not -1"),
        ({"damping": math.nan}, "damping must be >= 0, not nan"),
        ({"damping": [1.0, 2.0]}, "damping must be a number >= 0"),
        ({"h": [-1.0, 0.0], "negative": "drop"}, "h has no curvature > 0"),
        ({"h": [0.0, 0.0], "negative": "abs"}, "h has no curvature > 0"),
        ({"h": [1e308, 1.0], "damping": 1e308}, "h + damping must be finite"),
    ],
    ids=str,
)
def test_mistakes(arguments, said):
    with pytest.raises(nqm.InputError) as caught:
        nqm.Problem(**({"h": H} | arguments))
    assert str(caught.value).startswith(said)


# -- power laws, matrices, least squares -------------------------------------------------


@pytest.mark.parametrize("exponent", [1.0, 0.7, 0.0])
def test_a_damped_power_law(exponent, tmp_path):
    law = nqm.Problem.power_law(200, exponent, damping=0.25)
    wanted = nqm.Problem(np.arange(1, 201.0) ** -exponent, damping=0.25)
    assert_same_problem(law, wanted)
    assert law.curvature_range == (wanted.h.min(), wanted.h.max())
    assert not law.is_harmonic
    assert repr(law) == f"Problem.power_law(200, exponent={exponent:g}, damping=0.25)"
    law.save(tmp_path / "p.npz")
    assert nqm.Problem.load(tmp_path / "p.npz") == law != nqm.Problem.power_law(200, exponent)
    more = nqm.Problem.load(tmp_path / "p.npz", damping=0.75)
    assert more == nqm.Problem.power_law(200, exponent, damping=1.0)


def test_a_simulated_damped_power_law_is_its_arrays():
    law = nqm.Problem.power_law(100, damping=0.25)
    runs = [nqm.simulate(p, nqm.SGD(0.1), 4, 50) for p in (law, nqm.Problem(law.h))]
    np.testing.assert_array_equal(runs[0].risk, runs[1].risk)


RNG = np.random.default_rng(5)
BASIS = np.linalg.qr(RNG.normal(size=(5, 5)))[0]


def matrices(h, **more):
    """A Hessian of known eigenvalues, with noise and start along its eigenvectors."""
    c, mean0, var0 = (np.array(FIELDS[name]) for name in ("c", "mean0", "var0"))
    start = BASIS @ mean0
    return nqm.Problem.from_matrices(
        (BASIS * h) @ BASIS.T,
        (BASIS * c) @ BASIS.T,
        mean0=start,
        second_moment0=(BASIS * var0) @ BASIS.T + np.outer(start, start),
        **more,
    )


def assert_near(problem, wanted):
    """Two problems have the same coordinates, in whatever order, up to the sign of a mean."""
    places = [np.argsort(p.h) for p in (problem, wanted)]
    for name in ("h", "c", "mean0", "var0"):
        values = [
            np.abs(getattr(p, name))[k] for p, k in zip((problem, wanted), places, strict=True)
        ]
        np.testing.assert_allclose(*values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("more", [{"negative": "drop"}, {"negative": "abs"}, {"damping": 0.7}])
def test_matrices_with_negative_eigenvalues(more):
    fields = {name: FIELDS[name] for name in ("c", "mean0", "var0")}
    wanted = nqm.Problem(H, **fields, **more)
    problem = matrices(H, **more)
    assert_near(problem, wanted)
    assert problem.dropped.count == wanted.dropped.count
    assert problem.dropped.share == pytest.approx(wanted.dropped.share, rel=1e-9)
    with pytest.raises(nqm.InputError, match=r"H must be positive definite.*negative='drop'"):
        matrices(H)


def test_damping_of_a_matrix_comes_before_the_preconditioner():
    P = np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    damped = matrices(H, damping=0.7, P=P)
    assert_near(damped, matrices(np.add(H, 0.7), P=P))


def test_least_squares_of_more_weights_than_samples():
    """Gradient descent from zero stays in the span of the samples: a smaller problem."""
    X, y = RNG.normal(size=(4, 9)), RNG.normal(size=4)
    with pytest.raises(nqm.InputError, match="negative='drop'"):
        nqm.Problem.from_least_squares(X, y)
    problem = nqm.Problem.from_least_squares(X, y, negative="drop")
    assert (problem.dim, problem.dropped.count, problem.dropped.share) == (4, 5, 0.0)
    w, losses = np.zeros(9), []
    for _ in range(6):
        losses.append(0.5 * np.mean((X @ w - y) ** 2))
        w -= 0.3 * X.T @ (X @ w - y) / 4
    risk = nqm.expected_risk(problem, nqm.SGD(0.3), 4, range(6))
    np.testing.assert_allclose(problem.c, 0.0, atol=1e-25)  # every sample is fitted
    np.testing.assert_allclose(risk, losses, rtol=1e-10)


def test_damping_of_least_squares_leaves_the_minimum_where_it_is():
    X, y = RNG.normal(size=(20, 3)), RNG.normal(size=20)
    plain, damped = (nqm.Problem.from_least_squares(X, y, damping=x) for x in (0.0, 0.5))
    np.testing.assert_allclose(damped.h, plain.h + 0.5, rtol=1e-12)
    np.testing.assert_allclose(np.abs(damped.mean0), np.abs(plain.mean0), rtol=1e-9)
    np.testing.assert_allclose(damped.c, plain.c, rtol=1e-9)
