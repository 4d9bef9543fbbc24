"""A run for other processes to kill and to watch: python long_run.py start|resume FILE ORDER.

It writes at every event, and has many. With NQM_KILL_AT=n it kills itself in the midst of its
writing: before the n-th call of a function that changes a file.
"""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
from helpers import BACKEND, chunks_of, in_blocks

import nqm_fast as nqm
from nqm_fast.simulation import chunking
from nqm_fast.store import file_recorder

STEPS = 40_000
ARGUMENTS = {
    "algorithm": [nqm.SGD(0.1), nqm.SGD(0.05, momentum=0.9, ema=0.9), nqm.SGD(2.2)],
    "batch_size": 8,
    "steps": STEPS,
    "replicas": 2,
    "seed": 5,
    "bands": 3,
    "record": 100,
    "backend": BACKEND,
}
SHORT = {"steps": 200, "record": 20, "backend": "numpy", "trajectory": [5, 2999]}
PROBLEM = nqm.Problem.power_law(3000)
RULES = {
    "algorithm": [nqm.AdamW(0.01, decay=0.1), nqm.RMSProp(0.01), nqm.Signum(0.001)],
    "steps": STEPS // 10,
    "record": 10,
}
"""Algorithms that are not linear, whose steps take longer, for the order "rules": that by steps."""
FOR_GOOD = SimpleNamespace(setattr=setattr)  # what monkeypatch is to a test
WRITES = [
    (os, "replace"),
    (os, "fsync"),
    (Path, "unlink"),
    (h5py.Dataset, "resize"),
    (h5py.Dataset, "__setitem__"),
    (h5py.Dataset, "flush"),
    (h5py.File, "close"),
]


def write_often():
    """Make an event every few milliseconds, and write everything at each."""
    chunking.SECONDS = 0.004
    file_recorder.GAPS = (0.0, 0.0)
    file_recorder.MOST = 1e9


def count_writes(kill_at):
    """Kill this process before a certain write; without one, only count."""
    done = [0]

    def counted(function):
        def wrapper(*arguments, **options):
            done[0] += 1
            if done[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return wrapper

    for owner, name in WRITES:
        setattr(owner, name, counted(getattr(owner, name)))
    return done


if __name__ == "__main__":
    action, path, order = sys.argv[1:]
    kill_at = os.environ.get("NQM_KILL_AT")
    write_often()
    arguments = ARGUMENTS | (RULES if order == "rules" else {})
    if kill_at is not None:  # the same number of events every time
        arguments = arguments | SHORT
        chunks_of(FOR_GOOD, 20)
    if order == "blocks":
        in_blocks(FOR_GOOD, 1024)
    count = count_writes(int(kill_at or 0))
    if action == "start":
        keep = order != "blocks"
        nqm.simulate(PROBLEM, **arguments, keep_state=keep, threads=1, out=path, checkpoint_every=0)
    else:
        nqm.resume(path, threads=1, checkpoint_every=0, backend=arguments["backend"])
    print(count[0])
