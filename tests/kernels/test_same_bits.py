"""Every backend gives the same bits, on every level of processors and any number of threads."""

from functools import cache
from itertools import product

import pytest
from family import METHODS
from helpers import (
    COMPILED,
    MACHINES,
    UNEVEN,
    assert_same,
    chunks_of,
    irregular,
    python,
    run,
    slow_to_compile,
    slow_where,
)
from nqm_fast.kernels import load_backend
from nqm_fast.kernels.contract import LEAF, NARROW, TILE

import nqm_fast as nqm

TILES = irregular(2 * TILE - 3)  # two tiles of several leaves, the last of which is not full
FEW = ("plain", "diverging")
OFTEN = (*FEW, "bands", "leap in pieces", "uniform", "rademacher")
LONG = ("normal", "laplace", "student-t")  # for NumPy


@pytest.fixture(scope="module")
def usual_tiles():
    return {name: run(name, problem=TILES, backend=COMPILED) for name in run.kinds}


def on_machines(slow, wanted=lambda *_: True):
    """Every machine, name and number of threads that is wanted; NumPy has one."""
    rows = product(MACHINES, run.kinds, (1, 2, 3))
    rows = [row for row in rows if (row[0] != "numpy" or row[2] == 1) and wanted(*row)]
    names = "machine", "name", "threads"
    return pytest.mark.parametrize(names, slow_where(slow, rows), indirect=["machine"])


def slow_on_small_tiles(machine, name, threads):
    if machine == "numba":  # which compiles for one thread anew, for each number of components
        return threads != 1 or name not in FEW
    return threads == 3 or (machine == "numpy" and name in LONG)


def slow_on_large_tiles(machine, name, threads):
    return machine == "numba" or threads == 3 or name not in OFTEN


def has_code_of_its_own(machine, name, threads):
    """Whether Numba compiles new kinds of code; NumPy's laws of samples know no tiles."""
    if machine == "numpy":
        return name not in LONG
    return machine != "numba" or (threads == 2 and name in (*FEW, "bands", "laplace"))


@on_machines(slow_on_small_tiles)
def test_backends_and_threads(usual, machine, name, threads):
    assert_same(run(name, backend=machine, threads=threads), usual[name])


@on_machines(slow_on_large_tiles, has_code_of_its_own)
def test_backends_on_large_tiles(usual_tiles, machine, name, threads):
    found = run(name, problem=TILES, backend=machine, threads=threads)
    assert_same(found, usual_tiles[name])


SMALL = "plain", "momentum", "bands", "rademacher", "diverging"


@cache
def small(name, dim, record):
    """A run of few coordinates on NumPy, which other machines are compared with."""
    how = {"problem": irregular(dim), "replicas": [0, 3], "record": record}
    return how, run(name, backend="numpy", **how)


def slow_on_narrow_tiles(machine, name, dim):
    return machine == "numba"


def like_others_on_narrow_tiles(machine, name, dim):
    return machine == "numba" and (name, dim) not in (("plain", 5), ("bands", NARROW + 1))


@pytest.mark.parametrize(
    ("machine", "name", "dim"),
    slow_where(
        slow_on_narrow_tiles,
        [row for row in product(MACHINES, SMALL, (5, NARROW, NARROW + 1)) if row[0] != "numpy"],
        thorough=like_others_on_narrow_tiles,
    ),
    indirect=["machine"],
)
def test_few_coordinates(machine, name, dim):
    """Up to a quarter of a leaf, only that is stepped; records of every step are summed apart."""
    for record in (1, 7):
        how, wanted = small(name, dim, record)
        assert_same(run(name, backend=machine, **how), wanted)


@pytest.mark.parametrize("machine", slow_where(slow_to_compile, MACHINES[:-1]), indirect=True)
def test_few_coordinates_in_chunks(machine, monkeypatch):
    """Noise is made for four quads together, in the middle of which a chunk may begin or end."""
    how, wanted = small("plain", 5, 7)
    chunks_of(monkeypatch, 22, 3, 1)
    assert_same(run("plain", backend=machine, **how), wanted)


def harmonic(dim, as_arrays):
    """The same problem as a formula, and as arrays."""
    formula = nqm.Problem.power_law(dim)
    return nqm.Problem(formula.h) if as_arrays else formula


@pytest.mark.parametrize("machine", slow_where(slow_to_compile, MACHINES[:-1]), indirect=True)
@pytest.mark.parametrize("dim", [LEAF + 1, TILE - 7, 3 * TILE + 5])
def test_curvatures_from_a_formula(machine, dim):
    """Tiles make them by themselves, the last one with zeros at its end."""
    own = (2 * LEAF, 4 * LEAF) if dim > 4 * LEAF else None
    for name, coordinates in (("plain", None), ("uniform", own)):
        how = {"coordinates": coordinates, "replicas": 2, "record": 13}
        wanted = run(name, backend="numpy", problem=harmonic(dim, True), **how)
        assert_same(run(name, backend=machine, problem=harmonic(dim, False), **how), wanted)


OWN_SAMPLES = [("normal", 1), *((name, NARROW) for name in ("normal", "student-t", "rademacher"))]


@cache
def own_samples(data, dim):
    """A run of settings with batch sizes of their own on NumPy, which others are compared with."""
    how = {
        "problem": irregular(dim), "algorithm": [nqm.SGD(0.3), nqm.SGD(0.2)],
        "batch_size": [2, 5], "sampling": "per-sample", "data": data, "steps": 40, "record": 7,
    }  # fmt: skip
    return how, run("plain", backend="numpy", **how)


def like_others_in_own_samples(machine, data, dim):
    return machine == "numba" and data != "normal"


@pytest.mark.parametrize(
    ("machine", "data", "dim"),
    slow_where(
        slow_to_compile,
        [
            (machine, data, dim)
            for machine, (data, dim) in product(MACHINES, OWN_SAMPLES)
            if machine != "numpy"
        ],
        thorough=like_others_in_own_samples,
    ),
    indirect=["machine"],
)
def test_few_coordinates_whose_settings_draw_their_own_samples(machine, data, dim):
    """Settings with batch sizes of their own draw a quad of steps at a time."""
    how, wanted = own_samples(data, dim)
    assert_same(run("plain", backend=machine, **how), wanted)


def test_three_threads_that_are_really_there(tmp_path):
    """Numba has as many threads as it was started with, usually one a core."""
    pytest.importorskip("numba")
    code = (
        "import numpy as np, numba, nqm_fast as nqm\n"
        "problem = nqm.Problem.power_law(5000)\n"
        "def run(threads):\n"
        "    return nqm.simulate(problem, nqm.SGD(0.3), 8, 40, threads=threads, keep_state=True)\n"
        "one, three = run(1), run(3)\n"
        "assert numba.config.NUMBA_NUM_THREADS == 3\n"
        "assert np.array_equal(one.risk, three.risk) and np.array_equal(one.state, three.state)\n"
    )
    python("-c", code, cwd=tmp_path, NUMBA_NUM_THREADS="3")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["leap in pieces", "student-t"])
def test_tile_sizes(usual, name, monkeypatch):
    """Tiles may have any number of leaves; the last one of this problem is filled with zeros."""
    pytest.importorskip("numba")  # the extension has two sizes
    leaves = 3
    whole = -(-UNEVEN.dim // (leaves * LEAF)) * leaves * LEAF
    monkeypatch.setattr("nqm_fast.kernels.tiled.tile_leaves", lambda _: leaves)
    monkeypatch.setattr("nqm_fast.simulation.models.padded", lambda _: whole)
    assert_same(run(name, backend="numba"), usual[name])


def together(name, **changes):
    """Several settings, and replicas that are named by their numbers."""
    algorithm, _, _ = run.kinds[name]
    settings = [algorithm, nqm.SGD(0.2, momentum=0.3), algorithm]
    return run(name, algorithm=settings, replicas=[2, 5], seed=9, record=25, threads=2, **changes)


SEVERAL = "plain", "all", "leap", "normal", "diverging"


@pytest.fixture(scope="module")
def usual_together():
    return {name: together(name) for name in SEVERAL}


def slow_together(machine, name):
    return machine == "numba" or (machine, name) == ("numpy", "normal")


# Numba compiles for several settings of three components what the extension has ready.
TOGETHER = [
    row for row in product(MACHINES, SEVERAL) if row not in (("numba", "leap"), ("numba", "all"))
]


@pytest.mark.parametrize(
    ("machine", "name"),
    slow_where(
        slow_together,
        TOGETHER,
        thorough=lambda *row: row in (("numba", "plain"), ("numba", "normal")),
    ),
    indirect=["machine"],
)
def test_settings_together_and_in_chunks(usual_together, machine, name, monkeypatch):
    """Backends take several settings, replicas by number, and timelines in pieces."""
    if name != "leap":
        chunks_of(monkeypatch, 22)
    assert_same(together(name, backend=machine), usual_together[name])


# Numba unrolls thirteen components of a long delay for minutes, and compiles leaps anew.
FAMILY = [
    (name, how) for name in METHODS for how in ("minibatch", "per-sample") if "long" not in name
]
FAMILY += [("Lookahead of plain SGD", "leap"), ("QHM", "leap")]


@pytest.mark.mostly_slow(0, slow=1)
@pytest.mark.parametrize(("name", "sampling"), FAMILY)
def test_linear_methods_on_numba(name, sampling):
    """Simulations of all methods have the extension's bits, see `simulation/test_family.py`."""
    pytest.importorskip("numba")
    how = {"steps": 29, "record": [0, 4, 9, 15, 29], "replicas": [1, 4], "batch_size": 3}
    how |= {"algorithm": METHODS[name], "sampling": sampling}
    assert_same(run("plain", backend="numba", **how), run("plain", backend=COMPILED, **how))


COSINE = nqm.schedules.Cosine(1.5, 70)
BATCHES = nqm.schedules.Piecewise([3, 9, 4], [33, 2, 35])
DENSE = {
    "schedule": (nqm.SGD(COSINE), {}),
    "schedules of rate and batch": (nqm.SGD(COSINE), {"batch_size": BATCHES}),
    "schedule and power": (nqm.SGD(COSINE, power=0.5), {"record": 1}),
    "schedule, momentum and ema": (nqm.SGD(COSINE, momentum=0.5, ema=0.9), {"record": 1}),
    "every step": (nqm.SGD(0.4, momentum=0.5), {"record": 1}),
    "most steps": (nqm.SGD(0.4), {"record": [k for k in range(71) if k % 11]}),
    "several settings": (
        [nqm.SGD(COSINE), nqm.SGD(0.3), nqm.SGD(nqm.schedules.Piecewise([0.3, 0.1], [37, 33]))],
        {"record": 1},
    ),
    "diverging": (nqm.SGD(nqm.schedules.PerStep([3.0] * 30 + [500.0] * 40)), {"record": 1}),
}
"""Settings that change at every step, and records of many steps, which kernels do on the way."""


def dense(name, machine, problem):
    algorithm, more = DENSE[name]
    usual = {"batch_size": 8, "steps": 70, "replicas": 2, "seed": 5, "keep_state": True}
    return nqm.simulate(problem, algorithm, **usual | {"threads": 1, "backend": machine} | more)


def like_others_in_dense(machine, name):
    kept = "schedule, momentum and ema", "most steps", "several settings", "diverging"
    return machine == "numba" and name not in kept


@pytest.mark.parametrize(
    ("machine", "name"),
    slow_where(slow_to_compile, product(MACHINES[:-1], DENSE), thorough=like_others_in_dense),
    indirect=["machine"],
)
def test_dense_steps(machine, name):
    """On large tiles and small ones, which Numba need not compile for, too."""
    for problem in (TILES, irregular(70))[: 1 if machine == "numba" else 2]:
        assert_same(dense(name, machine, problem), dense(name, "numpy", problem))


def test_a_level_of_processors_is_chosen_by_the_environment(tmp_path):
    """A process of its own takes the level; one that is not there is refused with a sentence."""
    pytest.importorskip("nqm_fast.kernels.cython_cpu")
    code = (
        "import nqm_fast as nqm\n"
        "from nqm_fast.kernels import load_backend\n"
        "run = nqm.simulate(nqm.Problem.power_law(700), nqm.SGD(0.3), 8, 20, backend='cython')\n"
        "print(load_backend('cython').level(), run.risk.tobytes().hex())"
    )
    answers = {}
    for level in load_backend("cython").levels():
        done = python("-c", code, cwd=tmp_path, NQM_CPU_LEVEL=level)
        chosen, answers[level] = done.stdout.split()
        assert chosen == level
    assert len(set(answers.values())) == 1
    refused = python("-c", code, cwd=tmp_path, NQM_CPU_LEVEL="avx", status=1)
    assert "InputError: backend 'cython' cannot be used: NQM_CPU_LEVEL='avx'" in refused.stderr
    assert "must be one of baseline, " in refused.stderr
