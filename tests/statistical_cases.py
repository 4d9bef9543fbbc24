"""What is simulated to see whether numbers have the right law: settings, problems, limits.

Scores are standard normal if all is right. Limits allow for how many scores a test is one of:
chance alone would exceed one of them for one in a thousand choices of the seeds. The seeds are
fixed, and so are the scores.
"""

import numpy as np
from scipy import stats

import nqm_fast as nqm
from nqm_fast import schedules

CHANCE = 1e-3
D = 63  # not a whole leaf: arrays that are padded need no kernels of their own

ALGORITHMS = {
    "plain": (0.8, {}),
    "momentum": (0.2, {"momentum": 0.8}),
    "ema": (0.8, {"ema": 0.7}),
    "power": (0.6, {"power": 0.5}),
    "all": (0.1, {"momentum": 0.7, "ema": 0.8, "power": 0.5}),
}
RATES = {
    "constant": lambda lr: lr,
    "pieces": lambda lr: schedules.Piecewise([lr, 0.3 * lr, 0.6 * lr], [2, 8, 30]),
    "halved": lambda lr: schedules.Step(1.2 * lr, 0.5, 6),
    "linear": lambda lr: schedules.Linear(1.3 * lr, 0.2 * lr, 14),
    "cosine": lambda lr: schedules.Cosine(1.2 * lr, 45, 0.1 * lr),
    "decay": lambda lr: schedules.WarmupStableDecay(lr, 4, 6, 20, 0.1 * lr),
    "warmup": lambda lr: schedules.Warmup(5, schedules.Cosine(lr, 12, 0.3 * lr), 0.2 * lr),
    "by step": lambda lr: lr * np.random.default_rng(5).uniform(0.1, 1.2, 64),
}
JUMPED = ("constant", "pieces", "halved")  # what "leap" takes
BATCHES = {
    "grows": schedules.Piecewise([1.0, 8.0, 100.0], [3, 7, 54]),
    "varies": np.random.default_rng(6).integers(1, 12, 64),
}


def sgd(name, rate):
    lr, others = ALGORITHMS[name]
    return nqm.SGD(RATES[rate](lr), **others)


def example(noise_level, away, seed):
    """A problem with noise that no batch size hides, which starts at 0 or away from it."""
    rng = np.random.default_rng(seed)
    h = rng.permutation(np.geomspace(3e-3, 1.0, D))
    c = 0.1 * noise_level * rng.uniform(0.5, 1.5, D) / h
    mean0, var0 = away * rng.uniform(-1, 1, D) / np.sqrt(h), away * rng.uniform(0, 1, D) / h
    spread = {"sigma": np.sqrt(c) / h} if seed % 2 else {"c": c}
    return nqm.Problem(h, **spread, mean0=mean0, var0=var0)


def limit_for(number):
    """The limit that one of so many scores exceeds by chance once in a thousand times."""
    return stats.norm.isf(CHANCE / 2 / number)
