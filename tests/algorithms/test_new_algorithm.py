"""A new linear algorithm is one class: risk, first passage, tuning and simulation take it."""

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pytest
from helpers import MACHINES, slow_where
from oracles import stepped_by_matrices

import nqm_fast as nqm
from nqm_fast.algorithms.base import Recurrence
from nqm_fast.schedules import as_schedule

PROBLEM = nqm.Problem(1.0 / np.arange(1, 21), mean0=0.3)


@dataclass(frozen=True)
class Nesterov(nqm.Algorithm):
    """Nesterov's momentum, v' = beta v + g(w - lr beta v), w' = w - lr v': quadratic in lr."""

    lr: Any
    momentum: float = 0.0

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit"}

    def __post_init__(self):
        object.__setattr__(self, "lr", as_schedule("lr", self.lr))

    def recurrence(self, h):
        beta = self.momentum
        fixed = [[0.0, 0.0], [h, beta - 1.0]], [0.0, 1.0]
        linear = [[-h, -beta], [0.0, -beta * h]], [-1.0, 0.0]
        square = [[0.0, beta * h], [0.0, 0.0]], [0.0, 0.0]
        return Recurrence([fixed, linear, square], [1.0, 0.0], [1.0, 0.0])

    def weights(self, lr, step):
        return np.stack([np.ones(lr.size), lr, lr**2], axis=1)

    def largest_lr(self, h):
        return 2.0 / h.max()

    @staticmethod
    def gain(hyper):
        return 1.0 / (1.0 - hyper.get("momentum", 0.0))


@dataclass(frozen=True)
class PolyakAverage(nqm.Algorithm):
    """The mean of all iterates, e' = e + (w' - e) / (t + 2), depends on the step itself."""

    lr: Any

    depends_on_step: ClassVar[bool] = True

    def __post_init__(self):
        object.__setattr__(self, "lr", as_schedule("lr", self.lr))

    def recurrence(self, h):
        walk = [[-h, 0.0], [0.0, 0.0]], [-1.0, 0.0]
        pull = [[0.0, 0.0], [1.0, -1.0]], [0.0, 0.0]
        both = [[0.0, 0.0], [-h, 0.0]], [0.0, -1.0]
        return Recurrence([walk, pull, both], [1.0, 1.0], [0.0, 1.0])

    def weights(self, lr, step):
        share = 1.0 / (step + 2.0)
        return np.stack([lr, share, lr * share], axis=1)

    def largest_lr(self, h):
        return 2.0 / h.max()


@dataclass(frozen=True)
class Averages(nqm.Algorithm):
    """SGD and averages of averages of it have more components than are compiled ahead of time."""

    lr: Any
    depth: int = 5

    def __post_init__(self):
        object.__setattr__(self, "lr", as_schedule("lr", self.lr))

    def recurrence(self, h):
        n = self.depth
        average = [[0.5 * ((a == b + 1) - (a == b)) * (a > 0) for b in range(n)] for a in range(n)]
        walk = [[-h if a == b == 0 else 0.0 for b in range(n)] for a in range(n)]
        kick = [-1.0 if a == 0 else 0.0 for a in range(n)]
        return Recurrence([(average, [0.0] * n), (walk, kick)], [1.0] * n, [0.0] * (n - 1) + [1.0])

    def weights(self, lr, step):
        return np.stack([np.ones(lr.size), lr], axis=1)

    def largest_lr(self, h):
        return 2.0 / h.max()


def nesterov_by_hand(lr, beta, steps):
    def matrix(h, _):
        return [[1 - lr * h, -lr * beta + lr**2 * beta * h], [h, beta - lr * beta * h]]

    def kick(_h, _t):
        return [-lr, 1.0]

    return stepped_by_matrices(PROBLEM, matrix, kick, [1.0, 0.0], [1.0, 0.0], 8, steps)


@pytest.mark.parametrize(("lr", "beta"), [(0.1, 0.9), (1.0, 0.5), (0.01, 0.999)])
def test_nesterov_risk_is_that_of_its_recursion(lr, beta):
    expected = nesterov_by_hand(lr, beta, 300)
    got = nqm.expected_risk(PROBLEM, Nesterov(lr, beta), 8, np.arange(301))
    assert got == pytest.approx(expected, rel=1e-12)


def test_nesterov_first_passage_and_tuning():
    risk = nqm.expected_risk(PROBLEM, Nesterov(0.5, 0.9), 800, np.arange(1000))
    first = int(np.argmax(risk <= 0.2))
    assert nqm.steps_to_target(PROBLEM, Nesterov(0.5, 0.9), 800, 0.2) == first > 0
    best = nqm.tune(PROBLEM, 10**4, 0.01, ("lr", "momentum"), algorithm=Nesterov)
    assert best.steps < nqm.tune(PROBLEM, 10**4, 0.01).steps
    assert nqm.expected_risk(PROBLEM, best.algorithm, 10**4, best.steps) <= 0.01


def test_polyak_average_risk_is_that_of_its_recursion():
    lr = 0.7

    def matrix(h, t):
        share = 1.0 / (t + 2.0)
        return [[1 - lr * h, 0.0], [share * (1 - lr * h), 1 - share]]

    def kick(_, t):
        return [-lr, -lr / (t + 2.0)]

    expected = stepped_by_matrices(PROBLEM, matrix, kick, [1.0, 1.0], [0.0, 1.0], 8, 300)
    got = nqm.expected_risk(PROBLEM, PolyakAverage(lr), 8, np.arange(301))
    assert got == pytest.approx(expected, rel=1e-12)
    first = int(np.argmax(expected <= 0.3))
    assert nqm.steps_to_target(PROBLEM, PolyakAverage(lr), 8, 0.3) == first
    best = nqm.tune(PROBLEM, 8, 0.3, algorithm=PolyakAverage, max_steps=10**4)
    assert best.steps <= first


@pytest.mark.parametrize("algorithm", [Nesterov(0.1, 0.9), PolyakAverage(0.5)], ids=repr)
def test_simulation(algorithm):
    arguments = {"replicas": 4000, "record": [1, 10, 60], "seed": 5}
    run = nqm.simulate(PROBLEM, algorithm, 4, 60, **arguments)
    error = run.risk.std(axis=0) / np.sqrt(4000)
    exact = nqm.expected_risk(PROBLEM, algorithm, 4, run.steps)
    assert np.abs((run.risk.mean(axis=0) - exact) / error).max() < 4
    oracle = nqm.simulate(PROBLEM, algorithm, 4, 60, **arguments | {"replicas": 2}, backend="numpy")
    assert np.array_equal(run.risk[:2], oracle.risk)


# Numba compiles other kernels for every number of components
on_machines = pytest.mark.parametrize(
    "machine", [pytest.param(MACHINES[0], marks=pytest.mark.slow), *MACHINES[1:]], indirect=True
)


@pytest.mark.parametrize(
    ("machine", "sampling"),
    slow_where(
        lambda machine, _: machine == "numba",
        [("numba", "minibatch"), *product(MACHINES[1:], ["minibatch", "leap"])],
        lambda machine, _: machine == "numba",
    ),
    indirect=["machine"],
)
def test_a_state_of_any_size(machine, sampling):
    arguments = {"replicas": 2, "record": [1, 10, 40], "seed": 5, "sampling": sampling}
    run = nqm.simulate(PROBLEM, Averages(0.3), 4, 40, **arguments, backend=machine)
    oracle = nqm.simulate(PROBLEM, Averages(0.3), 4, 40, **arguments, backend="numpy")
    assert np.array_equal(run.risk, oracle.risk)


@on_machines
def test_the_exact_model_of_a_state_of_any_size(machine):
    """Without noise, the risk is that of the mean, which a power of the matrix gives."""
    problem = nqm.Problem([1.0], sigma=[0.0])
    risk = nqm.expected_risk(problem, Averages(0.5), 1, [0, 1, 2, 500], backend=machine)
    matrix = np.diag([0.5] * 5) + np.diag([0.5] * 4, -1)
    states = [np.linalg.matrix_power(matrix, t) @ np.ones(5) for t in (0, 1, 2, 500)]
    assert risk == pytest.approx([0.5 * state[-1] ** 2 for state in states], rel=1e-12, abs=0.0)


def test_leaps():
    arguments = {"replicas": 4000, "record": [1, 10, 60], "seed": 6, "sampling": "leap"}
    run = nqm.simulate(PROBLEM, Nesterov(0.1, 0.9), 4, 60, **arguments)
    exact = nqm.expected_risk(PROBLEM, Nesterov(0.1, 0.9), 4, run.steps)
    error = run.risk.std(axis=0) / np.sqrt(4000)
    assert np.abs((run.risk.mean(axis=0) - exact) / error).max() < 4
    with pytest.raises(nqm.InputError, match="the same at every step"):
        nqm.simulate(PROBLEM, PolyakAverage(0.5), 4, 60, sampling="leap")
