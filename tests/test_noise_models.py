"""Descriptions of noise: problems that have them are compared, saved, shown and checked."""

import pickle

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.noise import DataSet, FinitePopulation, Gaussian, LossDependent

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(30, 3)) * [1.0, 0.5, 0.2], RNG.normal(size=30)
PROBLEMS = {
    "gaussian": nqm.Problem([1.0, 0.5]).with_noise(Gaussian(1.0, label_noise=0.3)),
    "power law": nqm.Problem.power_law(1000, 1.5).with_noise(Gaussian(label_noise=0.3)),
    "loss": nqm.Problem.power_law(1000).with_noise(LossDependent(0.5)),
    "population": nqm.Problem([1.0, 0.5]).with_noise(FinitePopulation(60)),
    "data": nqm.Problem.from_least_squares(X, Y, ridge=0.1, noise="data", replace=False),
    "gaussian data": nqm.Problem.from_least_squares(X, Y, noise="gaussian"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_with_noise_are_saved_copied_and_compared(name, tmp_path):
    problem = PROBLEMS[name]
    problem.save(tmp_path / "problem.npz")
    loaded = nqm.Problem.load(tmp_path / "problem.npz")
    assert loaded == problem
    assert hash(loaded) == hash(problem)
    assert loaded.noise_model == problem.noise_model
    assert pickle.loads(pickle.dumps(problem)) == problem
    assert problem != problem.with_noise(None)
    assert type(problem.noise_model).__name__ in repr(problem)
    assert type(problem.noise_model).__name__ in problem._repr_html_()
    assert nqm.read_spectrum(tmp_path / "problem.npz") == problem


def test_label_noise_is_the_noise_at_the_optimum():
    for problem in (PROBLEMS["gaussian"], PROBLEMS["power law"]):
        np.testing.assert_allclose(problem.c, 0.3 * problem.h, rtol=1e-15)
    assert PROBLEMS["power law"].is_power_law


def test_with_noise_leaves_the_problem_as_it_was():
    problem = nqm.Problem([1.0])
    problem.with_noise(Gaussian())
    assert problem.noise_model is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0.5), "kurtosis must be >= 1"),
        (lambda: Gaussian(label_noise=-1), "label_noise must be >= 0"),
        (lambda: LossDependent(-1), "slope must be >= 0"),
        (lambda: FinitePopulation(1), "samples must be a whole number >= 2"),
        (lambda: DataSet(X, Y[:-1], np.zeros(3)), r"errors must have shape \(30,\)"),
        (lambda: nqm.Problem([1.0]).with_noise(3.0), "noise must be a description of noise"),
        (
            lambda: nqm.Problem([1.0]).with_noise(DataSet(X, Y, np.zeros(3))),
            "noise must be that of 1 feature, ",
        ),
        (
            lambda: nqm.Problem.power_law(9, damping=0.1).with_noise(Gaussian(label_noise=1)),
            "label_noise must be left out",
        ),
        (
            lambda: nqm.Problem.from_least_squares(X, Y, noise="gaussian", replace=False),
            "replace = False",
        ),
        (lambda: nqm.Problem.from_least_squares(X, Y, noise="all"), "noise must be one of"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(nqm.InputError, match=message):
        make()
