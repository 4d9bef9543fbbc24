"""Algorithms that keep a diary, take their time, or kill the process that computes with them."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import nqm_fast as nqm


@dataclass(frozen=True)
class Watched(nqm.SGD):
    """Writes the learning rate and its process into a file, and sleeps."""

    diary: str = ""
    seconds: float = 0.0

    def recurrence(self, h):
        if self.diary:
            with open(self.diary, "a") as file:
                file.write(f"{self.lr.value} {os.getpid()}\n")
        time.sleep(self.seconds)
        return super().recurrence(h)


@dataclass(frozen=True)
class Deadly(nqm.SGD):
    """Kills its process while there is no file `survived`, with learning rates above 0.5."""

    survived: str = ""

    def recurrence(self, h):
        if self.lr.value > 0.5 and not os.path.exists(self.survived):
            if self.survived:
                Path(self.survived).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().recurrence(h)


def entries(diary):
    """Learning rates and processes in a diary, each once, in their order."""
    if not os.path.exists(diary):
        return []
    lines = Path(diary).read_text().splitlines()
    return list(dict.fromkeys((float(a), int(b)) for a, b in (line.split() for line in lines)))
