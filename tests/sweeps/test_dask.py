"""Sweeps on a real cluster of Dask: the bits of one machine, whatever is killed meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from deadly import Deadly, Watched, entries

import nqm_fast as nqm
from nqm_fast import InputError, cli
from nqm_fast.machine.executors import as_executor
from nqm_fast.sweeps import folder, grouping
from nqm_fast.sweeps.session import SweepWarning

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Dask are its own
TESTS = Path(__file__).parents[1]
RATES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7]
MORE_RATES = np.linspace(0.1, 0.8, 8).tolist()


@pytest.fixture(scope="module")
def client():
    """A client of two worker processes."""
    import dask

    with (
        # Seconds in which a worker that was killed is called for its results.
        dask.config.set({"distributed.comm.timeouts.connect": "3s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as made,
    ):
        yield made


@pytest.fixture
def tasks_of_one_point(monkeypatch):
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(grouping, "TASK_SECONDS", 0.0)


def alone(rates):
    problem = nqm.Problem.power_law(20)
    return [nqm.expected_risk(problem, nqm.SGD(lr), 8, 30) for lr in rates]


def sweep(executor, rates=RATES, **changes):
    common = {"dim": 20, "batch_size": 8, "steps": 30} | changes
    return nqm.sweep("risk", {"lr": rates}, executor=executor, **common)


def test_simulations_have_the_bits_of_one_process(client, tasks_of_one_point, tmp_path):
    grid = {"lr": [0.1, 0.3], "batch_size": [4, 16], "seed": [0, 7]}
    common = {"dim": 60, "steps": 40, "replicas": 2, "sampling": "leap"}
    serial = nqm.sweep("simulate", grid, executor=1, **common)
    found = nqm.sweep("simulate", grid, executor=client, out=tmp_path / "s.h5", **common)
    assert found.identical(serial)


def test_an_asynchronous_client_is_refused():
    async def use():
        async with distributed.Client(
            asynchronous=True, processes=False, dashboard_address=None
        ) as c:
            with pytest.raises(InputError, match="not asynchronous"), as_executor(c):
                pass

    import asyncio

    asyncio.run(use())


def test_a_worker_is_killed_mid_task(client, tasks_of_one_point, tmp_path):
    survived = str(tmp_path / "survived")
    found = sweep(client, algorithm=Deadly, survived=survived)
    assert os.path.exists(survived)
    assert found.risk.values.tolist() == alone(RATES)


@pytest.mark.slow
def test_the_command_line(client, tmp_path, capsys):
    file = tmp_path / "sweep.toml"
    file.write_text(
        'what = "risk"\nbatch_size = 8\nsteps = 30\nproblem.dim = 20\ngrid.lr = [0.1, 0.2]\n'
    )
    address = client.scheduler.address
    out = tmp_path / "s.h5"
    assert cli.main(["sweep", str(file), "--dask", address, "--out", str(out)]) == 0
    assert f"{alone([0.2])[0]:.8g}" in capsys.readouterr().out


@pytest.mark.slow
def test_points_that_always_kill_are_reported(client, tasks_of_one_point):
    with pytest.warns(SweepWarning, match="2 points of 6 failed; lr = 0.6: KilledWorker"):
        found = sweep(client, algorithm=Deadly)
    assert found.risk.values[:4].tolist() == alone(RATES[:4])


@pytest.mark.slow
def test_a_thousand_tiny_tasks_take_no_memory(client, tasks_of_one_point):
    def memory():
        import psutil

        time.sleep(0.5)
        return [psutil.Process(pid).memory_info().rss for pid in client.run(os.getpid).values()]

    rates = np.linspace(0.1, 0.5, 1000)
    sweep(client, rates[:300])
    before = memory()
    found = sweep(client, rates)
    assert found.risk[::333].values.tolist() == alone(rates[::333])
    assert max(np.subtract(memory(), before)) < 20e6


# -- clusters that are killed ----------------------------------------------------------------


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def cluster_at(port):
    """The processes of a scheduler and two workers, which end with the context."""
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    with ExitStack() as stack:
        processes = []
        for command in (scheduler, worker, worker):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
                    env=environment,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(processes[-1].wait)
            stack.callback(processes[-1].kill)
        yield processes


def done(out):
    return len(list(folder.folder_of(out).glob("*.rows")))


def when_done(out, count, action):
    """Act in a thread once so many tasks are done."""

    def watch():
        end = time.monotonic() + 60
        while done(out) < count and time.monotonic() < end:
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.slow
def test_the_scheduler_is_killed_and_restarted(tmp_path, tasks_of_one_point):
    out, port = tmp_path / "s.h5", free_port()
    with ExitStack() as stack:
        processes = stack.enter_context(cluster_at(port))
        client = stack.enter_context(distributed.Client(f"tcp://127.0.0.1:{port}", timeout=60))

        def restart():
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
            stack.enter_context(cluster_at(port))

        thread = when_done(out, 2, restart)
        found = sweep(client, MORE_RATES, algorithm=Watched, seconds=0.3, out=out)
        thread.join()
        stack.callback(client.close)
    assert found.risk.values.tolist() == alone(MORE_RATES)


@pytest.mark.slow
def test_the_whole_cluster_is_killed_and_another_goes_on(tmp_path, tasks_of_one_point, monkeypatch):
    out, diary = tmp_path / "s.h5", tmp_path / "diary"
    more = {"algorithm": Watched, "seconds": 0.3, "diary": str(diary), "out": out}
    port = free_port()
    with cluster_at(port) as processes:
        client = distributed.Client(f"tcp://127.0.0.1:{port}", timeout=60)
        monkeypatch.setattr(client, "_timeout", 2)  # seconds in which it looks for the scheduler

        def kill():
            for process in processes:
                process.kill()

        thread = when_done(out, 2, kill)
        with (
            closing(client),
            pytest.raises(RuntimeError, match=r"has ended: it is clos(ed|ing), and has"),
        ):
            sweep(client, MORE_RATES, **more)
        thread.join()
    kept = done(out)
    assert 2 <= kept < len(MORE_RATES)
    first = {pid for _, pid in entries(diary)}
    found = sweep(2, MORE_RATES, **more)
    assert found.risk.values.tolist() == alone(MORE_RATES)
    again = {lr for lr, pid in entries(diary) if pid not in first}
    assert len(again) == len(MORE_RATES) - kept


@pytest.mark.slow
def test_the_driver_is_killed(client, tmp_path, tasks_of_one_point):
    out = tmp_path / "s.h5"
    more = {"algorithm": Watched, "seconds": 0.3, "out": out}
    script = tmp_path / "script.py"
    script.write_text(
        "import nqm_fast as nqm\n"
        "from deadly import Watched\n"
        "from distributed import Client\n"
        "from nqm_fast.sweeps import grouping\n"
        "grouping.LEAST_SECONDS = grouping.TASK_SECONDS = 0.0\n"
        f"with Client({client.scheduler.address!r}) as client:\n"
        f"    nqm.sweep('risk', {{'lr': {MORE_RATES}}}, executor=client, out={str(out)!r},\n"
        "        algorithm=Watched, seconds=0.3, dim=20, batch_size=8, steps=30)\n"
    )
    driver = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": str(TESTS)})
    when_done(out, 2, driver.kill).join()
    driver.wait()
    assert 2 <= done(out) < len(MORE_RATES)
    assert sweep(client, MORE_RATES, **more).risk.values.tolist() == alone(MORE_RATES)
