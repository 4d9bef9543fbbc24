"""Time that a run spends on its file: results and checkpoints."""

from pathlib import Path
from typing import Any

import nqm_fast as nqm
from nqm_fast.cli import config


def test_writing(benchmark: Any, tmp_path: Path) -> None:
    """The default experiment with its file, timed by the run itself."""
    changes = [] if benchmark.enabled else ["problem.dim=1000", "steps=10"]
    arguments = config.load(None, changes).arguments
    path = tmp_path / "run.h5"
    nqm.simulate(**arguments | {"steps": 2})  # The first run compiles.
    run = benchmark.pedantic(
        lambda: nqm.simulate(**arguments, out=path, overwrite=True),
        rounds=3 if changes == [] else 1,
    )
    stats = run.stats
    parts = {name: stats[name] for name in ("compile", "compute", "write")}
    benchmark.extra_info |= parts | {
        "work": "writing the default run to HDF5, of its time",
        "%": 100 * stats["write"] / sum(parts.values()),
        "target": "at most 2 %",
    }


def test_checkpoints(benchmark: Any, tmp_path: Path) -> None:
    """The same with checkpoints as often as allowed, records every 10 steps, and the state."""
    changes = ["record=10", "keep_state=true", "checkpoint_every=0"]
    changes += [] if benchmark.enabled else ["problem.dim=1000", "steps=10"]
    arguments = config.load(None, changes).arguments
    path = tmp_path / "run.h5"
    nqm.simulate(**arguments | {"steps": 2})
    run = benchmark.pedantic(lambda: nqm.simulate(**arguments, out=path, overwrite=True), rounds=1)
    stats = run.stats
    whole = stats["compute"] + stats["write"]
    benchmark.extra_info |= {
        "work": "the same with checkpoints as often as allowed, and the state of 192 MB",
        "%": 100 * stats["write"] / whole,
    }
