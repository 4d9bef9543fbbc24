"""The study: steps to the target against batch size, for every optimiser, tuned at each size."""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from ..foundation.messages import InputError, shown
from ..foundation.validation import choice, flag, integer, number
from ..machine.jobs import Job, Worker
from ..machine.parallel import cores
from ..output.progress import counted
from ..output.progress import shown as progress_shown
from .environment import need
from .optimizers import OPTIMIZERS
from .record import Chain, Record, recorded
from .table import Results
from .tasks import Task, as_task, names
from .tuning import Result, Unit, tune_unit

LARGEST_BATCH = 4096
MOST_SEEDS = 1000
QUICK_TASK, QUICK_EXPONENTS = "digits", 4
"""A quick study is of one task, at every so many powers of two from the largest downwards."""
JAX_ON_ONE_THREAD = {"NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
"""Variables of worker processes, of which there is one for each core."""

Report = Callable[[int, int, str], None]


def study(
    task: Any = None,
    optimizers: str | Sequence[str] | None = None,
    batch_sizes: Sequence[int] | None = None,
    *,
    target: float | None = None,
    seeds: int = 3,
    quick: bool = False,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> Results:
    """Find the fewest steps to a task's target, tuned at every batch size.

    At every batch size the hyper-parameters of each optimiser are tuned on a grid that is widened
    while its best point is on its edge and refined around it (the protocol of Shallue et al. 2019),
    and the best points are trained with several seeds. Moving averages of the weights are carried
    along, so that every optimiser is tuned with and without one.

    Parameters
    ----------
    task : str, Task, or a sequence of them, optional
        "digits", "language", "mnist1d", or "module:Class", or an object of your own with `init`,
        `loss`, `train`, `validation` and `target` (see `Task`); by default all that are shipped.
    optimizers : str or sequence of str, optional
        Of "sgd", "momentum", "adam" and "kfac"; by default all.
    batch_sizes : sequence of int, optional
        By default the powers of two up to the size of the training set, or 4096.
    target : float, optional
        The loss to reach, weight decay included, instead of the task's own.
    seeds : int, default 3
        Trainings of the best settings in the end, at most 1000.
    quick : bool, default False
        Only digits, and every fourth power of two, unless `task` or `batch_sizes` say otherwise;
        and losses are measured of fewer samples, and less often (`Task.roughly_measured`).
    out : path, optional
        A folder for ``networks.h5``, which has all trainings, and ``networks.csv``, the table of
        them. What is found there already is not computed again, also if other batch sizes are now
        beside it: a study that was stopped, or is to have more, goes on. A task has one target and
        one number of seeds there.
    workers : int, optional
        Processes; one per core by default.
    progress : bool, optional
        Whether to show progress; by default where somebody seems to watch.

    Returns
    -------
    Results
        A dict of columns, with two rows, without and with averaging, for every task, optimiser and
        batch size.

    Raises
    ------
    InputError
        If a name is unknown, a library is missing, `out` has a study with other versions, data,
        target or seeds, or a target is below all losses that a task reaches, which are named then.
    """
    need("networks", "jax", "optax")
    chains = _chains(task, optimizers, batch_sizes, target, seeds, quick)
    if any(chain.optimizer == "kfac" for chain in chains):
        need("optimizers of kind kfac", "kfac_jax")
    workers = cores() if workers is None else integer("workers", workers, least=1)
    with recorded(out, chains) as record, progress_shown(progress):
        _solve(chains, record, workers)
    return record.table()


def _chains(
    task: Any,
    optimizers: str | Sequence[str] | None,
    batch_sizes: Sequence[int] | None,
    target: float | None,
    seeds: int,
    quick: bool,
) -> list[Chain]:
    """Check what is asked for, and list its chains."""
    if task is None:
        task = [QUICK_TASK] if quick else names()
    tasks = _different_tasks(list(task) if isinstance(task, list | tuple) else [task])
    if optimizers is None:
        optimizers = list(OPTIMIZERS)
    given = [optimizers] if isinstance(optimizers, str) else _listed("optimizers", optimizers)
    chosen = list(dict.fromkeys(choice("optimizer", name, OPTIMIZERS) for name in given))
    seeds = integer("seeds", seeds, least=1, most=MOST_SEEDS)
    quick = flag("quick", quick)
    if target is not None:
        target = number("target", target, above=0.0)
    chains = []
    for each, found in tasks:
        sizes = _batch_sizes(batch_sizes, found.size, quick)
        sent = each if isinstance(each, str) else found
        # Batch sizes that are far apart have little to tell each other, and need not wait either.
        parts = [(size,) for size in reversed(sizes)] if quick else [sizes]
        chains += [
            Chain(sent, found.name, name, part, target, seeds, quick)
            for name in chosen
            for part in parts
        ]
    if not chains:
        raise InputError("task and optimizers must name at least one each")
    return chains


def _listed(name: str, given: Any) -> list[Any]:
    """Return the items of a sequence, which is no text."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError
        return list(given)
    except TypeError:
        raise InputError(f"{name} must be a list, not {shown(given)}") from None


def _different_tasks(given: list[Any]) -> list[tuple[Any, Task]]:
    """Return what was given with the tasks that it means, each once.

    Raises
    ------
    InputError
        If two different ones have the same name, which tables and files go by.
    """
    tasks: dict[str, tuple[Any, Task]] = {}
    for each in given:
        found = as_task(each)
        same = tasks.setdefault(found.name, (each, found))[0]
        if same is not each and not (isinstance(each, str) and same == each):
            raise InputError(
                f"task must not have two of the name {found.name}: {shown(same)} and {shown(each)}"
            )
    return list(tasks.values())


def _batch_sizes(given: Sequence[int] | None, size: int, quick: bool) -> tuple[int, ...]:
    """Return the batch sizes from the largest to the smallest."""
    if given is None:
        exponents = range(int(math.log2(min(size, LARGEST_BATCH))) + 1)
        chosen = [2**k for k in exponents[:: -QUICK_EXPONENTS if quick else -1]]
    else:
        listed = _listed("batch_sizes", given)
        chosen = [integer("batch_sizes", x, least=1, most=size) for x in listed]
    if not chosen:
        raise InputError(f"batch_sizes must be one or more whole numbers, not {shown(given)}")
    return tuple(sorted(set(chosen), reverse=True))


def _solve(chains: list[Chain], record: Record, workers: int) -> None:
    """Tune all units; chains are independent, and each goes from unit to unit."""
    total = sum(len(chain.batch_sizes) for chain in chains)
    first: dict[str, list[Result]] = {chain.name: [] for chain in chains}
    expected = {name: sum(chain.name == name for chain in chains) for name in first}
    with counted("networks") as report:
        report(0, total, "")
        for chain, unit, result in _results(chains, record, workers):
            record.add(unit, chain.name, result)
            report(len(record.found), total, "")
            if unit.near is None:
                first[chain.name].append(result)
                if len(first[chain.name]) == expected[chain.name]:
                    _check_reached(record, chain)


def _check_reached(record: Record, chain: Chain) -> None:
    """Raise an InputError if no optimiser reaches a target at its first batch size."""
    table = record.table().where(task=chain.name)
    if not (table["steps"] < math.inf).any():
        k = int(table["lowest_loss"].argmin())
        raise InputError(
            f"target must be above {table['lowest_loss'][k]:.4g}, the lowest loss of {chain.name} "
            f"that was reached ({table['optimizer'][k]}, batch size {table['batch_size'][k]}), "
            f"not {table['target'][k]:g}"
        )


def _results(
    chains: list[Chain], record: Record, workers: int
) -> Iterator[tuple[Chain, Unit, Result]]:
    """Yield units with their results, as they are done."""
    can_be_sent = [chain for chain in chains if _is_importable(chain.task)]
    alone = [chain for chain in chains if chain not in can_be_sent]
    for chain in alone:
        yield from _followed(chain, record, tune_unit)
    if can_be_sent:
        yield from _in_processes(can_be_sent, record, min(workers, len(can_be_sent)))


def _is_importable(task: Any) -> bool:
    """Whether another process can have a task; one that is defined in a script it cannot."""
    return isinstance(task, str) or task.origin.__module__ != "__main__"


def _followed(
    chain: Chain, record: Record, solve: Callable[[Unit], Result]
) -> Iterator[tuple[Chain, Unit, Result]]:
    """Go through a chain; what was done before is not done again."""
    near = None
    for size in chain.batch_sizes:
        target, seeds, quick = chain[4:]
        unit = Unit(chain.task, chain.optimizer, size, target, seeds, near, quick)
        result = record.done_before(unit, chain.name) or solve(unit)
        near = (*result.point, size)
        yield chain, unit, result


def _in_processes(
    chains: list[Chain], record: Record, workers: int
) -> Iterator[tuple[Chain, Unit, Result]]:
    """Go through chains in worker processes, each of which takes the next chain when it is idle."""
    waiting: queue.SimpleQueue[Chain] = queue.SimpleQueue()
    # Long chains first, so that in the end no worker waits long for another.
    for chain in sorted(chains, key=lambda chain: -list(OPTIMIZERS).index(chain.optimizer)):
        waiting.put(chain)
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # A task of somebody's own is found where this process finds it.
    environment = JAX_ON_ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def work(worker: Worker) -> None:
        def solve(unit: Unit) -> Result:
            result: Result = worker.solve(Job(tune_unit, (unit,)))
            return result

        try:
            while True:
                chain = waiting.get_nowait()
                for item in _followed(
                    chain, record, lambda unit: worker.solve(Job(tune_unit, (unit,)))
                ):
                    done.put(item)
        except queue.Empty:
            done.put(None)
        except BaseException as error:
            done.put(error)

    with ExitStack() as stack:
        threads = []
        for _ in range(workers):
            worker = stack.enter_context(closing(Worker(environment)))
            threads.append(threading.Thread(target=work, args=(worker,), daemon=True))
            stack.callback(threads[-1].join)
            stack.callback(worker.process.kill)
        for thread in threads:
            thread.start()
        running = workers
        while running:
            item = done.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
