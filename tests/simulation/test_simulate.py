"""What simulate returns: results, records, bands of risk, divergence; and its memory."""

import math
import os
import threading
import warnings

import numpy as np
import pytest
from helpers import BACKEND, PLAIN, SMALL, python, simulate

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.simulation import models

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
    assert run.stats["backend"] == BACKEND
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
    """SGD's components are w, v and e, and the risk is that of e."""
    run = simulate(nqm.SGD(0.1, momentum=0.9, ema=0.5), replicas=2, keep_state=True)
    expected = 0.5 * run.state[:, 2] ** 2 @ SMALL.h
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
    assert run.risk[0, 0] == pytest.approx(0.5 * SMALL.h @ run.state[0, 0] ** 2)


# -- bands -------------------------------------------------------------------------------


def test_bands_share_out_the_risk():
    run = simulate(bands=5, replicas=2)
    assert run.band_risk.shape == (2, run.steps.size, 5)
    assert run.band_edges.shape == (6,)
    assert run.band_risk.sum(axis=2) == pytest.approx(run.risk, rel=1e-13)


def test_bands_are_by_curvature():
    run = simulate(bands=[0.05, 0.2, 1.0], keep_state=True)
    risk = 0.5 * SMALL.h * run.state[0, 0] ** 2
    low, high = (SMALL.h >= 0.05) & (SMALL.h < 0.2), SMALL.h >= 0.2
    assert run.band_risk[0, -1] == pytest.approx([risk[low].sum(), risk[high].sum()], rel=1e-13)


def test_a_band_of_equal_curvatures():
    run = simulate(problem=nqm.Problem([2.0, 2.0]), bands=1)
    assert np.array_equal(run.band_risk[..., 0], run.risk)


# -- divergence --------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [2.5, 1e3, 1e200])
def test_divergence_is_an_answer(lr, machine):
    """The step of divergence depends neither on the length of the run nor on its records."""
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


# -- large problems ----------------------------------------------------------------------


def test_a_large_problem_holds_no_array_of_its_length(tmp_path):
    """An array of 2e7 coordinates is 160 MB, and the run takes less than 100 MB more."""
    code = (
        "import resource, nqm_fast as nqm\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "def run(d): return nqm.simulate(nqm.Problem.power_law(d), nqm.SGD(0.5), 64, 4)\n"
        "run(1000)\n"
        "before = peak()\n"
        "assert run(2 * 10**7).stats['order'] == 'blocks'\n"
        "print(peak() - before)\n"
    )
    assert float(python("-c", code, cwd=tmp_path).stdout) < 100


# -- threads -----------------------------------------------------------------------------


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


def test_threads_are_as_many_as_the_environment_says(monkeypatch):
    monkeypatch.setitem(os.environ, "NQM_NUM_THREADS", "1")
    assert simulate().stats["threads"] == 1


def test_short_runs_in_a_loop_remember_nothing_of_others(monkeypatch):
    """Problems and algorithms that are gone leave their addresses to others."""
    rng = np.random.default_rng(5)
    cases = [
        (rng.uniform(0.1, 1.0, 3), float(rng.uniform(0.0, 0.9)), dim, observe)
        for dim in (3, 4, 3)
        for observe in ("risk", "weight_norm")
        for _ in range(40)
    ]

    def risk(h, momentum, dim, observe):
        problem = nqm.Problem(h) if h[0] < 0.5 else nqm.Problem.power_law(dim, 1.0 + h[1])
        algorithm = nqm.SGD(0.1, momentum=momentum)
        return nqm.simulate(problem, algorithm, 4, 3, record=[3], observe=observe).risk[0, 0]

    in_a_loop = [risk(*case) for case in cases]
    for case, known in zip(cases, in_a_loop, strict=True):
        monkeypatch.setattr(models, "_models", {})
        assert risk(*case) == known


def test_no_large_problems_or_schedules_are_kept(monkeypatch):
    """What short runs remember is small, and is not all that they have been of."""
    monkeypatch.setattr(models, "_models", {})
    large = nqm.Problem(np.linspace(0.1, 1.0, 1000))
    nqm.simulate(large, nqm.SGD(0.1), 4, 3, trajectory=[5])
    nqm.simulate(nqm.Problem([0.5, 1.0]), nqm.SGD(np.full(1000, 0.1)), 4, 3)
    nqm.simulate(nqm.Problem([0.5, 1.0]), [nqm.SGD(0.1)] * 100, 4, 3)
    assert not models._models
    nqm.simulate(nqm.Problem([0.5, 1.0]), nqm.SGD(0.1), 4, 3)
    assert models._models
