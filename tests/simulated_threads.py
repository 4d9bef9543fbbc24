"""Threads of NVIDIA's simulator that take turns at barriers.

The simulator's own threads run at the same time and look again and again whether all have come to a
barrier, which takes most of its time. Here one thread runs until its next barrier, then another. In
which order is drawn for each round, so that what lacks a barrier fails, and fails again.
"""

import random
import threading

import numpy as np
from numba.cuda.simulator import kernel as simulator


class TurnThread(simulator.BlockThread):
    """A thread of a block, which runs while it has the turn."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.turn = threading.Semaphore(0)
        self.has_ended = False

    def run(self):
        """Run the kernel, and give the turn back for the last time."""
        self.turn.acquire()
        try:
            super().run()
        finally:
            self.has_ended = True
            self._manager.returned.release()

    def syncthreads(self):
        """Give the turn back, and wait for the next."""
        self._manager.returned.release()
        self.turn.acquire()
        if self.abort:
            raise RuntimeError("another thread of the block has failed")


def run_block(manager, grid_point, *arguments):
    """Run all threads of a block, from barrier to barrier.

    This takes the place of `BlockManager.run`.
    """
    manager.returned = threading.Semaphore(0)

    def kernel():
        manager._f(*arguments)

    def give_turn(thread):
        thread.turn.release()
        manager.returned.acquire()

    places = np.ndindex(*manager._block_dim)
    alive = [TurnThread(kernel, manager, grid_point, at, manager._debug) for at in places]
    for thread in alive:
        thread.start()
    order = random.Random(0)
    while alive:
        order.shuffle(alive)
        for thread in alive:
            give_turn(thread)
        failed = [thread.exception for thread in alive if thread.exception]
        alive = [thread for thread in alive if not thread.has_ended]
        if failed:
            for thread in alive:
                thread.abort = True
                give_turn(thread)
            error, trace = failed[0]
            raise error.with_traceback(trace)
