"""Fixtures of the benchmarks: turns with peers in one run, and versions in the JSON."""

import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `import peers`

from measuring import Sizes
from peers import PACKAGES


@pytest.fixture
def sizes(benchmark) -> Sizes:
    return Sizes(benchmark.enabled)


@pytest.fixture
def alternate(benchmark):
    """A function that benchmarks its first argument in turns with others.

    It returns the median seconds of each.
    """

    def run(function: Callable[[], Any], *others: Callable[[], Any], rounds: int = 9):
        every = (function, *others)
        times: list[list[float]] = [[] for _ in every]
        cores = []

        def timed(which: int) -> None:
            begin = time.perf_counter()
            every[which]()
            times[which].append(time.perf_counter() - begin)

        def take_turns() -> None:
            for which in range(1, len(every)):
                timed(which)

        def ours() -> None:
            begin = time.process_time()
            timed(0)
            cores.append((time.process_time() - begin) / times[0][-1])

        for warm_up in every:  # The first calls compile, and fill caches.
            warm_up()
        benchmark.pedantic(ours, setup=take_turns, rounds=rounds)
        # They are fewer than threads on a busy machine.
        benchmark.extra_info["cores"] = median(cores)
        return [median(values) for values in times]

    return run


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info):
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    machine_info["packages"] = versions
