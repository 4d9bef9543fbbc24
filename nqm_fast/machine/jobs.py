"""Jobs, long computations: each is solved once, in worker processes on all cores."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple

from .parallel import cores

MOST_WORKERS = 16
"""A limit, because each worker takes time to start, and memory."""
WORKER = "from nqm_fast.machine.jobs import serve; serve()"
"""The program of a worker process."""
ABANDONED = 1
"""Exit status of a worker process whose caller has ended before its job was done."""
LAST_WORK = 5.0
"""Seconds in which a process that has closed its pipes ends."""
# There are as many workers as cores, so that threads which libraries start would slow them down.
ONE_THREAD = {
    "NQM_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Job(NamedTuple):
    """A call whose result is needed; equal jobs are solved once.

    Attributes
    ----------
    function : callable
        Defined at the top of a module, so that other processes can import it.
    arguments : tuple
        Hashable.
    long : bool
        Started before the others: a long job left for the end keeps all waiting.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    long: bool = False

    def __call__(self) -> Any:
        """Solve the job in this process."""
        return self.function(*self.arguments)


Solved = Mapping[Job, Any]


class WorkerError(RuntimeError):
    """A worker process has ended before its job was done."""


def solve(jobs: Sequence[Job], workers: int | None = None) -> Generator[tuple[Job, Any]]:
    """Solve different jobs, and yield each with its result as soon as it is solved.

    Processes are used rather than threads, because the searches are largely Python. They are not
    those of multiprocessing, which run the caller's script again (or fork, with the locks that
    Numba and BLAS threads hold).
    """
    ordered = sorted(dict.fromkeys(jobs), key=lambda job: not job.long)
    workers = min(workers or cores(), len(ordered), MOST_WORKERS)
    if workers < 2:
        yield from ((job, job()) for job in ordered)
        return
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    with ExitStack() as stack:
        # The stack is undone from its end: jobs are cancelled, processes killed, threads ended, and
        # pipes closed.
        crew = [stack.enter_context(closing(Worker())) for _ in range(workers)]
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for worker in crew:
            idle.put(worker)
            stack.callback(worker.process.kill)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        submitted = {pool.submit(_solve_in_worker, idle, job): job for job in ordered}
        for future in as_completed(submitted):
            yield submitted[future], future.result()


def _solve_in_worker(idle: queue.SimpleQueue[Worker], job: Job) -> Any:
    """Solve a job in a worker that has nothing to do."""
    worker = idle.get()
    try:
        return worker.solve(job)
    finally:
        idle.put(worker)


class Worker:
    """A process that solves jobs, one at a time; `environment` adds to its variables."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        # Each worker has a session of its own, so that Ctrl-C reaches only the process that waits.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD | dict(environment or {}),
            start_new_session=True,
        )
        self.requests: Any = self.process.stdin
        self.results: Any = self.process.stdout

    def solve(self, job: Job) -> Any:
        """Send a job to the process and wait for its result; an exception there is raised here."""
        # The job is bytes in the stream, so that one which the worker cannot unpickle is an error
        # of that job, and not the end of the worker.
        request = pickle.dumps(job)
        try:
            pickle.dump(request, self.requests)
            self.requests.flush()
            result, error = pickle.loads(pickle.load(self.results))
        except (EOFError, OSError, pickle.UnpicklingError):
            raise WorkerError(
                f"a worker process ended {self._how()}before its job was done"
            ) from None
        if error is not None:
            raise error
        return result

    def _how(self) -> str:
        """Say which signal ended the process, whose pipes are closed, if one did."""
        with suppress(subprocess.TimeoutExpired):
            status = self.process.wait(LAST_WORK)
            return f"by signal {-status} " if status < 0 else ""
        return ""

    def close(self) -> None:
        """Close the pipes, which ends the process."""
        with suppress(OSError):
            self.requests.close()
        self.results.close()
        self.process.wait()


def serve() -> None:
    """Solve jobs from standard input until it ends; a worker process runs this."""
    # Whatever a job prints must not get between the results.
    results, sys.stdout = sys.stdout.buffer, sys.stderr
    requests = _Requests()
    threading.Thread(target=requests.receive, daemon=True).start()
    # A process that waits for the results may be killed, and its workers then end with their jobs.
    with suppress(BrokenPipeError):
        while (request := requests.waiting.get()) is not None:
            answer = _answer(request)
            requests.unsolved -= 1
            pickle.dump(answer, results)
            results.flush()


class _Requests:
    """The jobs that a worker process is sent; its end comes with that of who sends them."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.unsolved = 0

    def receive(self) -> None:
        """Receive jobs, and end the process where nobody waits for the one that it is at."""
        # This has a buffer of its own, as that of sys.stdin is closed while the process ends.
        with open(0, "rb", closefd=False) as stream, suppress(EOFError, pickle.UnpicklingError):
            while True:
                request = pickle.load(stream)
                self.unsolved += 1
                self.waiting.put(request)
        if self.unsolved:
            os._exit(ABANDONED)
        self.waiting.put(None)


def _answer(request: bytes) -> bytes:
    """Solve a pickled job; the pickled answer is its result, and the exception if there is one."""
    try:
        return pickle.dumps((pickle.loads(request)(), None))
    except Exception as error:
        try:
            return pickle.dumps((None, error))
        except Exception:  # Of an exception that cannot be sent its words are left.
            return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
