"""The shipped study as training runs: what it holds, and the steps that a fit to it predicts."""

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import networks


def test_runs_are_those_of_the_table_and_its_curves():
    runs = networks.training_runs("language", most_batch_size=16)
    tuned = [run for run in runs if run.tuned_lr]
    table = networks.shipped().where(task="language", optimizer="sgd")
    assert len(tuned) == 10
    assert [run.last_step for run in tuned] == np.round(table["steps"][:10]).tolist()
    assert {float(run.loss) for run in tuned} == {2.5}
    assert [run.ema for run in tuned[:2]] == [0.0, 0.99]
    assert not any(run.momentum for run in tuned)
    curves = [run for run in runs if not run.tuned_lr]
    assert [run.mean_batch_size for run in curves] == [1, 2]
    for run in curves:
        assert run.steps.min() >= 0.05 * run.steps.max()
        assert 1.5 < run.sharpness < 3.0
    momentum = networks.training_runs("digits", optimizer="momentum")
    assert len(momentum) == 22
    assert momentum[0].momentum == 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "mnist"}, "task must be one of digits, language, mnist1d, not 'mnist'"),
        ({"optimizer": "adam"}, "optimizer must be one of sgd, momentum, not 'adam'"),
        ({"most_batch_size": 0}, "most_batch_size must be a whole number >= 1"),
    ],
)
def test_runs_that_are_not_there_are_refused(arguments, message):
    with pytest.raises(nqm.InputError, match=message):
        networks.training_runs(**({"task": "digits"} | arguments))


def test_a_peak_of_the_curvature_is_that_of_the_first_steps_at_the_largest_batch():
    """Any seed's, at any step: above all initial ones, and above what smaller batches come to."""
    table = networks.shipped_sharpness()
    for task in ("digits", "language", "mnist1d"):
        here = table["task"] == task
        initial = table["sharpness"][here & (table["step"] == 0)]
        peak = networks.peak_sharpness(task)
        assert peak > 1.2 * initial.max()
        assert peak == table["sharpness"][here & (table["batch_size"] == 16)].max()
        assert networks.peak_sharpness(task, most_batch_size=1) < peak
    with pytest.raises(nqm.InputError, match="task must be one of digits, language, mnist1d"):
        networks.peak_sharpness("mnist")
    with pytest.raises(nqm.InputError, match="most_batch_size must be a whole number >= 1"):
        networks.peak_sharpness("digits", most_batch_size=0)


def test_the_largest_curvature_falls_from_the_start():
    """Trainings of the curves end with a smaller one, near 2 over the highest rate of SGD."""
    table = networks.shipped_sharpness()
    for task in ("digits", "language", "mnist1d"):
        here = table["task"] == task
        curves = here & (table["batch_size"] <= 2)
        first = table["sharpness"][curves & (table["step"] == 0)]
        later = table["sharpness"][curves & (table["step"] > 0)]
        assert later.mean() < first.mean()
        steps = networks.shipped().where(task=task, optimizer="sgd", ema=False)
        assert 1.0 < later.mean() * steps["lr"].max() < 4.0


def test_the_largest_curvature_is_an_eigenvalue():
    pytest.importorskip("jax")
    pytest.importorskip("optax")

    class Quadratic:
        train = (np.ones((8, 3), dtype=np.float32),)
        validation = train
        target = 0.1
        weight_decay = 0.0

        def init(self, key):
            return {"w": np.ones(3, dtype=np.float32)}

        def loss(self, parameters, batch):
            weights = np.array([5.0, 2.0, 0.5], dtype=np.float32)
            return 0.5 * (weights * batch[0].mean(axis=0) * parameters["w"] ** 2).sum()

    found = networks.largest_curvatures(Quadratic(), batch_size=2, lr=0.1, steps=[0, 3])
    assert found == pytest.approx([5.0, 5.0], rel=1e-3)
    with pytest.raises(nqm.InputError, match="steps must be in ascending order, not"):
        networks.largest_curvatures(Quadratic(), batch_size=2, lr=0.1, steps=[3, 0])


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "most"), [(64, 0.1), (1024, 0.3)])
def test_the_example_of_the_documentation_predicts_momentum(batch_size, most):
    """The steps of the shipped predictions, by the calls that docs/fitting.md has."""
    fitted = nqm.fit(networks.training_runs("digits", most_batch_size=16), extra=())
    (row,) = (
        networks.shipped()
        .where(task="digits", optimizer="momentum", ema=False, batch_size=batch_size)
        .rows()
    )
    steps = fitted.steps_to_target(
        row["target"], batch_size=batch_size, momentum=(0.0, 0.5, 0.7, 0.8, 0.9, 0.95),
        sharpness=networks.peak_sharpness("digits", most_batch_size=16),
    )  # fmt: skip
    assert abs(np.log(steps / row["steps"])) < most
