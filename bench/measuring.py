"""The problem and the setting that benchmarks of the simulation measure, and how it is noted."""

from typing import Any

import nqm_fast as nqm

DIM = 65_536
BATCH = 64
LR = 0.1
HUGE = 10**8

PLAIN = nqm.SGD(LR)


class Sizes:
    """Large enough to measure, or just enough to see that everything runs."""

    def __init__(self, measured: bool) -> None:
        self.dim = DIM if measured else 1024
        self.steps = 4096 if measured else 8
        self.peer_steps = 256 if measured else 2
        self.huge = HUGE if measured else 10**6
        self.measured = measured


def simulate(dim: int, algorithm: Any, steps: int, threads: int | None = 1, **options: Any) -> Any:
    problem = nqm.Problem.power_law(dim)
    return nqm.simulate(
        problem, algorithm, BATCH, steps, record=[steps], threads=threads, **options
    )


def note(benchmark: Any, work: str, ours: float, peer: tuple[str, float], **more: Any) -> None:
    """Note the results for the table: ns per coordinate-step of ours and of a peer."""
    name, theirs = peer
    benchmark.extra_info |= {
        "work": work,
        "ns per coordinate-step": ours,
        "peer": name,
        "peer ns": theirs,
        "ratio": theirs / ours,
        "threads": 1,
        "dtype": "float64",
    } | more
