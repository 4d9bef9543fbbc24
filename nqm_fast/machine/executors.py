"""Tasks on any executor: processes of this machine, those of `concurrent.futures`, or Dask.

There is no scheduler here. An executor of somebody else runs the tasks, and what is added is that a
task which dies is tried again, that one which always dies is reported while the others finish, and
that none is left running when the caller stops.
"""

from __future__ import annotations

import os
import queue
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..foundation.messages import InputError, shown
from ..foundation.validation import integer
from .jobs import Job, Worker, WorkerError
from .parallel import cores

TRIES = 3
"""Most attempts at a task that raises an error, or whose worker dies."""
IN_FLIGHT = 4096
"""Tasks that an executor is given at a time, as more take memory, unless it has many workers."""
WAITING = 2
"""Tasks for each worker that keep it busy: what it does, and what it does next."""
PATIENCE = 5.0
"""Seconds without news after which a client of Dask is looked at."""
LOOKING = 0.1
"""Seconds between looks whether a client of Dask has its scheduler back."""
DASK = "distributed"
ACCEPTED = (
    "None (processes of this machine), a number of processes, an Executor of concurrent.futures, "
    "or a Client of dask.distributed"
)


class LocalProcesses(Executor):
    """Processes of this machine, started when there is work for them, and replaced if they die.

    They are started anew rather than forked, and unlike those of multiprocessing they do not run
    the caller's script, which so needs no ``if __name__ == "__main__"``.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        # Modules of the user are found where this process finds them.
        self._environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # The last in is the first out: a process that has started, rather than one that has not.
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._crew: set[Worker] = set()
        self._killed = False
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Call a function, which other processes can import, in one of the processes."""
        return self._threads.submit(self._solve, Job(partial(function, *args, **named)))

    def _solve(self, job: Job) -> Any:
        worker = self._idle.get()
        try:
            if worker is None:
                worker = Worker(self._environment)
                self._crew.add(worker)
                if self._killed:  # since the thread looked for one
                    worker.process.kill()
            return worker.solve(job)
        except WorkerError:
            if worker is not None:
                self._crew.discard(worker)
                worker.close()
                worker = None
            raise
        finally:
            self._idle.put(worker)

    def process_ids(self) -> list[int]:
        """The processes that have been started and have not ended."""
        return [worker.process.pid for worker in list(self._crew)]

    def kill(self) -> None:
        """End the processes at once, and with them what they do."""
        self._killed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._crew):
            worker.process.kill()
        self.shutdown()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what is being done, and end the processes."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        while wait and self._crew:
            self._crew.pop().close()


class DaskExecutor(Executor):
    """The executor of a client of Dask, which waits while the client looks for a lost scheduler.

    What is submitted meanwhile would never end, should there be no scheduler any more.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        # By default an equal call is not made again, also if the files that it wrote are gone.
        self._executor = client.get_executor(pure=False)
        self._sent: WeakKeyDictionary[Future[Any], Any] = WeakKeyDictionary()

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Call a function in one of the workers."""
        while self.client.status == "connecting":
            time.sleep(LOOKING)
        self.check()
        connection = self.client.scheduler_comm
        future: Future[Any] = self._executor.submit(function, *args, **named)
        self._sent[future] = connection
        return future

    def check(self) -> None:
        """Make sure that the client has a scheduler, or looks for it.

        Calls that were sent to a scheduler which is lost are cancelled: Dask does so too, but not
        with those whose results it was about to get.

        Raises
        ------
        ExecutorError
            If there is no scheduler any more.
        """
        if self.client.status not in ("running", "connecting"):
            raise ExecutorError(
                f"the executor, a Client of Dask, has ended: it is {self.client.status}, and has "
                "no scheduler"
            )
        connection = self.client.scheduler_comm  # None while it is lost, and then another one
        for future, sent_through in list(self._sent.items()):
            if sent_through is not connection and not future.done():
                future.cancel()


class ExecutorError(RuntimeError):
    """The executor takes no more tasks, because it broke or was shut down."""


class Engine(NamedTuple):
    """An executor with what is known of it."""

    executor: Executor
    workers: int
    """How many tasks it does at a time, or a guess."""
    is_local: bool
    """Whether it is processes of this machine that were started here."""

    @property
    def in_flight(self) -> int:
        """How many tasks it is given at a time."""
        return max(IN_FLIGHT, WAITING * self.workers)


def check_executor(executor: Any) -> None:
    """Make sure that an argument of this name means an executor.

    Raises
    ------
    InputError
        If it is none of those that are accepted.
    """
    if executor is None or isinstance(executor, Executor):
        return
    if _is_number(executor):
        integer("executor", executor, least=1)
    elif not _is_client(executor):
        raise InputError(f"executor must be {ACCEPTED}, not {shown(executor)}")
    elif executor.asynchronous:
        raise InputError("executor must be a Client of dask.distributed that is not asynchronous")


@contextmanager
def as_executor(executor: Any) -> Generator[Engine]:
    """Give the executor that an argument of this name means, while the context lasts.

    Processes that are started here end with the context, at once if it ends with an exception. An
    executor of the caller stays as it is.

    Raises
    ------
    InputError
        If it is none of those that are accepted.
    """
    check_executor(executor)
    if executor is None or _is_number(executor):
        count = cores() if executor is None else int(executor)
        processes = LocalProcesses(count)
        try:
            yield Engine(processes, count, True)
        except BaseException:
            processes.kill()
            raise
        processes.shutdown()
    elif isinstance(executor, Executor):
        yield Engine(executor, cores(), False)
    else:
        threads = executor.nthreads().values()
        yield Engine(DaskExecutor(executor), max(sum(threads), 1), False)


def _is_client(value: Any) -> bool:
    """Whether a value is a client of Dask, which then has been imported."""
    return DASK in sys.modules and isinstance(value, sys.modules[DASK].Client)


def _is_number(value: Any) -> bool:
    """Whether a value is meant as a number of processes."""
    return isinstance(value, int | float | np.integer) and not isinstance(value, bool)


class Outcome(NamedTuple):
    """A task with what came of it: its result, or the error of its last try."""

    task: Any
    result: Any
    error: BaseException | None = None


def outcomes(
    engine: Engine,
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    split: Callable[[Any], list[Any]] | None = None,
) -> Generator[Outcome]:
    """Call ``function(task)`` for each task, and yield what comes of it as it comes.

    A task that dies, or whose worker does, is tried up to `TRIES` times; an InputError would come
    again, and is not. Where `split` cuts a task that died into several, these are tried instead, so
    that what is wrong with one part of a task does not keep the others from being done. Tasks that
    are not done when the generator is closed are cancelled.

    Raises
    ------
    ExecutorError
        If the executor takes no more tasks.
    """
    done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    running: dict[Future[Any], tuple[Any, int]] = {}
    waiting = deque((task, 1) for task in tasks)
    executor = engine.executor
    try:
        while waiting or running:
            while waiting and len(running) < engine.in_flight:
                task, attempt = waiting.popleft()
                future = _submitted(executor, function, task)
                running[future] = task, attempt
                future.add_done_callback(done.put)
            future = _next(done, executor)
            task, attempt = running.pop(future)
            result, error = _ending(future)
            if error is None:
                yield Outcome(task, result)
            elif isinstance(error, BrokenExecutor):
                raise _ended(executor, error) from error
            elif parts := [] if split is None or isinstance(error, InputError) else split(task):
                waiting.extend((part, 1) for part in parts)
            elif attempt < TRIES and not _is_final(error):
                waiting.append((task, attempt + 1))
            else:
                yield Outcome(task, None, error)
    finally:
        for future in running:
            future.cancel()


def _next(done: queue.SimpleQueue[Future[Any]], executor: Executor) -> Future[Any]:
    """Wait for the next future that is done, unless none ever will be."""
    while True:
        try:
            return done.get(timeout=PATIENCE)
        except queue.Empty:
            if isinstance(executor, DaskExecutor):
                executor.check()


def _submitted(executor: Executor, function: Callable[[Any], Any], task: Any) -> Future[Any]:
    """Give a task to the executor."""
    try:
        return executor.submit(function, task)
    except ExecutorError:
        raise
    except RuntimeError as error:  # also that of a pool which broke
        raise _ended(executor, error) from error


def _ended(executor: Executor, error: BaseException) -> ExecutorError:
    """Say that an executor can do no more, and why."""
    reason = " ".join(str(error).split()).rstrip(".")
    return ExecutorError(f"the executor, a {type(executor).__name__}, has ended: {reason}")


def _ending(future: Future[Any]) -> tuple[Any, BaseException | None]:
    """Return the result of a future that is done, and its error if there is one."""
    result, error = None, None
    try:
        error = future.exception()
    except CancelledError as cancelled:  # Dask does so where a scheduler is lost.
        error = cancelled
    if error is None:
        with suppress(CancelledError):
            result = future.result()
    return result, error


def _is_final(error: BaseException) -> bool:
    """Whether another try would end as this one, or the executor has made all of them already."""
    return isinstance(error, InputError) or type(error).__name__ == "KilledWorker"
