"""Plans for going on with a stored run, also for more steps or replicas than it was begun with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..foundation.validation import InputError
from ..simulation.execution import ExecutionPlan, plan_execution
from ..simulation.experiment import Experiment, longer
from ..simulation.planning import Plan, plan_run
from ..simulation.propagation import state_of_finished
from ..simulation.recorder import SavedArrays
from ..simulation.resources import Wanted

if TYPE_CHECKING:
    from ..store.extension import Extension
    from ..store.reading import Stored

STREAMED = 1 << 32
"""Bytes of state above which a run with a file works in blocks, where no record is complete before
the end."""


def checked_plan(path: Any, stored: Stored, resources: Wanted, most_bytes: int = STREAMED) -> Plan:
    """Plan a stored run, and make sure that it gives the same bits here.

    Raises
    ------
    InputError
        If it does not, or cannot be carried out.
    """
    plan = plan_run(stored.experiment, resources, most_bytes)
    if plan.fingerprint() != stored.header["fingerprint"]:
        raise InputError(
            f"path {str(path)!r} cannot be gone on with here: powers or schedules come out "
            "with other last bits than where it was begun, as of another library of mathematics"
        )
    return plan


def longer_run(
    path: Any, stored: Stored, steps: Any, record: Any, resources: Wanted
) -> Extension | None:
    """Say which longer run a stored one shall become; None if it has all the steps.

    Raises
    ------
    InputError
        If it cannot have so many steps, or cannot be gone on with here.
    """
    from ..store.extension import Extension

    experiment = longer(stored.experiment, steps, record)
    if experiment.steps == stored.experiment.steps:
        return None
    plan = checked_plan(path, stored, resources)
    new_plan = plan_execution(experiment, resources, STREAMED)
    assert isinstance(plan, ExecutionPlan)  # Runs of other kinds have no more steps.
    state = _final_state(stored, plan)
    return Extension(experiment, new_plan.fingerprint(), state)


def _final_state(stored: Stored, plan: ExecutionPlan) -> SavedArrays | None:
    """The state after the last step of a run that has ended, if one can go on from it.

    A leap goes from record to record, so that one cannot begin where none was made.
    """
    old: Experiment = stored.experiment
    at_record = old.records.size > 0 and old.records[-1] == old.steps
    if stored.states is None or (old.sampling == "leap" and not at_record):
        return None
    saved = state_of_finished(plan.task, [np.asarray(state) for state in stored.states])
    return saved | {"diverged_at": stored.diverged_at}
