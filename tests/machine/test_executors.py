"""Tasks on executors: what is accepted, tasks that die, and how all of them end."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
from helpers import python

from nqm_fast import InputError
from nqm_fast.machine import executors
from nqm_fast.machine.executors import Engine, ExecutorError, LocalProcesses, as_executor, outcomes
from nqm_fast.machine.packing import packed, unpacked


def collected(executor, function, tasks, **more):
    """Results by task, and errors by task."""
    with as_executor(executor) as engine:
        found = list(outcomes(engine, function, tasks, **more))
    good = {x.task: x.result for x in found if x.error is None}
    return good, {x.task: x.error for x in found if x.error is not None}


class Inline(Executor):
    """Calls at once; the calls whose numbers are given fail in a way of their own."""

    def __init__(self, **failures):
        self.failures, self.calls = failures, []

    def submit(self, function, /, *args, **named):
        future = Future()
        self.calls.append(args[0])
        error = self.failures.get(f"call_{len(self.calls)}")
        if error is not None:
            future.set_exception(error)
        else:
            try:
                future.set_result(function(*args, **named))
            except Exception as raised:
                future.set_exception(raised)
        return future


@pytest.mark.parametrize("executor", ["dask", True, 0, 1.5, [2], object()])
def test_one_sentence_says_what_is_accepted(executor):
    with pytest.raises(InputError, match=r"^executor must be ") as caught, as_executor(executor):
        pass
    if not isinstance(executor, int | float) or executor is True:
        for word in ("None", "number of processes", "concurrent.futures", "dask.distributed"):
            assert word in str(caught.value)


def test_local_processes_solve_tasks():
    good, bad = collected(2, math.sqrt, [1.0, 4.0, -1.0])
    assert good == {1.0: 1.0, 4.0: 2.0}
    assert type(bad[-1.0]) is ValueError


def test_pools_of_concurrent_futures_are_left_open():
    with ThreadPoolExecutor(2) as pool:
        assert collected(pool, math.sqrt, [9.0])[0] == {9.0: 3.0}
        assert pool.submit(math.sqrt, 4.0).result() == 2.0


def test_a_task_that_dies_is_tried_three_times_and_the_others_finish():
    executor = Inline(call_1=OSError("a"), call_3=OSError("b"), call_4=OSError("c"))
    good, bad = collected(executor, math.sqrt, [1.0, 4.0])
    assert executor.calls == [1.0, 4.0, 1.0, 1.0]
    assert good == {4.0: 2.0}
    assert str(bad[1.0]) == "c"


def test_a_task_that_dies_twice_is_done_by_the_third_try():
    executor = Inline(call_1=OSError("a"), call_2=OSError("b"))
    assert collected(executor, math.sqrt, [4.0]) == ({4.0: 2.0}, {})


def refuse(task):
    raise InputError(f"{task} is not allowed")


def test_a_mistake_is_not_tried_again():
    executor = Inline()
    _, bad = collected(executor, refuse, [4.0])
    assert executor.calls == [4.0]
    assert str(bad[4.0]) == "4.0 is not allowed"


def test_a_task_that_dies_is_cut_into_parts():
    executor = Inline(call_1=OSError("died"))
    good, _ = collected(
        executor, sum, [(1, 2)], split=lambda task: [(x,) for x in task[1:] and task]
    )
    assert good == {(1,): 1, (2,): 2}


def kill_self(number):
    os.kill(os.getpid(), number)


def write_and_sleep(path):
    path.write_text(str(os.getpid()))
    time.sleep(120.0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_caller(tmp_path, number):
    """Also one that is in the middle of a job, for whose result nobody waits any more."""
    file = tmp_path / "worker"
    code = (
        "import pathlib, sys; sys.path[:0] = sys.argv[2:]\n"
        "from nqm_fast.machine.executors import as_executor\n"
        "from test_executors import write_and_sleep\n"
        "with as_executor(1) as engine:\n"
        "    engine.executor.submit(write_and_sleep, pathlib.Path(sys.argv[1])).result()"
    )
    caller = subprocess.Popen([sys.executable, "-c", code, file, Path(__file__).parent, *sys.path])
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    worker = int(file.read_text())
    os.kill(worker, 0)
    caller.send_signal(number)
    assert caller.wait() == -number
    while time.monotonic() < end and is_running(worker):
        time.sleep(0.02)
    assert not is_running(worker)


def is_running(process):
    """Whether a process has not ended, on Linux also one that waits for whoever adopts it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_worker_that_is_killed_is_replaced():
    with as_executor(1) as engine:
        found = list(outcomes(engine, kill_self, [signal.SIGKILL]))
        assert "by signal 9" in str(found[0].error)
        assert next(iter(outcomes(engine, math.sqrt, [4.0]))).result == 2.0
        ids = engine.executor.process_ids()
    assert len(ids) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(ids[0], 0)


def test_a_pool_that_broke_has_ended_with_a_word():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(math.sqrt, 4.0).result()
        (process,) = pool._processes
        with pytest.raises(ExecutorError, match="ProcessPoolExecutor, has ended"):
            for _ in outcomes(Engine(pool, 1, False), partial(os.kill, process), [signal.SIGKILL]):
                pass


def test_loky_and_a_worker_of_it_that_is_killed():
    """The executor of joblib, which scikit-learn brings."""
    loky = pytest.importorskip("joblib.externals.loky")
    pool = loky.get_reusable_executor(max_workers=1)
    try:
        assert collected(pool, math.sqrt, [9.0])[0] == {9.0: 3.0}
        with pytest.raises(ExecutorError, match="has ended"):
            collected(pool, kill_self, [signal.SIGKILL])
    finally:
        pool.shutdown(kill_workers=True)


def test_an_executor_that_was_shut_down_has_ended():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ExecutorError, match="after shutdown"):
        collected(pool, math.sqrt, [1.0])


def test_an_exception_ends_the_processes_at_once():
    processes = []

    def stop():
        with (
            as_executor(2) as engine,
            closing(outcomes(engine, time.sleep, [0.0, 3600.0, 3600.0, 3600.0])) as found,
        ):
            processes.append(engine.executor)
            next(found)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert processes[0].process_ids() == []


def test_what_waits_is_cancelled_when_nobody_wants_it():
    gate, futures = threading.Event(), []

    class Keeping(ThreadPoolExecutor):
        def submit(self, *args):
            futures.append(super().submit(*args))
            return futures[-1]

    with Keeping(1) as pool:
        found = outcomes(
            Engine(pool, 1, False), lambda task: gate.wait() if task else 0, [0, 1, 2, 3]
        )
        assert next(found).task == 0
        found.close()
        cancelled = futures[3].cancelled()
        gate.set()
    assert cancelled


@pytest.mark.parametrize(("workers", "most"), [(1, 3), (5, 10)])
def test_no_more_tasks_are_in_flight_than_allowed(monkeypatch, workers, most):
    monkeypatch.setattr(executors, "IN_FLIGHT", 3)
    given, gate = [], threading.Event()

    class Counting(ThreadPoolExecutor):
        def submit(self, *args):
            given.append(args[1])
            return super().submit(*args)

    with Counting(1) as pool:
        engine = Engine(pool, workers, False)
        found = outcomes(engine, lambda task: gate.wait() and task, range(12))
        threading.Timer(0.2, gate.set).start()
        next(found)
        assert len(given) == most
        assert len(list(found)) == 11


def test_a_script_is_not_run_again_by_its_workers(tmp_path):
    """Also without ``if __name__ == "__main__"``."""
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from nqm_fast.machine.executors import as_executor, outcomes\n"
        "print('run')\n"
        "with as_executor(1) as engine:\n"
        "    print(*[x.result for x in outcomes(engine, math.sqrt, [4.0])])\n"
    )
    assert python(script).stdout.split() == ["run", "2.0"]


def test_without_cloudpickle_what_a_script_defines_is_refused(monkeypatch):
    monkeypatch.setattr("nqm_fast.machine.packing.find_spec", lambda _: None)
    main = sys.modules["__main__"]
    mine = type("Mine", (), {"__module__": "__main__"})
    monkeypatch.setattr(main, "Mine", mine, raising=False)
    assert unpacked(packed([1, 2.0, InputError])) == [1, 2.0, InputError]
    with pytest.raises(InputError, match="Mine is defined in the script that runs"):
        packed({"a": mine()})


def test_a_module_that_a_worker_lacks_is_named():
    there, lacking = b"nqm_fast.foundation.messages", b"nqm_fast.foundation.massages"
    data = packed(InputError)
    assert there in data
    data = data.replace(there, lacking)
    with pytest.raises(InputError, match="massages"):
        unpacked(data)


def test_processes_start_when_they_are_needed():
    processes = LocalProcesses(4)
    assert processes.process_ids() == []
    assert processes.submit(math.sqrt, 4.0).result() == 2.0
    assert len(processes.process_ids()) == 1
    processes.shutdown()
