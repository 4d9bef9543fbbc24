"""The noisy quadratic model of minibatch training, solved exactly and simulated."""

from . import bounds, schedules
from .algorithms import SGD, Algorithm
from .checks import InputError
from .exact import expected_risk
from .optimal import optimal_schedule
from .passage import steps_to_target
from .problem import Problem
from .run import Run
from .simulate import resume, simulate
from .store import open_run
from .tuning import Tuned, tune

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Algorithm",
    "InputError",
    "Problem",
    "Run",
    "Tuned",
    "bounds",
    "expected_risk",
    "open_run",
    "optimal_schedule",
    "resume",
    "schedules",
    "simulate",
    "steps_to_target",
    "tune",
]
