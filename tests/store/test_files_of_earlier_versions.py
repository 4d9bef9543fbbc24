"""Files that version 0.1.0 wrote are still read, and hold what a simulation gives today."""

import numpy as np
from helpers import DATA

import nqm_fast as nqm


def test_a_problem():
    problem = nqm.Problem.load(DATA / "problem_0.1.0.npz")
    assert problem.h.tolist() == [1.0, 0.5, 0.25, 0.125]
    assert problem.c.tolist() == [1.0, 2.0, 0.0, 0.5]
    assert problem.mean0.tolist() == [0.3, -1.0, 0.0, 2.0]
    assert problem.var0.tolist() == [0.5] * 4


def test_a_run():
    """The run has two settings with schedules, bands, Student's t, and its final state."""
    old = nqm.open_run(DATA / "run_0.1.0.h5")
    assert old.status == "finished"
    assert list(old.observed) == ["risk", "band_risk"]
    assert old.steps.tolist() == [0, 1, 5, 20]
    experiment = old.experiment
    new = nqm.simulate(
        experiment.problem,
        [setting.algorithm for setting in experiment.settings],
        [setting.batch_size for setting in experiment.settings],
        experiment.steps,
        replicas=experiment.replicas,
        seed=experiment.seed,
        record=experiment.records,
        sampling=experiment.sampling,
        data=experiment.data,
        df=experiment.df,
        bands=experiment.bands,
        keep_state=experiment.keep_state,
    )
    for name in ("risk", "band_risk"):
        # The scale of Student's t comes from a library of mathematics.
        assert np.allclose(new.observed[name], old.observed[name], rtol=1e-12, atol=0.0)
    for ours, theirs in zip(new.state, old.state, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-12, atol=0.0)
