"""Public functions work as always where the caller lets NumPy raise, whichever they are."""

import inspect

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import bounds, schedules
from nqm_fast.foundation.arithmetic import CONSTRUCTORS, MARK
from nqm_fast.foundation.immutable import Immutable

MODULES = {"nqm_fast": nqm, "bounds": bounds, "schedules": schedules}
ALL = {
    f"{module}.{name}": getattr(place, name)
    for module, place in MODULES.items()
    for name in place.__all__
}
FUNCTIONS = {name: x for name, x in ALL.items() if inspect.isroutine(x)}
PLAIN = (nqm.Tuned, nqm.Recurrence, nqm.InputError)
"""Classes without arithmetic: tuples of results, and an error."""
CLASSES = {name: x for name, x in ALL.items() if inspect.isclass(x) and x not in PLAIN}


def methods(kind):
    """The public methods, properties and constructors that a class and its own bases define."""
    for base in kind.__mro__:
        if not base.__module__.startswith("nqm_fast") or base is Immutable:
            continue
        for name, member in vars(base).items():
            # Dataclasses make constructors that only keep what they are given.
            made = name == "__init__" and "__dataclass_fields__" in vars(base)
            if made or (name.startswith("_") and name not in CONSTRUCTORS):
                continue
            if isinstance(member, classmethod | staticmethod):
                yield f"{base.__name__}.{name}", member.__func__
            elif isinstance(member, property):
                yield f"{base.__name__}.{name}", member.fget
            elif inspect.isfunction(member):
                yield f"{base.__name__}.{name}", member


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_usual_arithmetic(name):
    assert hasattr(FUNCTIONS[name], MARK)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_have_the_usual_arithmetic(name):
    assert [name for name, function in methods(CLASSES[name]) if not hasattr(function, MARK)] == []


@pytest.fixture
def raising():
    """A caller for whom NumPy raises whatever it can."""
    with np.errstate(all="raise"):
        yield


@pytest.mark.usefixtures("raising")
@pytest.mark.parametrize(
    "ask",
    [
        lambda: nqm.Problem([1.0], mean0=1e-200),
        lambda: nqm.Problem([1e-200], sigma=1e-200),
        lambda: nqm.Problem([1e300, 1.0], [1e-300, 1]).sigma,
        lambda: nqm.Problem.power_law(1000, 1.0, noise_exponent=150.0).c,
        lambda: nqm.Problem.power_law(1000, 1.0, start_exponent=150.0).var0,
        lambda: nqm.Problem.from_least_squares(np.eye(2) * 1e-150, np.ones(2)),
        lambda: nqm.Problem.from_least_squares(np.eye(2), np.ones(2) * 1e-300),
        lambda: schedules.WarmupStableDecay(1e-310, 3, 3, 3).values(np.arange(9)),
        lambda: nqm.first_passage_distribution(
            nqm.Problem([1.0, 0.5], [0, 0.0]), nqm.SGD(0.1, ema=0.5), 1, 1e-5, replicas=4,
            max_steps=500,
        ),
    ],
)  # fmt: skip
def test_underflow_is_no_error(ask):
    ask()


@pytest.mark.filterwarnings("error")
def test_divergence_is_no_warning():
    nqm.first_passage_distribution(
        nqm.Problem([1.0]), nqm.SGD(3.0, ema=0.5), 1, 0.001, replicas=4, max_steps=5000
    )
    lr = np.r_[0.1, 1e200, np.full(8, 1e-200)]
    nqm.simulate(nqm.Problem([1.0, 0.5]), nqm.SGD(lr, ema=0.5), 1, 10, sampling="collapsed")
