"""The study's training against what is known exactly: linear networks with a quadratic loss."""

import numpy as np
import pytest

import nqm_fast as nqm

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.slow

from nqm_fast.networks import Task, squared_loss  # noqa: E402
from nqm_fast.networks.optimizers import OPTIMIZERS  # noqa: E402
from nqm_fast.networks.training import DECAYS, Trainer, Trial  # noqa: E402

SAMPLES, DIM = 512, 6


class Regression(Task):
    """Least squares by a linear network without hidden units, from weights of zero."""

    target = 1e-9  # never reached
    weight_decay = 0.0
    most_epochs = 0.0
    least_steps = 60

    def __init__(self, outputs=1):
        rng = np.random.default_rng(7)
        x = rng.normal(size=(SAMPLES, DIM)) * np.linspace(1.0, 0.3, DIM)
        y = x @ rng.normal(size=(DIM, outputs)) + rng.normal(size=(SAMPLES, outputs))
        self.train = self.validation = (x.astype(np.float32), y.astype(np.float32))

    def init(self, key):
        return jax.numpy.zeros((DIM, self.train[1].shape[1]))

    def loss(self, parameters, batch):
        x, y = batch
        return squared_loss(x @ parameters, y)


def least_loss(task):
    x, y = (array.astype(np.float64) for array in task.train)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    return 0.5 * np.mean((x @ best - y) ** 2)


@pytest.mark.parametrize(
    ("name", "lr", "momentum"), [("sgd", 0.1, 0.0), ("momentum", 0.02, 0.8), ("momentum", 0.1, 0.5)]
)
def test_sgd_and_momentum_have_the_expected_risk_of_the_model(name, lr, momentum):
    """Noise that grows with the distance from the optimum is not in the model: 6 % at B = 32."""
    task, seeds, batch_size = Regression(), 128, 32
    trainer = Trainer(task, OPTIMIZERS[name], batch_size, seeds)
    outcomes = trainer.run([Trial(lr, momentum, seed) for seed in range(seeds)])
    steps = outcomes[0].curve[:, 0].astype(int)
    excess = np.array([outcome.curve[:, 1] for outcome in outcomes]) - least_loss(task)
    x, y = task.train
    problem = nqm.Problem.from_least_squares(x, y[:, 0])
    exact = nqm.expected_risk(problem, nqm.SGD(lr, momentum=momentum), batch_size, steps)
    error = excess.std(axis=0, ddof=1) / seeds**0.5
    assert steps[-1] >= 60
    assert (np.abs(excess.mean(axis=0) - exact) < 0.06 * exact + 4.0 * error).all()
    # and it is not so for a rate that differs by a fifth
    other = nqm.expected_risk(problem, nqm.SGD(0.8 * lr, momentum=momentum), batch_size, steps)
    assert (np.abs(excess.mean(axis=0) - other) > 0.06 * other + 4.0 * error).any()


def test_averages_of_the_weights_have_the_expected_risk_of_the_model():
    task, seeds, batch_size = Regression(), 128, 32
    trainer = Trainer(task, OPTIMIZERS["sgd"], batch_size, seeds)
    outcomes = trainer.run([Trial(0.1, 0.0, seed) for seed in range(seeds)])
    lowest = np.mean([outcome.lowest for outcome in outcomes], axis=0) - least_loss(task)
    x, y = task.train
    problem = nqm.Problem.from_least_squares(x, y[:, 0])
    steps = outcomes[0].curve[:, 0].astype(int)
    for k, decay in enumerate((0.0, *DECAYS)):
        # an average of the weights begins at the first of them, as that of SGD
        exact = nqm.expected_risk(problem, nqm.SGD(0.1, ema=decay), batch_size, steps)
        last = steps > 0.9 * steps[-1]
        if exact.argmin() == len(exact) - 1:
            assert lowest[k] == pytest.approx(exact[last].mean(), rel=0.08)


def test_kfac_is_natural_gradient_on_a_linear_network():
    """With one output the curvature is that of least squares, up to a factor."""
    task = Regression()
    updates = OPTIMIZERS["kfac"].updates(task)
    parameters = jax.random.normal(jax.random.key(1), (DIM, 1))
    batch = tuple(jax.numpy.asarray(x) for x in task.train)
    key = jax.random.key(2)

    @jax.jit
    def direction(parameters):
        state = updates.init(parameters, batch, key)
        gradient = jax.grad(task.objective)(parameters, batch)
        state = updates.observe(state, parameters, batch, key, 1e-8)
        state = updates.refresh(state, 1e-8)
        after, _ = updates.apply(gradient, state, parameters, 1.0, 1e-8)
        return after - parameters, gradient

    step, gradient = (np.asarray(x, dtype=np.float64)[:, 0] for x in direction(parameters))
    x = task.train[0].astype(np.float64)
    natural = -np.linalg.solve(x.T @ x / SAMPLES, gradient)
    cosine = step @ natural / np.linalg.norm(step) / np.linalg.norm(natural)
    assert cosine > 1.0 - 1e-5
    assert -step @ gradient / np.linalg.norm(step) / np.linalg.norm(gradient) < 0.95


def test_trainings_side_by_side_are_those_alone():
    task = Regression()
    trials = [Trial(lr, 0.5, seed) for lr in (0.01, 0.1) for seed in (0, 3)]
    together = Trainer(task, OPTIMIZERS["momentum"], 8, 4).run(trials)
    for trial, outcome in zip(trials, together, strict=True):
        alone = Trainer(task, OPTIMIZERS["momentum"], 8, 1).run([trial])[0]
        both = min(len(alone.curve), len(outcome.curve))
        assert outcome.curve[:both] == pytest.approx(alone.curve[:both], rel=1e-4)


def test_divergence_is_an_outcome():
    outcome = Trainer(Regression(), OPTIMIZERS["sgd"], 8, 1).run([Trial(100.0, 0.0, 0)])[0]
    assert outcome.diverged
    assert np.isinf(outcome.steps).all()


def test_steps_are_the_first_at_which_the_running_mean_is_below_the_target():
    task = Regression().with_target(2.0 * least_loss(Regression()))
    outcome = Trainer(task, OPTIMIZERS["sgd"], 32, 1).run([Trial(0.1, 0.0, 0)])[0]
    steps, losses = outcome.curve.T
    for step, _ in outcome.curve:
        window = (steps > 0.9 * step) & (steps <= step)
        if losses[window].mean() < task.target:
            assert outcome.steps[0] == step
            break
    else:
        raise AssertionError("the target is reached")
