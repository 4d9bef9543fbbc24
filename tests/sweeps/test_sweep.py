"""Sweeps give at each point what the function gives alone, whoever computes it."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from helpers import SMALL, InProcess, python

import nqm_fast as nqm
from nqm_fast import InputError
from nqm_fast.machine.parallel import cores
from nqm_fast.sweeps import grouping, session
from nqm_fast.sweeps.arguments import Arguments
from nqm_fast.sweeps.kinds import KINDS, warm
from nqm_fast.sweeps.session import SweepWarning

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

RATES, SIZES, SEEDS = [0.1, 0.3], [4, 16], [0, 7]


def sweep(what="steps", grid=None, executor=None, **common):
    grid = {"lr": RATES, "batch_size": SIZES} if grid is None else grid
    if what == "steps":
        common = {"target": 0.2} | ({} if "problem" in grid else {"dim": 50}) | common
    return nqm.sweep(what, grid, executor=executor or InProcess(), **common)


SIMULATED = {"dim": 60, "steps": 40, "replicas": 2, "record": [10, 40]}


@pytest.fixture(scope="module")
def simulated():
    """Each point of a grid, simulated alone."""
    runs = {
        (lr, size, seed): nqm.simulate(
            nqm.Problem.power_law(60), nqm.SGD(lr), size, 40, replicas=2, record=[10, 40], seed=seed
        ).risk
        for lr in RATES
        for size in SIZES
        for seed in SEEDS
    }
    return np.array(list(runs.values())).reshape(2, 2, 2, 2, 2)


GRID = {"lr": RATES, "batch_size": SIZES, "seed": SEEDS}


# -- what is at each point -------------------------------------------------------------------


def test_simulations_have_the_bits_of_each_alone(simulated):
    found = sweep("simulate", GRID, **SIMULATED)
    assert found.risk.dims == ("lr", "batch_size", "seed", "replica", "step")
    assert np.array_equal(found.risk, simulated)
    assert found.step.values.tolist() == [10, 40]
    assert (found.diverged_at == -1).all()


def test_settings_of_a_problem_and_seed_are_simulated_at_once(monkeypatch):
    calls = []
    simulate = nqm.simulate

    def counted(problem, algorithms, *more, **named):
        calls.append(len(algorithms))
        return simulate(problem, algorithms, *more, **named)

    monkeypatch.setattr("nqm_fast.sweeps.kinds.simulate", counted)
    sweep("simulate", GRID, **SIMULATED)
    assert calls == [4, 4]


def test_collapsed_simulations_are_those_of_each_alone_at_any_dimension():
    common = {"replicas": 2, "record": [10**6], "sampling": "collapsed"}
    found = sweep("simulate", {"lr": RATES}, dim=10**12, batch_size=16, steps=10**6, **common)
    problem = nqm.Problem.power_law(10**12)
    for lr, risk in zip(RATES, found.risk.values, strict=True):
        alone = nqm.simulate(problem, nqm.SGD(lr), 16, 10**6, **common)
        assert np.array_equal(risk, alone.risk)
    # Steps of all coordinates would take years, and more memory than there is.
    call = {"batch_size": 16, "steps": 10**6, **common}
    kind, arguments = KINDS["simulate"], Arguments(problem, nqm.SGD(0.1), {}, call)
    load = kind.load(arguments)
    assert 0.0 < load.seconds < 1.0
    assert load.memory < 1e8
    warm(kind, arguments)


@pytest.mark.parametrize("seeds", [[0, 7], [0, 2**64 - 1]])
def test_listed_points_are_those_of_axes(simulated, seeds):
    rows = [{"seed": seed, "lr": lr, "batch_size": 4} for seed in seeds for lr in RATES]
    found = sweep("simulate", rows, **SIMULATED)
    assert found.risk.dims == ("point", "replica", "step")
    assert found.seed.values.tolist() == [row["seed"] for row in rows]
    assert np.array_equal(found.risk[:2], simulated[:, 0, 0])


def test_the_risk_of_the_exact_model():
    found = sweep("risk", {"lr": RATES, "dim": [10, 20]}, batch_size=8, steps=[1, 5, 9])
    alone = [
        [nqm.expected_risk(nqm.Problem.power_law(d), nqm.SGD(lr), 8, [1, 5, 9]) for d in (10, 20)]
        for lr in RATES
    ]
    assert np.array_equal(found.risk, alone)
    assert found.risk.dims == ("lr", "dim", "step")
    at_once = sweep("risk", {"steps": [1, 5, 9]}, batch_size=8, lr=0.1, dim=10)
    assert np.array_equal(at_once.risk, alone[0][0])


def test_steps_to_a_target_that_may_never_be_reached():
    found = sweep(grid={"batch_size": [1, 64]}, lr=1.0, target=0.05)
    alone = [nqm.steps_to_target(nqm.Problem.power_law(50), nqm.SGD(1.0), b, 0.05) for b in (1, 64)]
    assert found.steps.values.tolist() == alone
    assert alone[0] == np.inf > alone[1]


def test_tuned_settings():
    found = sweep("tune", {"batch_size": [4]}, dim=50, target=0.2, over=("lr",), momentum=0.5)
    for size in [4]:
        best = nqm.tune(nqm.Problem.power_law(50), size, 0.2, momentum=0.5)
        here = found.sel(batch_size=size)
        assert here.steps == best.steps
        assert here.risk == best.risk
        assert here.best_lr == best.algorithm.lr.value
        assert here.best_momentum == 0.5


def test_schedules_of_different_lengths_are_filled_up():
    found = sweep("schedule", {"pieces": [1, 3]}, dim=50, batch_size=8, target=0.2)
    best = nqm.optimal_schedule(nqm.Problem.power_law(50), 8, 0.2, 3)
    assert found.piece_lr.sel(pieces=3).values.tolist() == list(best.algorithm.lr.values_)
    assert np.isnan(found.piece_lr.sel(pieces=1)).values.tolist() == [False, True, True]
    assert found.steps.sel(pieces=3) == best.steps


def test_axes_of_algorithms_schedules_and_problems(tmp_path):
    SMALL.save(tmp_path / "small.npz")
    algorithms = [nqm.SGD(0.1), nqm.SGD(0.1, momentum=0.9)]
    problems = [SMALL, nqm.Problem([1.0, 0.5])]
    found = sweep(grid={"algorithm": algorithms, "problem": problems}, batch_size=8)
    assert found.algorithm.values.tolist() == ["SGD(0.1)", "SGD(0.1, momentum=0.9)"]
    assert found.steps[1, 0] == nqm.steps_to_target(SMALL, algorithms[1], 8, 0.2)
    grid = {"problem": [tmp_path / "small.npz"], "lr": [0.1, nqm.schedules.Cosine(0.5, 10**6)]}
    of_file = sweep(grid=grid, batch_size=8)
    assert of_file.steps[0, 0] == found.steps[0, 0]


def test_a_field_of_an_algorithm_varies():
    found = sweep(grid={"momentum": [0.0, 0.9]}, algorithm=nqm.SGD(0.1), batch_size=8)
    alone = nqm.steps_to_target(nqm.Problem.power_law(50), nqm.SGD(0.1, momentum=0.9), 8, 0.2)
    assert found.steps[1] == alone


def test_what_is_drawn_per_sample_and_by_bands():
    more = {"sampling": "per-sample", "bands": 3, "observe": "weight_norm"}
    found = sweep(
        "simulate", {"data": ["uniform", "laplace"]}, lr=0.1, batch_size=4, **SIMULATED, **more
    )
    alone = nqm.simulate(
        nqm.Problem.power_law(60), nqm.SGD(0.1), 4, 40, replicas=2, record=[10, 40],
        data="laplace", **more,
    )  # fmt: skip
    here = found.sel(data="laplace")
    assert np.array_equal(here.band_risk, alone.band_risk)
    assert np.array_equal(here.weight_norm, alone.weight_norm)


# -- executors -------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_processes_of_this_machine(simulated, executor):
    found = nqm.sweep("simulate", GRID, executor=executor, **SIMULATED)
    assert np.array_equal(found.risk, simulated)


def test_threads(simulated, monkeypatch):
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 0.0)
    with ThreadPoolExecutor(4) as pool:
        found = nqm.sweep("simulate", GRID, executor=pool, **SIMULATED)
    assert np.array_equal(found.risk, simulated)


def test_a_pool_of_processes(simulated):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = nqm.sweep("simulate", GRID, executor=pool, **SIMULATED)
    assert np.array_equal(found.risk, simulated)


def test_loky(simulated):
    loky = pytest.importorskip("joblib.externals.loky")
    with loky.ProcessPoolExecutor(2) as pool:
        found = nqm.sweep("simulate", GRID, executor=pool, **SIMULATED)
    assert np.array_equal(found.risk, simulated)


def test_mpi(simulated):
    if find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed")
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(1) as pool:
        found = nqm.sweep("simulate", GRID, executor=pool, **SIMULATED)
    assert np.array_equal(found.risk, simulated)


@pytest.mark.slow
def test_a_script_with_an_algorithm_of_its_own(tmp_path):
    """Without ``if __name__ == "__main__"``; cloudpickle sends the class."""
    pytest.importorskip("cloudpickle")
    script = tmp_path / "script.py"
    script.write_text(
        "import dataclasses, nqm_fast as nqm\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Mine(nqm.SGD):\n    pass\n"
        "found = nqm.sweep('steps', {'lr': [0.1]}, executor=1, algorithm=Mine,\n"
        "    batch_size=8, dim=50, target=0.2)\n"
        "print(*found.steps.values)\n"
    )
    alone = nqm.steps_to_target(nqm.Problem.power_law(50), nqm.SGD(0.1), 8, 0.2)
    assert python(script).stdout.split() == [f"{alone:.1f}"]


def test_a_task_computes_with_as_many_threads_as_it_may(monkeypatch):
    used, kind = [], KINDS["steps"]

    def solve(points):
        used.append(cores())
        return [{"steps": 1.0} for _ in points]

    monkeypatch.setitem(KINDS, "steps", kind._replace(solve=solve))
    before = cores()
    sweep(grid={"lr": [0.1]}, batch_size=8)
    sweep(grid={"lr": [0.1]}, batch_size=8, threads_per_task=3)
    assert used == [1, 3]
    assert cores() == before


# -- points that fail ------------------------------------------------------------------------


def test_points_that_fail_are_reported_and_the_others_done(monkeypatch):
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 100.0)
    grid = {"max_steps": [10**6, "many", 10**5]}
    with pytest.warns(SweepWarning, match=r"1 point of 3 failed; max_steps = many: max_steps must"):
        found = sweep(grid=grid, batch_size=8, lr=0.1)
    assert np.isfinite(found.steps).values.tolist() == [True, False, True]
    assert [bool(text) for text in found.error.values] == [False, True, False]


def test_if_all_fail_it_is_an_error():
    with pytest.raises(InputError, match=r"2 points of 2 failed; max_steps = 0.5: max_steps must"):
        sweep(grid={"max_steps": [0.5, 1.5]}, batch_size=8, lr=0.1)


def test_a_worker_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(session, "package_version", lambda: "0.0.9")
    with pytest.raises(InputError, match=r"a worker has nqm-fast .*planned with 0.0.9: install"):
        sweep()


def test_a_task_that_does_not_fit_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr("nqm_fast.sweeps.task.available_bytes", lambda: 1000)
    with pytest.raises(InputError, match=r"needs about 0.0 GB of memory, but its worker has"):
        sweep()


def test_processes_that_do_not_fit_together_are_refused(monkeypatch):
    common = {"dim": 10**6, "batch_size": 8, "steps": 10, "replicas": 2}
    monkeypatch.setattr(session, "available_bytes", lambda: 6 * 10**8)
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 0.0)
    with pytest.raises(
        InputError, match=r"4 tasks at a time need .* 0.6 GB are available: use exec"
    ):
        nqm.sweep("simulate", {"lr": [0.1], "seed": range(4)}, executor=4, **common)


# -- tasks -----------------------------------------------------------------------------------


def test_cheap_points_are_sent_together(monkeypatch):
    executor = InProcess()
    sweep("simulate", {"seed": range(300)}, executor, lr=0.1, batch_size=8, dim=50, steps=5)
    assert len(executor.tasks) == 1
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 0.0)
    executor = InProcess()
    sweep("simulate", {"seed": range(20)}, executor, lr=0.1, batch_size=8, dim=50, steps=5)
    assert len(executor.tasks) > 3


def test_tasks_take_no_longer_than_they_may():
    plan = session.as_plan("tune", {"batch_size": list(range(1, 101))}, {"dim": 50, "target": 0.2})
    groups = grouping.grouped(plan, range(100), 1)
    assert sorted(point for group in groups for point in group.points) == list(range(100))
    assert max(group.load.seconds for group in groups) <= grouping.TASK_SECONDS * (1 + 1e-9)
    assert len(groups) == 4  # 0.4 s for each point
