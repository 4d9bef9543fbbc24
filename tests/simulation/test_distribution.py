"""Runs in shards on executors: the bits of one machine, whoever computes them, after any kill."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import psutil
import pytest
from helpers import BACKEND, TWO_SETTINGS, assert_same, irregular, run, simulate
from nqm_fast.kernels.contract import TILE

import nqm_fast as nqm
from nqm_fast.machine.parallel import cores
from nqm_fast.runs import distribution
from nqm_fast.simulation import loops
from nqm_fast.simulation.coordinates import Coordinates
from nqm_fast.simulation.resources import as_resources
from nqm_fast.store.shard_files import Piece

PROBLEM = irregular(3 * TILE + 70)
ORDERS = distribution.Orders(as_resources("auto", 1, None), 60.0)
KINDS = ("all", "bands", "diverging", "leap in pieces", "rademacher")


class Reversed(Executor):
    """Computes in this process, the tasks that were submitted last first."""

    def __init__(self):
        self.tasks = []
        self.computed = 0

    def submit(self, function, task):
        future = Future()
        self.tasks.append((future, function, task))
        if len(self.tasks) == self.most:
            for submitted, call, argument in reversed(self.tasks):
                self.computed += 1
                try:
                    submitted.set_result(call(argument))
                except Exception as error:
                    submitted.set_exception(error)
            self.tasks = []
        return future

    most = 1


def in_reverse(monkeypatch, workers=2):
    """An executor for the shards of the run below, which it has when so many are submitted."""
    engine = Reversed()
    cut = distribution.pieces

    def pieces(whole, orders, _):
        found = cut(whole, orders, workers)
        engine.most = len(found)
        return found

    monkeypatch.setattr(distribution, "pieces", pieces)
    return engine


@pytest.fixture(autouse=True)
def few_shards(monkeypatch):
    """One for each of two workers, as files take time, also where there is one core."""
    monkeypatch.setattr(distribution, "PER_WORKER", 1)
    monkeypatch.setenv("NQM_NUM_THREADS", "2")


@pytest.fixture(scope="module")
def whole():
    return {name: run(name, problem=PROBLEM) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("workers", [4, 12])
def test_shards_in_memory(whole, name, workers, monkeypatch):
    engine = in_reverse(monkeypatch, workers)
    found = run(name, problem=PROBLEM, executor=engine)
    assert engine.computed == engine.most == workers
    assert_same(found, whole[name])
    assert found.experiment == whole[name].experiment
    assert found.stats["order"] == "shards"


def test_shards_in_files(whole, monkeypatch, tmp_path):
    engine = in_reverse(monkeypatch)
    found = run("bands", problem=PROBLEM, executor=engine, out=tmp_path / "run.h5")
    assert_same(found, whole["bands"])
    assert os.listdir(tmp_path) == ["run.h5"]
    assert_same(nqm.resume(tmp_path / "run.h5"), found)


@pytest.mark.parametrize("replicas", [[5, 3, 3], [7]], ids=str)
def test_replicas_stay_in_their_order(replicas, monkeypatch, tmp_path):
    for out in (None, tmp_path / "run.h5"):
        with monkeypatch.context() as patched:
            engine = in_reverse(patched)
            found = simulate(TWO_SETTINGS, replicas=replicas, executor=engine, out=out)
        assert_same(found, simulate(TWO_SETTINGS, replicas=replicas))


def test_local_processes_and_a_problem_of_ones_own(whole, tmp_path):
    found = run("all", problem=PROBLEM, executor=2, out=tmp_path / "run.h5")
    assert_same(found, whole["all"])
    assert os.listdir(tmp_path) == ["run.h5"]


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_executors_of_the_standard_library(whole, kind):
    spawned = {"mp_context": get_context("spawn")}
    pool = ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2, **spawned)
    with pool:
        assert_same(run("bands", problem=PROBLEM, executor=pool, threads=None), whole["bands"])


@pytest.fixture
def dask_client():
    """A client of a cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Dask are its own
def test_a_dask_cluster(whole, dask_client, tmp_path):
    assert_same(run("bands", problem=PROBLEM, executor=dask_client), whole["bands"])
    path = tmp_path / "run.h5"
    assert_same(run("all", problem=PROBLEM, executor=dask_client, out=path), whole["all"])
    assert os.listdir(tmp_path) == ["run.h5"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_of_dask_is_killed(dask_client, tmp_path):
    victim = next(iter(dask_client.run(os.getpid).values()))

    def kill():
        while not list(tmp_path.rglob("*.checkpoint")):
            time.sleep(0.002)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    what = nqm.Problem.power_law(2000), nqm.SGD(0.1), 8, 150_000
    more = {"record": 1500, "seed": 2}
    out = tmp_path / "run.h5"
    found = nqm.simulate(*what, executor=dask_client, out=out, checkpoint_every=0, **more)
    killer.join()
    assert victim not in dask_client.run(os.getpid).values()
    assert_same(found, nqm.simulate(*what, **more))
    assert os.listdir(tmp_path) == ["run.h5"]


def the_task(path):
    """The first shard of a small run, in a file."""
    whole = simulate().experiment
    piece = Piece(Coordinates(0, 64, whole.problem.dim), 0, 1)
    return distribution.Task(whole, piece, str(path), ORDERS)


def count_of_shards(steps, backend="numpy", workers=3):
    experiment = nqm.simulate(nqm.Problem.power_law(2**20), nqm.SGD(0.1), 8, 0).experiment
    orders = distribution.Orders(as_resources(backend, 1, None, here=False), 60.0)
    return len(distribution.pieces(replace(experiment, steps=steps), orders, workers))


def test_long_runs_are_cut_into_more_shards():
    """So that workers which come later have some as well; but not into any number."""
    assert count_of_shards(10) == 4
    assert 32 <= count_of_shards(10**7) / 4 <= 64  # 5000 s
    assert count_of_shards(10**12) <= 2**15
    assert count_of_shards(10, workers=200) == 256


def test_shards_for_gpus_are_longer():
    pytest.importorskip("numba_cuda")
    assert count_of_shards(10**7, "cuda") == 4


# -- going on ----------------------------------------------------------------------------


def failing(engine, *numbers):
    """An executor on which the tasks of these numbers, in the order of submission, fail."""
    submit, submitted = engine.submit, []

    def submit_or_fail(function, task):
        submitted.append(task)
        if len(submitted) - 1 in numbers:
            future = Future()
            future.set_exception(OSError("the machine was struck by lightning"))
            return future
        return submit(function, task)

    engine.submit = submit_or_fail
    return engine


class AtOnce(Executor):
    """Computes in this process."""

    def __init__(self):
        self.computed = []

    def submit(self, function, task):
        future = Future()
        self.computed.append(task)
        try:
            future.set_result(function(task))
        except Exception as error:
            future.set_exception(error)
        return future


def test_progress_is_of_the_whole_run(monkeypatch, tmp_path):
    """Also of one that goes on, whose shards that are done count from the start."""
    reports = []

    @contextmanager
    def rated(label, total, unit):
        reports.append(total)
        yield reports.append

    monkeypatch.setattr(distribution, "rated", rated)
    out = tmp_path / "run.h5"
    with pytest.raises(RuntimeError, match="failed"):
        simulate(problem=PROBLEM, executor=failing(AtOnce(), *range(1, 99)), out=out)
    simulate(problem=PROBLEM, executor=AtOnce(), out=out)
    total, first = PROBLEM.dim * 20, 2 * TILE * 20
    assert reports == [total, 0, first, total, first, total]


def test_a_shard_that_fails_once_is_tried_again(whole, tmp_path):
    engine = failing(AtOnce(), 1)
    found = run("bands", problem=PROBLEM, executor=engine, out=tmp_path / "run.h5")
    assert_same(found, whole["bands"])


def test_what_is_done_is_not_done_again(whole, tmp_path, monkeypatch):
    """One shard fails for good; the same call, on other workers, computes that one."""
    out = tmp_path / "run.h5"
    shards = len(distribution.pieces(whole["bands"].experiment, ORDERS, cores()))
    engine = failing(AtOnce(), 1, shards, shards + 1)
    with pytest.raises(RuntimeError, match=f"1 shard of {shards} failed.*struck by lightning"):
        run("bands", problem=PROBLEM, executor=engine, out=out)
    assert not out.exists()
    monkeypatch.setattr(distribution, "PER_WORKER", 4)
    engine = AtOnce()
    assert_same(run("bands", problem=PROBLEM, executor=engine, out=out), whole["bands"])
    assert len(engine.computed) == 1
    assert os.listdir(tmp_path) == ["run.h5"]


def test_shards_are_worked_through_in_blocks(whole, tmp_path, monkeypatch):
    """There may be many on one machine, each of which would take a part of its memory."""
    monkeypatch.setattr(distribution, "IN_MEMORY", 0)
    monkeypatch.setattr(loops, "block_size", lambda _: TILE)
    out, changes = tmp_path / "run.h5", {"problem": PROBLEM, "keep_state": False}
    with pytest.raises(RuntimeError, match="failed"):
        run("bands", executor=failing(AtOnce(), *range(1, 90)), out=out, **changes)
    (first,) = (tmp_path / "run.shards").rglob("*.h5")
    assert nqm.open_run(first).stats["order"] == "blocks"
    found = run("bands", executor=AtOnce(), out=out, **changes)
    assert_same(found, run("bands", **changes))


def test_shards_of_another_run_are_kept(whole, tmp_path):
    out = tmp_path / "run.h5"
    with pytest.raises(RuntimeError, match="failed"):
        run("all", problem=PROBLEM, executor=failing(AtOnce(), *range(1, 90)), out=out)
    with pytest.raises(nqm.InputError, match=r"shards of another run are in '.*run.shards'"):
        run("bands", problem=PROBLEM, executor=AtOnce(), out=out)
    found = run("bands", problem=PROBLEM, executor=AtOnce(), out=out, overwrite=True)
    assert_same(found, whole["bands"])
    with pytest.raises(nqm.InputError, match="exists, a run that is finished"):
        run("all", problem=PROBLEM, executor=AtOnce(), out=out)


def test_a_kill_after_the_merge(whole, tmp_path, monkeypatch):
    out = tmp_path / "run.h5"
    with monkeypatch.context() as patched:
        patched.setattr(distribution.ShardFiles, "remove", lambda _: None)
        run("bands", problem=PROBLEM, executor=AtOnce(), out=out)
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "run.shards"]
    engine = AtOnce()
    assert_same(run("bands", problem=PROBLEM, executor=engine, out=out), whole["bands"])
    assert engine.computed == []
    assert os.listdir(tmp_path) == ["run.h5"]


DRIVER = """
import sys, nqm_fast as nqm
nqm.simulate(nqm.Problem.power_law(2000), nqm.SGD(0.1), 8, 150_000, record=1500, seed=2,
             backend=sys.argv[1], executor=2, out=sys.argv[2], checkpoint_every=0)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_driver_is_killed_and_another_goes_on(number, tmp_path):
    """After SIGKILL too its workers end, and shards that were begun are gone on with."""
    out = tmp_path / "run.h5"
    process = subprocess.Popen([sys.executable, "-c", DRIVER, BACKEND, str(out)])
    while not list((tmp_path / "run.shards").rglob("*.h5")):
        assert process.poll() is None
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(number)
    assert process.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    if number == signal.SIGTERM:
        assert not any(worker.is_running() for worker in workers)
    assert not out.exists()
    what = nqm.Problem.power_law(2000), nqm.SGD(0.1), 8, 150_000
    with ThreadPoolExecutor(2) as pool:
        found = nqm.simulate(*what, record=1500, seed=2, executor=pool, out=out)
    assert_same(found, nqm.simulate(*what, record=1500, seed=2))
    assert os.listdir(tmp_path) == ["run.h5"]


def test_a_shard_that_another_process_writes_is_waited_for(monkeypatch, tmp_path):
    """The worker of a killed driver still writes it, and ends while it is waited for."""
    locks, path = [False, True, True], tmp_path / "shard.h5"
    monkeypatch.setattr(distribution, "is_held", lambda _: bool(locks) and locks.pop())
    waited = []

    def sleep(_):
        waited.append(True)
        if len(waited) == 2:
            simulate(coordinates=(0, 64), out=path)

    monkeypatch.setattr(distribution, "time", SimpleNamespace(sleep=sleep))
    assert distribution.compute(the_task(path)) is None
    assert len(waited) == 2
    assert nqm.open_run(path).status == "finished"


def test_a_shard_that_another_process_ends_meanwhile(monkeypatch, tmp_path):
    """Its file was not there when this process looked, and is when it begins."""
    path, begin = tmp_path / "shard.h5", distribution.run_in_file
    begun = []

    def late(*arguments):
        begun.append(True)
        simulate(coordinates=(0, 64), out=path)
        return begin(*arguments)

    monkeypatch.setattr(distribution, "run_in_file", late)
    assert distribution.compute(the_task(path)) is None
    assert begun == [True]


def test_a_file_of_another_run_is_refused(tmp_path):
    simulate(coordinates=(64, 100), out=tmp_path / "shard.h5")
    with pytest.raises(nqm.InputError, match=r"shard.h5' holds another run: remove it"):
        distribution.compute(the_task(tmp_path / "shard.h5"))


# -- what is refused ---------------------------------------------------------------------


def test_what_executors_do_not_take(tmp_path):
    with pytest.raises(nqm.InputError, match="coordinates must be left out with an executor"):
        simulate(coordinates=(0, 64), executor=1)
    with pytest.raises(nqm.InputError, match="executor must be"):
        simulate(executor="processes")
    with pytest.raises(nqm.InputError, match=r"other memory|devices must be"):
        simulate(executor=AtOnce(), backend="numpy", devices=[0])


def test_a_worker_with_another_library_of_mathematics(monkeypatch):
    task = distribution.Task(
        run("plain", problem=PROBLEM, steps=2).experiment,
        distribution.pieces(run("plain", problem=PROBLEM, steps=2).experiment, ORDERS, 1)[0],
        None,
        ORDERS,
    )
    sent = pickle.loads(pickle.dumps(task))
    assert sent.experiment == task.experiment
    monkeypatch.setattr(distribution, "fingerprint", lambda _: "another")
    with pytest.raises(nqm.InputError, match="worker on which powers or schedules"):
        distribution.compute(sent)


def test_a_worker_without_the_folder(monkeypatch, tmp_path):
    """A worker elsewhere writes to a folder of the same name, and nothing is seen here."""
    monkeypatch.setattr(distribution, "_in_its_file", lambda *_: simulate())
    with pytest.raises(nqm.InputError, match="out must be in a folder that all workers share"):
        simulate(executor=AtOnce(), out=tmp_path / "run.h5")


def test_a_shard_that_is_stopped_is_an_error(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(distribution, "run_in_memory", stopped)
    with pytest.raises(RuntimeError, match="a shard was stopped"):
        simulate(executor=AtOnce())


def test_a_damaged_plan(tmp_path):
    out = tmp_path / "run.h5"
    (tmp_path / "run.shards").mkdir()
    (tmp_path / "run.shards" / "plan.json").write_text("{")
    with pytest.raises(nqm.InputError, match=r"plan.json' is damaged"):
        simulate(executor=AtOnce(), out=out)
    assert not out.exists()
