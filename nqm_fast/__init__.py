"""The noisy quadratic model of minibatch training, solved exactly and simulated."""

from importlib.util import find_spec
from pathlib import Path

if find_spec(f"{__name__}.kernels") is None:
    # The root of a clone comes before installed packages where Python is started in it. There the
    # kernels lie beside this folder.
    __path__.append(str(Path(__file__).parents[1]))
del find_spec, Path

from . import bounds, figures, networks, noise, schedules
from .algorithms import (
    DANA,
    EMA,
    QHM,
    SGD,
    Accumulate,
    Adam,
    AdamW,
    AdEMAMix,
    Algorithm,
    DelayedSGD,
    LinearAlgorithm,
    Lookahead,
    Nesterov,
    Recurrence,
    RMSProp,
    ScheduleFree,
    SignSGD,
    Signum,
    TailAverage,
)
from .exact.batches.critical import CriticalBatchSize, critical_batch_size
from .exact.batches.frontier import Frontier, frontier
from .exact.best_risk import best_risk
from .exact.control.batch_ramp import BatchRamp, batch_ramp
from .exact.control.optimal_control import Control, optimal_control
from .exact.control.piecewise_schedule import optimal_schedule
from .exact.control.schedule_comparison import Compared, Comparison, compare_schedules
from .exact.coordinate_moments import Moments, moments
from .exact.data.epochs import epochs
from .exact.first_passage import steps_to_target
from .exact.law.distribution import RiskDistribution, risk_distribution
from .exact.noise_scale import NoiseScale, noise_scale
from .exact.risk import expected_risk
from .exact.stability import largest_stable_lr
from .exact.tuning import Tuned
from .fits.fitted import Fitted
from .fits.fitting import fit
from .fits.reading import read_runs
from .fits.training_run import TrainingRun
from .foundation.validation import InputError
from .problem import Problem
from .runs.api import resume, simulate
from .runs.first_passage import FirstPassage, first_passage_distribution
from .runs.steps import SimulatedSteps, simulated_steps_to_target
from .runs.tuning import SimulatedTuned
from .simulation.result import Run
from .spectra.measurement import measure
from .spectra.reading import read_spectrum
from .store.access import open_run
from .store.merging import merge
from .sweeps.api import sweep
from .tuning import tune
from .version import __version__ as __version__

__all__ = [
    "DANA",
    "EMA",
    "QHM",
    "SGD",
    "Accumulate",
    "AdEMAMix",
    "Adam",
    "AdamW",
    "Algorithm",
    "BatchRamp",
    "Compared",
    "Comparison",
    "Control",
    "CriticalBatchSize",
    "DelayedSGD",
    "FirstPassage",
    "Fitted",
    "Frontier",
    "InputError",
    "LinearAlgorithm",
    "Lookahead",
    "Moments",
    "Nesterov",
    "NoiseScale",
    "Problem",
    "RMSProp",
    "Recurrence",
    "RiskDistribution",
    "Run",
    "ScheduleFree",
    "SignSGD",
    "Signum",
    "SimulatedSteps",
    "SimulatedTuned",
    "TailAverage",
    "TrainingRun",
    "Tuned",
    "batch_ramp",
    "best_risk",
    "bounds",
    "compare_schedules",
    "critical_batch_size",
    "epochs",
    "expected_risk",
    "figures",
    "first_passage_distribution",
    "fit",
    "frontier",
    "largest_stable_lr",
    "measure",
    "merge",
    "moments",
    "networks",
    "noise",
    "noise_scale",
    "open_run",
    "optimal_control",
    "optimal_schedule",
    "read_runs",
    "read_spectrum",
    "resume",
    "risk_distribution",
    "schedules",
    "simulate",
    "simulated_steps_to_target",
    "steps_to_target",
    "sweep",
    "tune",
]


def __dir__() -> list[str]:
    """List the public names, so that completion offers these and no modules of the inside."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
