"""What figures need solved: independent jobs, solved once each, on all cores."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple

from ..parallel import cores

MOST_WORKERS = 16
WORKER = "from nqm_fast.figures._jobs import serve; serve()"
# as many workers as cores: libraries that start threads of their own would be in the way
ONE_THREAD = {
    "NQM_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Job(NamedTuple):
    """A call that a figure needs the result of; equal jobs are solved once.

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
        """Solve it here."""
        return self.function(*self.arguments)


Solved = Mapping[Job, Any]


def solve(jobs: Sequence[Job], workers: int | None = None) -> Generator[tuple[Job, Any]]:
    """Solve different jobs in any order, each yielded with its result.

    Processes rather than threads, because the searches are largely Python. They are of our
    own making, because those of multiprocessing run the caller's script again (or fork, with
    the locks that Numba and BLAS threads hold).
    """
    ordered = sorted(dict.fromkeys(jobs), key=lambda job: not job.long)
    workers = min(workers or cores(), len(ordered), MOST_WORKERS)
    if workers < 2:
        yield from ((job, job()) for job in ordered)
        return
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    with ExitStack() as stack:
        # undone from the last to the first: no more jobs, no processes, no threads, no pipes
        crew = [stack.enter_context(closing(Worker())) for _ in range(workers)]
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for worker in crew:
            idle.put(worker)
            stack.callback(worker.process.kill)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        waiting = {pool.submit(_solve_in, idle, job): job for job in ordered}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _solve_in(idle: queue.SimpleQueue[Worker], job: Job) -> Any:
    """Solve a job in a worker that has nothing to do."""
    worker = idle.get()
    try:
        return worker.solve(job)
    finally:
        idle.put(worker)


class Worker:
    """A process that solves jobs, one at a time."""

    def __init__(self) -> None:
        # a session of its own: Ctrl-C is for the process that waits for the answers
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD,
            start_new_session=True,
        )
        self.questions: Any = self.process.stdin
        self.answers: Any = self.process.stdout

    def solve(self, job: Job) -> Any:
        """Ask, and wait for the answer; an exception there is raised here."""
        try:
            pickle.dump(job, self.questions)
            self.questions.flush()
            answer, error = pickle.load(self.answers)
        except (EOFError, OSError):
            raise RuntimeError("a worker process ended before its job was done") from None
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """Close the pipes, which ends the process."""
        with suppress(BrokenPipeError):
            self.questions.close()
        self.answers.close()
        self.process.wait()


def serve() -> None:
    """Solve the jobs that come in, until no more come: what a worker runs."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer, failure = None, None
        try:
            answer = job()
        except Exception as error:
            failure = error
        pickle.dump((answer, failure), answers)
        answers.flush()
