"""Plans of all kinds of sampling: how a run is carried out here, before anything is written."""

from __future__ import annotations

from typing import Protocol

from .execution import plan_execution
from .experiment import Experiment
from .recorder import Recorder
from .resources import Wanted
from .result import Run
from .signals import Signals


class Plan(Protocol):
    """How an experiment is carried out."""

    @property
    def experiment(self) -> Experiment:
        """The experiment that is simulated."""

    def fingerprint(self) -> str:
        """Tell whether another machine starts from the same numbers."""

    def execute(self, signals: Signals, recorder: Recorder) -> Run:
        """Compute the run from its start, or from the state that the recorder has saved."""


def plan_run(experiment: Experiment, wanted: Wanted, most_bytes: int) -> Plan:
    """Plan a run; the loops over coordinates work in blocks if the state takes more than that.

    Raises
    ------
    InputError
        If there is too little memory, or the resources cannot do it.
    """
    if experiment.problem.noise_model is not None:
        from .in_step import plan_in_step  # It takes long to load.

        return plan_in_step(experiment, wanted)
    if experiment.sampling == "collapsed":
        from .collapsed import plan_collapsed  # It takes long to load.

        return plan_collapsed(experiment, wanted)
    return plan_execution(experiment, wanted, most_bytes)
