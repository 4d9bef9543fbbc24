"""Fixtures that several test modules use, and the hooks of pytest."""

import os
import signal
from contextlib import contextmanager

import pytest
from hypothesis import settings

# Where tests run in several processes, each has its share of the cores: threads that wait for each
# other crawl where others have taken their cores. OpenBLAS reads its number when NumPy is imported,
# and has threads wait for the smallest matrices of SciPy's minimisers.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
if workers:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

from nqm_fast import kernels  # noqa: E402
from nqm_fast.machine.parallel import cores  # noqa: E402

pytest.register_assert_rewrite("helpers", "oracles")

from helpers import MACHINES, run  # noqa: E402

if workers:
    os.environ["NQM_NUM_THREADS"] = str(max(cores() // workers, 1))

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("fixed")


# -- what is slow -----------------------------------------------------------------------------


def evenly_spaced(items, keep):
    """So many of the items, evenly spaced, and the others."""
    kept = {round(k * (len(items) - 1) / max(keep - 1, 1)) for k in range(keep)}
    return (
        [item for number, item in enumerate(items) if number in kept],
        [item for number, item in enumerate(items) if number not in kept],
    )


class MostlySlow:
    """Marks all cases of a test with ``mostly_slow(keep)`` as slow, but so many, evenly spaced.

    With ``mostly_slow(keep, slow=n)`` all but n of these are `thorough` as well, which CI leaves
    out: a grid of cases that are much alike is run as a whole after a change of what it tests.
    What is marked `thorough` itself is slow, too. Tests that are `long` come first.

    What Numba compiles for is slow, too, and thorough with other samplings, for which it compiles
    once more; in `kernels/` tests say themselves which few are not.
    """

    @pytest.hookimpl(tryfirst=True)  # before slow ones are deselected
    def pytest_collection_modifyitems(self, items):
        cases = {}
        for item in items:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            if parameters.get("machine") == "numba" and "kernels" not in item.path.parts:
                item.add_marker(pytest.mark.slow)
                if parameters.get("sampling", "minibatch") != "minibatch":
                    item.add_marker(pytest.mark.thorough)
            if item.get_closest_marker("thorough"):
                item.add_marker(pytest.mark.slow)
        for item in items:
            mark = item.get_closest_marker("mostly_slow")
            if mark is not None:
                key = (item.path, item.originalname, *mark.args, mark.kwargs.get("slow"))
                cases.setdefault(key, []).append(item)
        items.sort(key=lambda item: item.get_closest_marker("long") is None)
        for (*_, keep, slow), found in cases.items():
            others = evenly_spaced(found, keep)[1]
            for item in others:
                item.add_marker(pytest.mark.slow)
            if slow is not None:
                for item in evenly_spaced(others, slow)[1]:
                    item.add_marker(pytest.mark.thorough)


def pytest_configure(config):
    config.pluginmanager.register(MostlySlow())


def pytest_make_parametrize_id(val, argname):
    """Name a case with bytes by its argument: their content may differ from process to process.

    A packed file has its time in it; processes that share the tests must find the same names.
    """
    return argname if isinstance(val, bytes) else None


# -- backends ----------------------------------------------------------------------------


@contextmanager
def machine_in_use(name):
    """The backend that a name like "cython, x86-64-v3" stands for; skips where it is not there."""
    backend, _, level = name.partition(", ")
    if backend not in kernels.present_backends():
        pytest.skip(f"{backend} is not installed")
    if not level:
        yield backend
        return
    module = kernels.load_backend(backend)
    if level not in module.levels():
        pytest.skip(f"{level} is not built, or not a part of this processor")
    before = module.level()
    module.use_level(level)
    yield backend
    module.use_level(before)


@pytest.fixture(params=MACHINES)
def machine(request):
    """Every backend, and every level of processors that there is code for."""
    with machine_in_use(request.param) as backend:
        yield backend


@pytest.fixture(scope="session")
def usual():
    """Runs of every kind as anyone would make them, by name."""
    return {name: run(name) for name in run.kinds}


# -- what tests must not wait for --------------------------------------------------------


@pytest.fixture
def patience():
    """Fail instead of hanging, where a search that visits 1e9 steps would take hours.

    What counts is the time that processors work for it, however many others they work for.
    """

    def give_up(*_):
        raise AssertionError("still searching after 20 seconds of work")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, 20)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


# -- signals -----------------------------------------------------------------------------


@pytest.fixture
def default_ctrl_c():
    """Python's handler, also where this was started in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
