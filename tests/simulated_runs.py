"""Training runs simulated from a problem that is known, to which the model is fitted."""

import numpy as np

import nqm_fast as nqm
from nqm_fast import schedules

DIM = 3000
FLOOR = 1.7
TRUTH = {
    "exponent": 1.2,
    "noise_exponent": 1.2,
    "start_exponent": 1.35,
    "scale": 0.8,
    "noise": 2.0,
    "start": 3.0,
}
START = {
    "scale": -2.06, "exponent": 1.2, "start": 0.0, "start_exponent": 1.35, "noise": -3.0,
    "noise_exponent": 0.0, "irreducible": -1.2,
}  # fmt: skip
"""Near the truth, in the units of a fit to these runs."""
PROBLEM = nqm.Problem.power_law(DIM, **TRUTH)


def simulated(lr, batch, steps, *, noise=0.0, seed=0, momentum=0.0, ema=0.0, **more):
    """A run of the problem, with noise in its losses."""
    risk = nqm.expected_risk(PROBLEM, nqm.SGD(lr, momentum=momentum, ema=ema), batch, steps)
    error = np.random.default_rng(seed).standard_normal(np.shape(steps))
    return nqm.TrainingRun(
        (FLOOR + risk) * np.exp(noise * error), steps, batch_size=batch, lr=lr, dim=DIM,
        momentum=momentum, ema=ema, **more,
    )  # fmt: skip


def finals(noise=0.0):
    """Final losses of constant learning rates."""
    settings = [(lr, b, t) for lr in (0.05, 0.5) for b in (2, 32) for t in (9, 90, 900, 20000)]
    return [simulated(*s, noise=noise, seed=k) for k, s in enumerate(settings)]


def cosine(steps=1000, **more):
    lr = schedules.Warmup(50, then=schedules.Cosine(0.7, steps - 50))
    return simulated(lr, 16, steps, **more)


def sum_beyond(p):
    """The sum of i^-p over the directions that the problem does not have."""
    from scipy.special import zeta

    return float(zeta(p, DIM + 1.0))
