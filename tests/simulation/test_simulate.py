"""The Monte Carlo engine as its users meet it: results, records, divergence, errors."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import kernels, schedules
from nqm_fast.simulation import signals as run_signals

PROBLEM = nqm.Problem.power_law(100)
PLAIN = nqm.SGD(0.3)


def simulate(algorithm=PLAIN, batch_size=8, steps=20, problem=PROBLEM, **arguments):
    return nqm.simulate(problem, algorithm, batch_size, steps, **arguments)


# -- results -----------------------------------------------------------------------------


def test_what_a_run_holds():
    run = simulate(replicas=3, keep_state=True)
    assert run.status == "finished"
    assert run.message == ""
    assert run.risk.shape == (3, run.steps.size)
    assert run.risk.dtype == np.float64
    assert run.state.shape == (3, 1, 100)
    assert run.diverged_at.tolist() == [-1, -1, -1]
    assert run.stats["coordinate_steps"] == 3 * 100 * 20
    assert run.stats["backend"] == kernels.present_backends()[0]
    assert "finished" in repr(run)


def test_a_list_of_settings_has_an_axis():
    run = simulate([PLAIN, nqm.SGD(0.1, momentum=0.9, ema=0.5)], replicas=2, keep_state=True)
    assert run.risk.shape == (2, 2, run.steps.size)
    assert [state.shape for state in run.state] == [(2, 1, 100), (2, 3, 100)]
    assert run.diverged_at.shape == (2, 2)
    assert simulate([PLAIN]).risk.shape == (1, 1, run.steps.size)


def test_one_batch_size_for_each_setting():
    sizes = [1, schedules.Piecewise([1, 64], [10, 10])]
    run = simulate([PLAIN, PLAIN], sizes)
    for g, batch_size in enumerate(sizes):
        assert np.array_equal(run.risk[g], simulate(PLAIN, batch_size).risk)
    assert np.array_equal(simulate([PLAIN, PLAIN], [4, 8]).risk[1], simulate(batch_size=8).risk)


def test_a_batch_size_per_step_is_one_schedule():
    sizes = np.arange(1, 21)
    run = simulate([PLAIN, PLAIN], sizes)
    assert np.array_equal(run.risk[0], run.risk[1])
    assert np.array_equal(run.risk[0], simulate(PLAIN, sizes).risk)


def test_the_state_gives_the_risk():
    """SGD's components are w, v, e; the risk is that of e."""
    run = simulate(nqm.SGD(0.1, momentum=0.9, ema=0.5), replicas=2, keep_state=True)
    expected = 0.5 * run.state[:, 2] ** 2 @ PROBLEM.h
    assert run.risk[:, -1] == pytest.approx(expected, rel=1e-13)


def test_without_noise_it_is_gradient_descent():
    problem = nqm.Problem([1.0, 0.1], 0.0, mean0=[1.0, -2.0], var0=0.0)
    run = simulate(nqm.SGD(0.5), 1, 10, problem, record=1)
    assert run.risk[0] == pytest.approx(
        nqm.expected_risk(problem, nqm.SGD(0.5), 1, run.steps), rel=1e-14
    )


def test_common_random_numbers_make_comparisons_quiet():
    run = simulate([nqm.SGD(0.1), nqm.SGD(0.101)], 1, 300, replicas=50)
    difference = run.risk[1, :, -1] - run.risk[0, :, -1]
    assert difference.std() < 0.1 * run.risk[0, :, -1].std()


def test_replicas_have_numbers():
    run = simulate(replicas=[5, 1])
    all_of_them = simulate(replicas=6)
    assert np.array_equal(run.risk, all_of_them.risk[[5, 1]])


# -- records -----------------------------------------------------------------------------


def test_the_usual_records():
    steps = simulate(steps=10**5, problem=nqm.Problem([1.0])).steps
    assert steps[0] == 0
    assert steps[-1] == 10**5
    assert 150 < steps.size <= 202
    assert np.diff(np.log(steps[-50:])) == pytest.approx(math.log(10**5) / 199, rel=0.02)


def test_a_stride_has_zero_and_the_last():
    assert simulate(record=7).steps.tolist() == [0, 7, 14, 20]


def test_chosen_records_come_back_in_order():
    assert simulate(record=[20, 3, 3]).steps.tolist() == [3, 20]
    assert simulate(record=[]).risk.shape == (1, 0)


def test_no_steps():
    run = simulate(steps=0, keep_state=True)
    assert run.steps.tolist() == [0]
    assert run.risk[0, 0] == pytest.approx(0.5 * PROBLEM.h @ run.state[0, 0] ** 2)


# -- bands -------------------------------------------------------------------------------


def test_bands_share_out_the_risk():
    run = simulate(bands=5, replicas=2)
    assert run.band_risk.shape == (2, run.steps.size, 5)
    assert run.band_edges.shape == (6,)
    assert run.band_risk.sum(axis=2) == pytest.approx(run.risk, rel=1e-13)


def test_bands_are_by_curvature():
    run = simulate(bands=[0.05, 0.2, 1.0], keep_state=True)
    risk = 0.5 * PROBLEM.h * run.state[0, 0] ** 2
    low, high = (PROBLEM.h >= 0.05) & (PROBLEM.h < 0.2), PROBLEM.h >= 0.2
    assert run.band_risk[0, -1] == pytest.approx([risk[low].sum(), risk[high].sum()], rel=1e-13)


def test_a_band_of_equal_curvatures():
    run = simulate(problem=nqm.Problem([2.0, 2.0]), bands=1)
    assert np.array_equal(run.band_risk[..., 0], run.risk)


# -- divergence --------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [2.5, 1e3, 1e200])
def test_divergence_is_an_answer(lr, machine):
    """The same first step, however long the run and whatever is recorded."""
    problem = nqm.Problem([1.0, 0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = simulate(nqm.SGD(lr), 8, 3000, problem, record=1, keep_state=True, backend=machine)
        other = simulate(nqm.SGD(lr), 8, 2000, problem, record=[0, 1999], backend=machine)
    (at,) = run.diverged_at
    assert run.status == "diverged"
    assert other.diverged_at == at
    assert f"diverged at step {at} " in run.message
    assert "learning rate" in run.message
    assert "stable up to about 2 here" in run.message
    assert np.isinf(run.risk[0, at:]).all()
    assert np.isfinite(run.risk[0, :at]).all()
    assert run.risk[0, at - 1] < 1e291
    assert np.isinf(run.state).all()
    assert not np.isnan(run.risk).any()


def test_divergence_by_leaps():
    run = simulate(nqm.SGD(2.5), steps=10**6, sampling="leap", record=[0, 100, 10**5, 10**6])
    assert run.status == "diverged"
    assert run.diverged_at.tolist() == [10**5]
    assert np.isinf(run.risk[0]).tolist() == [False, False, True, True]


def test_stable_settings_go_on_beside_a_diverging_one():
    run = simulate([PLAIN, nqm.SGD(3.0), nqm.SGD(3.0, momentum=0.5)], steps=3000)
    assert run.status == "diverged"
    assert "setting 1, SGD(3.0)" in run.message
    assert run.diverged_at[0] == -1
    assert (run.diverged_at[1:2] > 0).all()
    assert np.array_equal(run.risk[0], simulate(steps=3000).risk)


def test_momentum_is_stable_further():
    """The message names the limit of the setting at hand: 2 (1 + momentum) / max h."""
    run = simulate(nqm.SGD(9.0, momentum=0.5), steps=3000)
    assert "stable up to about 3 here" in run.message


# -- interruption ------------------------------------------------------------------------


@pytest.fixture
def usual_handler():
    """Python's, also where this was started in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_after(seconds):
    main = threading.main_thread().ident
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.usefixtures("usual_handler")
def test_ctrl_c_returns_the_run_so_far():
    simulate(problem=nqm.Problem.power_law(5000))  # compiled
    interrupt_after(0.5)
    begin = time.monotonic()
    run = simulate(steps=10**7, problem=nqm.Problem.power_law(5000), record=10**5, keep_state=True)
    assert time.monotonic() - begin < 20
    assert run.status == "interrupted"
    assert "steps" in run.message
    done = run.stats["coordinate_steps"] // 5000
    assert run.steps[-1] <= done < run.steps[-1] + 10**5
    again = simulate(
        steps=done, problem=nqm.Problem.power_law(5000), record=run.steps, keep_state=True
    )
    assert np.array_equal(run.risk, again.risk)
    assert np.array_equal(run.state, again.state)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("usual_handler")
def test_ctrl_c_in_blocks_has_no_complete_record():
    simulate(problem=nqm.Problem.power_law(5000))
    interrupt_after(0.5)
    run = simulate(steps=1000, problem=nqm.Problem.power_law(10**8), record=[0, 1000])
    assert run.status == "interrupted"
    assert run.risk.shape == (1, 0)
    assert "of 100000000 coordinates, so that no record is complete" in run.message


def test_somebody_elses_handler_is_left_alone():
    def mine(*_):
        raise AssertionError

    usual = signal.signal(signal.SIGINT, mine)
    try:
        with run_signals.caught([signal.SIGINT]) as signals:
            assert signal.getsignal(signal.SIGINT) is mine
            assert signals.number is None
    finally:
        signal.signal(signal.SIGINT, usual)


def test_from_another_thread():
    found = []
    worker = threading.Thread(target=lambda: found.append(simulate().risk))
    worker.start()
    worker.join()
    assert np.array_equal(found[0], simulate().risk)


def test_from_many_threads_at_once():
    """Numba's threading layers may not be entered twice: calls take turns."""
    found = []
    problem = nqm.Problem.power_law(2000)
    work = [
        threading.Thread(target=lambda: found.append(simulate(problem=problem, threads=2).risk))
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(risk, found[0]) for risk in found)


# -- large problems ----------------------------------------------------------------------


def test_a_large_problem_holds_no_array_of_its_length(tmp_path):
    """d = 2e7 is 160 MB an array; the run adds less than 100 MB to a process that ran before."""
    code = (
        "import resource, nqm_fast as nqm\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "def run(d): return nqm.simulate(nqm.Problem.power_law(d), nqm.SGD(0.5), 64, 4)\n"
        "run(1000)\n"
        "before = peak()\n"
        "assert run(2 * 10**7).stats['order'] == 'blocks'\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert float(done.stdout) < 100


# -- errors ------------------------------------------------------------------------------

HUGE = nqm.Problem.power_law(2**31)

WRONG = {
    "algorithm must be an algorithm such as": {"algorithm": 0.1},
    "not an empty list": {"algorithm": []},
    "batch_size must be >= 1, not 0": {"batch_size": 0},
    "steps must be a whole number >= 0, not -1": {"steps": -1},
    "steps must be a whole number >= 0, not 1.5": {"steps": 1.5},
    "steps must be at most 4398046511104, where the noise counter ends, not": {"steps": 2**43},
    "at most 1099511627776, where the noise counter ends for leaps": {
        "steps": 2**41,
        "sampling": "leap",
    },
    "replicas must be a whole number >= 1, not 0": {"replicas": 0},
    "replicas must be below 16777216": {"replicas": [2**24]},
    "replicas must be a count or a sequence": {"replicas": [[1]]},
    "seed must be a whole number >= 0, not -1": {"seed": -1},
    "seed must be below 2^64": {"seed": 2**64},
    "record must be steps from 0 to the last, 20, but contains 21": {"record": [21]},
    "record must be a whole number >= 1, not 0": {"record": 0},
    "record must be whole numbers >= 0, but contains -1": {"record": [-1]},
    "sampling must be one of minibatch, per-sample, leap, not 'mini'": {"sampling": "mini"},
    "data must be one of normal, uniform, rademacher, laplace, student-t": {"data": "cauchy"},
    "data='laplace' needs sampling='per-sample'": {"data": "laplace"},
    "data='uniform' needs sampling='per-sample', as sampling='leap'": {
        "data": "uniform",
        "sampling": "leap",
    },
    "df must be > 2, not 2": {"data": "student-t", "sampling": "per-sample", "df": 2},
    "df = 3 is for data='student-t'": {"df": 3},
    "batch_size must be whole numbers for sampling='per-sample', but is 1.5": {
        "batch_size": 1.5,
        "sampling": "per-sample",
    },
    "batch_size must be at most 268435456 for sampling='per-sample'": {
        "batch_size": 2**29,
        "sampling": "per-sample",
    },
    "needs a constant or piecewise constant lr": {
        "algorithm": nqm.SGD(schedules.Cosine(0.1, 10)),
        "sampling": "leap",
    },
    "needs a constant or piecewise constant batch_size": {
        "batch_size": schedules.Linear(1.0, 2.0, 10),
        "sampling": "leap",
    },
    "lr has values for 3 steps, but 20 are asked for": {"algorithm": nqm.SGD([0.1] * 3)},
    "backend must be one of auto, numba, cython, numpy, cuda, not 'gpu'": {"backend": "gpu"},
    "devices must be left out with backend='numpy', but are [0]; they are for backend='cuda'": {
        "backend": "numpy",
        "devices": [0],
    },
    "threads must be a whole number >= 1, not 0": {"threads": 0},
    "bands must be a whole number >= 1, not 0": {"bands": 0},
    "bands must be two or more ascending edges": {"bands": [0.2, 0.1]},
    "bands must be 1 where all curvatures are alike": {
        "bands": 2,
        "problem": nqm.Problem([1.0, 1.0]),
    },
    "count must be 1 for a simulation": {"problem": nqm.Problem([1.0], count=2.5)},
    "problem has 4294967297 coordinates, but the noise counter numbers only 4294967296": {
        "problem": nqm.Problem.power_law(2**32 + 1)
    },
    "problem must be a Problem such as": {"problem": 3},
    "GB are available: use fewer replicas or settings, or keep_state=False": {
        "problem": HUGE,
        "keep_state": True,
        "replicas": 10,
    },
    "GB are available: record fewer steps": {"steps": 10**12, "record": np.arange(10**6),
        "replicas": 10**6},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_said(message):
    with pytest.raises(nqm.InputError) as error:
        simulate(**WRONG[message])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("nqm_fast.kernels.is_installed", lambda name: name == "numpy")
    with pytest.raises(nqm.InputError, match="run 'pip install numba'; or use one of numpy"):
        simulate(backend="numba")
    with pytest.raises(nqm.InputError, match=r"its extension was not built.*install GCC or Clang"):
        simulate(backend="cython")
    assert simulate().stats["backend"] == "numpy"


def test_threads_are_as_many_as_the_environment_says(monkeypatch):
    monkeypatch.setitem(os.environ, "NQM_NUM_THREADS", "1")
    assert simulate().stats["threads"] == 1
