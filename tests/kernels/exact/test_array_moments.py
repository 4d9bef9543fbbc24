"""Arrays are added to cells with the same bits by every backend, on any number of threads."""

import numpy as np
import pytest
from helpers import MACHINES, slow_to_compile
from nqm_fast.kernels import exact_model_on
from nqm_fast.kernels.codegen import pure_python
from nqm_fast.kernels.sources import EXACT

import nqm_fast as nqm
from nqm_fast.coordinates import array_nodes
from nqm_fast.coordinates.array_nodes import ArrayNodes, Cells

DIM = 3001


def problems():
    rng = np.random.default_rng(5)
    h = rng.random(DIM) ** 3
    yield nqm.Problem(h)
    yield nqm.Problem(np.sort(h)[::-1], 0.3, count=rng.uniform(0.5, 9.0, DIM))
    yield nqm.Problem(1.0 / np.arange(1.0, DIM + 1.0), rng.random(DIM), mean0=rng.normal(size=DIM))
    yield nqm.Problem(np.repeat([1.0, 1e-300, 0.5, 1.0 - 2.0**-40], DIM)[:DIM], rng.random(DIM))


def has_own_noise(problem):
    """Whether the noise is an array of its own."""
    return isinstance(problem._coordinates.noise, np.ndarray)


def moments_of(problem):
    """The tables of all measures, and the counts."""
    pointwise = not has_own_noise(problem)
    cells = Cells.of(*problem.curvature_range)
    return array_nodes._moments(cells, problem.block, problem.dim, pointwise)


def plain_moments(problem):
    """The same by the kernel as Python runs it, over all coordinates in a row."""
    add_moments = pure_python.load(tuple(f"exact.{x}" for x in EXACT))[
        "exact.array_moments"
    ].add_moments
    cells, whole = Cells.of(*problem.curvature_range), problem.block(0, problem.dim)
    weights = [whole.multiplicity]
    if has_own_noise(problem):
        weights = [whole.multiplicity * whole.second_moment, whole.multiplicity * whole.c]
    table = np.zeros((len(weights), 2 * cells.side, 4))
    count = np.zeros(2 * cells.side, dtype=np.int64)
    with np.errstate(over="ignore"):
        add_moments(
            whole.h, cells.largest, cells.base, cells.side, array_nodes.SHIFT, weights[0],
            weights[-1], table, count,
        )  # fmt: skip
    return table.transpose(0, 2, 1), count


MACHINE = [
    pytest.param(name, marks=pytest.mark.slow) if slow_to_compile(name) else name
    for name in MACHINES
]


@pytest.mark.parametrize("machine", MACHINE, indirect=True)
def test_all_backends_have_the_bits_of_the_loop(machine):
    for problem in problems():
        with exact_model_on(machine):
            found = moments_of(problem)
        for got, want in zip(found, plain_moments(problem), strict=True):
            np.testing.assert_array_equal(got, want)


def test_moments_are_those_of_the_coordinates():
    problem = next(problems())
    cells = Cells.of(*problem.curvature_range)
    (table,), count = moments_of(problem)
    distance = np.minimum(problem.h, cells.largest - problem.h)
    key = np.maximum(distance.view(np.int64) >> array_nodes.SHIFT, cells.base) - cells.base
    key += cells.side * (cells.largest - problem.h < problem.h)
    np.testing.assert_array_equal(count, np.bincount(key, minlength=2 * cells.side))
    low, high = (array_nodes._edge(cells.keys() + k)[key] for k in (0, 1))
    x = 2.0 * (distance - low) / (high - low) - 1.0
    for power, row in enumerate(table):
        want = np.bincount(key, x**power, 2 * cells.side)
        np.testing.assert_allclose(row, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("machine", ["numpy", None])
def test_bits_do_not_depend_on_threads(monkeypatch, machine):
    monkeypatch.setattr(array_nodes, "CHUNK", 64)
    monkeypatch.setattr(array_nodes, "LEAST_RANGE", 0)
    problem = list(problems())[2]
    found = []
    for threads in (1, 3):
        monkeypatch.setenv("NQM_NUM_THREADS", str(threads))
        with exact_model_on(machine or "auto"):
            found.append(moments_of(problem))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    # Ranges are added in order, which is not the order of all coordinates.
    assert not np.array_equal(found[0][0], plain_moments(problem)[0])
    np.testing.assert_array_equal(found[0][1], plain_moments(problem)[1])


def test_nodes_keep_the_moments_of_what_they_stand_for():
    problem = next(problems())
    nodes = ArrayNodes(DIM, problem.curvature_range, problem.block, float("nan"), True)
    block = nodes.joined(20)
    assert block.multiplicity.sum() == pytest.approx(DIM, rel=1e-13)
    for power in range(1, 8):
        total = (block.multiplicity * block.h**power).sum()
        assert total == pytest.approx((problem.h**power).sum(), rel=1e-12)
