"""Schedules of every kind, by name, for tests that hold for all of them."""

from nqm_fast.schedules import (
    Constant,
    Cosine,
    Linear,
    PerStep,
    Piecewise,
    Step,
    Warmup,
    WarmupStableDecay,
)

KINDS = {
    "constant": Constant(0.4),
    "array": PerStep([0.5, 0.5, 0.5, 0.1, 0.9]),
    "linear": Linear(1.0, 0.2, 8),
    "rising": Linear(0.2, 1.0, 8),
    "cosine": Cosine(1.0, 8, end=0.2),
    "warm-up-stable-decay": WarmupStableDecay(1.0, 4, 3, 5, end=0.5),
    "no warm-up": WarmupStableDecay(1.0, 0, 3, 5),
    "nothing but an end": WarmupStableDecay(1.0, 0, 0, 0, end=0.5),
    "piecewise": Piecewise([1.0, 0.5, 0.7], [3, 2, 4]),
    "step": Step(1.0, 0.5, 4),
    "growing": Step(1.0, 2.0, 4),
    "warm-up": Warmup(4, 1.0),
    "warm-up from": Warmup(4, Cosine(1.0, 8), start=0.5),
    "warm-up of an array": Warmup(2, [0.5, 0.5, 0.25]),
    "warm-up of a warm-up": Warmup(2, Warmup(3, Step(1.0, 0.5, 4), start=0.2)),
}
