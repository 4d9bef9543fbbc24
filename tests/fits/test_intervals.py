"""Intervals of predictions cover at their level."""

import math

import numpy as np
import pytest
from simulated_runs import DIM, cosine, finals, simulated

import nqm_fast as nqm


@pytest.fixture(scope="module")
def noisy(fitted):
    return nqm.fit(finals(noise=0.01), extra=(), start=fitted.start, bootstrap=40)


def coverage(start, repetitions, levels):
    """Shares of fits to noisy losses that say within which limits further ones will be.

    They are of shape (levels, targets).
    """
    clean = finals()
    targets = [cosine(), simulated(0.2, 8, 300, momentum=0.8), simulated(0.1, 64, 9000)]
    rng = np.random.default_rng(22)

    def noisy_loss(run):
        return float(run.loss) * math.exp(0.01 * rng.standard_normal())

    within = np.zeros((len(levels), len(targets)))
    for _ in range(repetitions):
        runs = [
            nqm.TrainingRun(
                noisy_loss(run), run.steps, batch_size=run.batch_size, lr=run.lr, dim=DIM
            )
            for run in clean
        ]
        fitted = nqm.fit(runs, extra=(), start=start)
        for k, target in enumerate(targets):
            further = noisy_loss(target)
            for n, level in enumerate(levels):
                low, high = fitted.interval(target, level)
                within[n, k] += low < further < high
    return within / repetitions


def test_intervals_cover_about_as_often_as_they_say(fitted):
    narrow, wide = coverage(fitted.start, 8, [0.4, 0.95])
    assert 0.1 < narrow.mean() < 0.7
    assert wide.mean() > 0.8


@pytest.mark.thorough
def test_intervals_cover_at_their_level(fitted):
    """Of 200 fits nine tenths are right for each of three runs that were not fitted."""
    (shares,) = coverage(fitted.start, 200, [0.9])
    assert np.all((shares > 0.84) & (shares < 0.96)), shares


def test_intervals_by_bootstrap_are_those_of_error_propagation(noisy, fitted):
    plain = nqm.fit(finals(noise=0.01), extra=(), start=fitted.start)
    assert noisy.x.tolist() == plain.x.tolist()
    assert noisy.repeated.shape == (40, 7)
    assert len(np.unique(noisy.repeated[:, 0])) == 40
    for run in (cosine(), simulated(0.3, 4, np.array([100, 1000]))):
        widths = [np.diff(np.log(one.interval(run)), axis=0) for one in (noisy, plain)]
        assert widths[0] == pytest.approx(widths[1], rel=0.4)
        low, high = noisy.interval(run, 0.5)
        assert np.all(noisy.interval(run, 0.9)[0] < low)
        assert np.all(low < noisy.predict(run))
        assert np.all(noisy.predict(run) < high)


def test_few_curves_are_resampled_in_blocks(fitted):
    steps = np.arange(20, 821, 20)
    runs = [simulated(lr, 4, steps, noise=0.01, seed=k) for k, lr in enumerate((0.5, 0.1))]
    repeated = nqm.fit(runs, extra=(), start=fitted.start, bootstrap=30)
    middle = simulated(0.25, 4, np.array([150, 600]))
    low, high = repeated.interval(middle)
    assert np.all(low < middle.loss)
    assert np.all(middle.loss < high)
    assert np.all(np.log(high / low) < 0.1)


def test_a_bootstrap_is_drawn_from_the_seed_and_saved(noisy, fitted, tmp_path):
    runs = finals(noise=0.01)
    other, again = (
        nqm.fit(runs, extra=(), start=fitted.start, bootstrap=2, seed=seed) for seed in (1, 0)
    )
    assert again.repeated.tolist() == noisy.repeated[:2].tolist()
    assert np.all(other.repeated != again.repeated)
    noisy.save(tmp_path / "fit.json")
    loaded = nqm.Fitted.load(tmp_path / "fit.json")
    assert loaded.interval(cosine()) == noisy.interval(cosine())
    with pytest.raises(nqm.InputError, match="bootstrap must be a whole number >= 0, not -1"):
        nqm.fit(runs, extra=(), start=fitted.start, bootstrap=-1)


def test_levels_are_probabilities(fitted):
    with pytest.raises(nqm.InputError, match="level must be > 0 and < 1, not 1"):
        fitted.interval(cosine(), 1.0)
