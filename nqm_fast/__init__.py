"""The noisy quadratic model of minibatch training, solved exactly."""

from . import bounds, schedules
from .algorithms import SGD, Algorithm
from .checks import InputError
from .exact import expected_risk
from .optimal import optimal_schedule
from .passage import steps_to_target
from .problem import Problem
from .tuning import Tuned, tune

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Algorithm",
    "InputError",
    "Problem",
    "Tuned",
    "bounds",
    "expected_risk",
    "optimal_schedule",
    "schedules",
    "steps_to_target",
    "tune",
]
