"""The choice of a backend: by an argument, by the environment, or by what is done soonest."""

import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import COMPILED, python
from nqm_fast.kernels.contract import Load

import nqm_fast as nqm
from nqm_fast import certified_sums as certified
from nqm_fast import kernels

PROBLEM, ONE = nqm.Problem.power_law(300), nqm.Problem([1.0])
EXACT = {
    "expected_risk": lambda **by: nqm.expected_risk(PROBLEM, nqm.SGD(0.1, ema=0.5), 8, 50, **by),
    "steps_to_target": lambda **by: nqm.steps_to_target(PROBLEM, nqm.SGD(0.1), 8, 1.0, **by),
    "tune": lambda **by: nqm.tune(PROBLEM, 64, 0.1, **by).steps,
    "best_risk": lambda **by: nqm.best_risk(PROBLEM, 64, 50, **by).risk,
    "noise_scale": lambda **by: nqm.noise_scale(PROBLEM, nqm.SGD(0.1), 8, 50, **by).weighted,
    "frontier": lambda **by: nqm.frontier(ONE, 0.1, [8, 64], **by).steps[-1],
    "optimal_schedule": lambda **by: nqm.optimal_schedule(PROBLEM, 64, 0.1, 2, **by).steps,
    "optimal_control": lambda **by: nqm.optimal_control(PROBLEM, steps=9, samples=99, **by).risk,
}
USED = "the module of the exact model was asked for"


def spied(monkeypatch, name):
    """A list that receives the threads in which this backend's exact model is asked for."""
    asked = []
    usual = kernels.load_backend(name)

    def ask(attribute):
        asked.append(threading.get_ident())
        return getattr(usual, attribute)

    class Spy:
        def __getattr__(self, attribute):
            return ask(attribute)

    monkeypatch.setattr(
        kernels,
        "load_backend",
        lambda n, real=kernels.load_backend: Spy() if n == name else real(n),
    )
    return asked


@pytest.mark.parametrize("function", EXACT)
def test_the_exact_model_runs_on_the_backend_that_is_named(monkeypatch, function):
    usual = EXACT[function]()
    asked = spied(monkeypatch, "numpy")
    assert EXACT[function](backend=COMPILED) == usual
    assert not asked
    assert EXACT[function](backend="numpy") == pytest.approx(usual, rel=1e-12)
    assert asked
    asked.clear()
    others = spied(monkeypatch, COMPILED)
    monkeypatch.setenv("NQM_BACKEND", "numpy")
    EXACT[function]()
    assert asked
    monkeypatch.setenv("NQM_BACKEND", COMPILED)
    others.clear()
    EXACT[function](backend="numpy")  # all of it, whatever the environment says
    assert not others


def test_threads_compute_on_the_backend_that_is_named(monkeypatch):
    monkeypatch.setenv("NQM_NUM_THREADS", "2")
    asked = spied(monkeypatch, "numpy")
    monkeypatch.setattr(certified, "BLOCK", 1 << 12)
    large = nqm.Problem(np.linspace(0.1, 1.0, certified.WORTH_A_PASS))
    nqm.expected_risk(large, nqm.SGD(0.1), 8, 3, backend="numpy")
    assert set(asked) - {threading.get_ident()}


@pytest.mark.parametrize("function", EXACT)
@pytest.mark.parametrize("name", ["gpu", "cuda", "", 3, None])
def test_a_backend_that_there_is_not(function, name):
    with pytest.raises(nqm.InputError, match="backend must be one of auto, numba, cython, numpy,"):
        EXACT[function](backend=name)


def test_the_environment_names_a_backend(monkeypatch):
    run = lambda **by: nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 5, **by).stats["backend"]  # noqa: E731
    monkeypatch.setenv("NQM_BACKEND", "numpy")
    assert run() == "numpy"
    assert run(backend=COMPILED) == COMPILED
    monkeypatch.setenv("NQM_BACKEND", " numpy ")
    assert run() == "numpy"
    monkeypatch.setenv("NQM_BACKEND", "fast")
    for work in (run, *EXACT.values()):
        with pytest.raises(
            nqm.InputError, match=r"^NQM_BACKEND must be one of auto, numba, .*'fast'"
        ):
            work()
    monkeypatch.setenv("NQM_BACKEND", "cuda")  # which the exact model has not
    assert EXACT["steps_to_target"]() > 0
    monkeypatch.setattr(kernels, "is_installed", lambda name: name == "numpy")
    monkeypatch.setenv("NQM_BACKEND", "cython")
    with pytest.raises(nqm.InputError, match=r"^NQM_BACKEND='cython' is not installed: "):
        run()


LOAD = Load((1,), 512, 1, 1, False, 10.0)


@pytest.fixture
def three(monkeypatch):
    """Numba, an extension and NumPy; a test says how they are."""

    class Made:
        def __init__(self, time=1.0, ready=True, error=None):
            self.relative_time, self.ready, self.error = time, ready, error

        def is_ready(self, load):
            return self.ready

        def prepare(self, workers):
            if self.error:
                raise ValueError(self.error)

    there = {"numba": Made(ready=False), "cython": Made(1.03), "numpy": Made(1e9)}
    monkeypatch.setattr(kernels, "present_backends", lambda: list(there))
    monkeypatch.setattr(kernels, "load_backend", there.__getitem__)
    monkeypatch.setattr(kernels, "_has_compiled", lambda *_: True)
    monkeypatch.setattr(kernels, "_is_imported", lambda _: True)
    kernels.say_once.cache_clear()
    return there


def chosen(seconds=10.0):
    return kernels.soonest_backend(LOAD._replace(seconds=seconds))[0]


def test_numba_is_used_where_it_is_compiled_or_compiling_pays(three):
    assert chosen() == "cython"
    assert chosen(3600.0) == "numba"
    three["numba"].ready = True
    assert chosen() == "numba"
    assert chosen(0.001) == "numba"


def test_numba_is_not_imported_for_a_run_that_would_end_sooner(three, monkeypatch):
    monkeypatch.setattr(kernels, "_is_imported", lambda _: False)
    three["numba"].ready = True
    three["cython"].relative_time = 2.0
    imported = []
    monkeypatch.setattr(kernels, "load_backend", lambda name: imported.append(name) or three[name])
    assert chosen(0.5 * kernels.START_SECONDS) == "cython"
    assert "numba" not in imported
    assert chosen(2.0 * kernels.START_SECONDS) == "numba"


def test_narrow_registers_make_compiling_pay_soon(three):
    three["cython"].relative_time = 3.0
    assert chosen(1.0) == "cython"
    assert chosen(60.0) == "numba"


def test_without_an_extension_numba_compiles(three):
    del three["cython"]
    assert chosen() == "numba"
    assert chosen(1e-3) == "numba"


def test_a_backend_that_does_not_work_is_passed_over(three, capsys):
    three["cython"].error = "it is an\nold build"
    assert chosen() == "numba"
    assert chosen() == "numba"
    said = capsys.readouterr().err
    assert said == (
        "nqm_fast: backend 'cython' cannot be used: it is an old build; another one is used\n"
    )
    three["numba"].error = "no threads"
    assert chosen() == "numpy"
    three["numpy"].error = "no"
    with pytest.raises(kernels.BackendError, match="no backend can be used"):
        chosen()


def test_a_first_run_does_not_compile(tmp_path):
    """Nor does it import Numba, nor does the exact model; a longer run does."""
    pytest.importorskip("nqm_fast.kernels.cython_cpu")
    code = (
        "import sys, nqm_fast as nqm\n"
        "problem = nqm.Problem.power_law(500)\n"
        "print(nqm.simulate(problem, nqm.SGD(0.1), 8, 20).stats['backend'])\n"
        "nqm.tune(problem, 64, 0.1)\n"
        "print('numba' in sys.modules)"
    )
    environment = {"NQM_BACKEND": "", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = python("-W", "error", "-c", code, cwd=tmp_path, **environment)
    assert (done.stdout, done.stderr) == ("cython\nFalse\n", "")


def test_numba_knows_what_it_has_compiled(monkeypatch):
    """Kernels are those of as many components, of tiles as large, and of one thread or several."""
    pytest.importorskip("numba")
    from nqm_fast.kernels.numba import backend as numba_backend

    looked = []
    monkeypatch.setattr(
        numba_backend, "is_ready", lambda kernel, *first: looked.append((kernel, first)) or True
    )
    ready = numba_backend.BACKEND.is_ready
    assert ready(LOAD._replace(components=(1, 3)))
    advance, leap = numba_backend.advance_tile, numba_backend.leap_tile
    serial, parallel = numba_backend.all_serial, numba_backend.all_parallel
    one, three = ((0.0,), (0,) * 8, ()), ((0.0,) * 3, (0,) * 8, ())
    assert looked == [
        (advance, one), (serial, (0, *one)), (advance, three), (serial, (0, *three))
    ]  # fmt: skip
    looked.clear()
    ready(LOAD._replace(threads=2))
    ready(LOAD._replace(threads=2, replicas=3))
    ready(LOAD._replace(threads=2, replicas=3, leaps=True, dim=192))
    ready(LOAD._replace(components=(), has_rules=True, summed=True))
    rule = numba_backend.advance_rule_tile
    assert [kernel for kernel, _ in looked] == [
        advance, serial, advance, parallel, leap, parallel, rule, serial
    ]  # fmt: skip
    assert looked[-2] == (rule, ((), (0,) * 8, (0,)))


# -- threads and forks -------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    """The module of threads, as when nothing was started yet."""
    from nqm_fast.kernels import threads

    for name, value in {"_proven": 1, "_refused": threads.MOST + 1, "_team_of": None}.items():
        monkeypatch.setattr(threads, name, value)
    kernels.say_once.cache_clear()
    return threads


def few_threads(monkeypatch, most):
    """Let the system start so many threads beside this one."""
    usual = threading.Thread.start

    def start(thread):
        if threading.active_count() > most:
            raise RuntimeError("can't start new thread")
        usual(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


def test_no_more_threads_than_can_be_started(threads, monkeypatch, capsys):
    beside = threading.active_count() - 1
    few_threads(monkeypatch, beside + 3)
    assert threads.startable(2) == 2
    assert threads.startable(100) == 4
    assert threads.startable(4) == 4
    assert threads.team(100) == 4
    assert "may not start" in capsys.readouterr().err


def test_everything_works_without_a_right_to_threads(threads, monkeypatch, tmp_path):
    usual = nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 20, replicas=4, threads=1).risk
    few_threads(monkeypatch, 0)
    monkeypatch.setenv("NQM_NUM_THREADS", "4")
    run = nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 20, replicas=4, out=tmp_path / "run.h5")
    assert np.array_equal(run.risk, usual)
    assert nqm.expected_risk(nqm.Problem.power_law(1 << 18), nqm.SGD(0.1), 8, 3) > 0
    assert nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 20, threads=8).status == "finished"


FORK = """
import os, signal, sys
import nqm_fast as nqm
def run(by):
    return nqm.simulate(nqm.Problem.power_law(2000), nqm.SGD(0.3), 8, 40, replicas=2, threads=2,
                        backend=by).risk[-1, -1]
def forked(by, wanted):
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if run(by) == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0, by
first, *others = sys.argv[1:]
wanted = run(first)
for by in (first, *others):
    forked(by, wanted)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "backends",
    [
        ["cython", "numpy"],
        pytest.param(["numba", "cython"], marks=pytest.mark.slow),
        pytest.param(["cython", "numba"], marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_a_forked_child_computes(tmp_path, backends):
    """Whatever threads its parent has started, by the same backend or another, there is no hang."""
    for name in backends:
        if not kernels.is_installed(name):
            pytest.skip(f"{name} is not installed")
    (tmp_path / "fork.py").write_text(FORK)
    python("-W", "ignore", "fork.py", *backends, cwd=tmp_path)


JOBLIB = """
import signal, sys
import joblib
import nqm_fast as nqm
def run():
    signal.alarm(60)
    return nqm.simulate(nqm.Problem.power_law(2000), nqm.SGD(0.3), 8, 40, replicas=2, threads=2,
                        backend=sys.argv[1]).risk[-1, -1]
wanted = run()
parallel = joblib.Parallel(n_jobs=2, backend="multiprocessing")
assert parallel(joblib.delayed(run)() for _ in range(3)) == 3 * [wanted]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "backend", ["cython", "numpy", pytest.param("numba", marks=pytest.mark.slow)]
)
def test_joblib_with_processes_that_are_forked(tmp_path, backend):
    """Its backend "multiprocessing" forks, here after threads of OpenMP; there is no hang."""
    pytest.importorskip("joblib")
    if not kernels.is_installed(backend):
        pytest.skip(f"{backend} is not installed")
    (tmp_path / "jobs.py").write_text(JOBLIB)
    python("-W", "ignore", "jobs.py", backend, cwd=tmp_path)


def test_a_gpu_is_refused_after_a_fork(monkeypatch):
    pytest.importorskip("numba_cuda")
    pytest.importorskip("nqm_fast.kernels.cuda.jit", exc_type=ImportError)
    from nqm_fast.kernels.cuda import jit

    jit.check_process()
    monkeypatch.setattr(jit, "os", SimpleNamespace(getpid=lambda: -1))
    with pytest.raises(ValueError, match="forked"):
        jit.check_process()


# -- what a user has set for everything --------------------------------------------------


def test_errors_of_numpy_as_exceptions():
    """Overflow and underflow on purpose are none, on any backend and in threads."""
    everything = lambda: (  # noqa: E731
        nqm.expected_risk(PROBLEM, nqm.SGD(5.0, momentum=0.9), 8, [10**3, 10**6]).tolist(),
        nqm.expected_risk(PROBLEM, nqm.SGD(0.1), 8, 10**6, backend="numpy"),
        nqm.tune(PROBLEM, 64, 0.1, ("lr", "momentum")).steps,
        nqm.optimal_schedule(PROBLEM, 64, 0.1, 3).steps,
        nqm.steps_to_target(PROBLEM, nqm.SGD(1e9), 8, 0.1),
        nqm.simulate(PROBLEM, nqm.SGD(1e9), 8, 60).status,
        nqm.simulate(PROBLEM, nqm.SGD(1e9), 8, 60, backend="numpy").status,
        nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 60, sampling="leap", backend="numpy").status,
    )
    usual = everything()
    with np.errstate(all="raise"):
        assert everything() == usual


@pytest.mark.parametrize("value", ["", " "])
def test_empty_variables_are_as_if_they_were_not_set(value, tmp_path):
    names = ("NQM_NUM_THREADS", "NQM_BACKEND", "NQM_CPU_LEVEL", "NUMBA_CACHE_DIR")
    code = (
        "import nqm_fast as nqm\n"
        "p = nqm.Problem.power_law(100)\n"
        "nqm.simulate(p, nqm.SGD(0.1), 8, 9), nqm.tune(p, 64, 0.1)"
    )
    assert python("-c", code, cwd=tmp_path, **dict.fromkeys(names, value)).stderr == ""


@pytest.mark.parametrize(
    "setting", ["DISABLE_JIT=1", "NUM_THREADS=0", "NUM_THREADS=", "OPT=zz", "DEBUG=yes"]
)
def test_odd_settings_of_numba(setting, tmp_path):
    """Where warnings are errors, they too are one sentence."""
    pytest.importorskip("numba")
    name, _, value = setting.partition("=")
    code = (
        "import nqm_fast as nqm\n"
        "try:\n"
        "    nqm.tune(nqm.Problem([1.0]), 8, 0.1, backend='numba')\n"
        "except nqm.InputError as error:\n"
        "    print(error)"
    )
    done = python("-W", "error", "-c", code, cwd=tmp_path, **{f"NUMBA_{name}": value})
    assert done.stdout.startswith("backend 'numba' cannot be used: ")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("value", ["two", "0", "-1", "1.5", "1e3"])
def test_odd_numbers_of_threads(value, monkeypatch):
    monkeypatch.setenv("NQM_NUM_THREADS", value)
    with pytest.raises(nqm.InputError, match=r"^NQM_NUM_THREADS must be a whole number >= 1, not "):
        nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 9)


# -- how it is started -------------------------------------------------------------------


def test_as_a_module(tmp_path):
    assert python("-m", "nqm_fast", "--version", cwd=tmp_path).stdout.startswith("nqm-fast ")
