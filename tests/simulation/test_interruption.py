"""Ctrl-C returns the run so far."""

import os
import signal
import threading

import numpy as np
import pytest
from helpers import simulate

import nqm_fast as nqm
from nqm_fast.simulation import signals as run_signals
from nqm_fast.simulation.controller import Controller

PROBLEM = nqm.Problem.power_law(5000)


def interrupt_after(seconds):
    main = threading.main_thread().ident
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.usefixtures("default_ctrl_c", "patience")
def test_ctrl_c_returns_the_run_so_far(monkeypatch):
    usual, timers = Controller._collect, []

    def collect(*arguments):
        """A signal before the first chunk has ended would stop the run at once."""
        usual(*arguments)
        if not timers:
            timers.append(interrupt_after(0.5))

    monkeypatch.setattr(Controller, "_collect", collect)
    run = simulate(steps=10**7, problem=PROBLEM, record=10**5, keep_state=True)
    assert run.status == "interrupted"
    assert "steps" in run.message
    done = run.stats["coordinate_steps"] // PROBLEM.dim
    assert run.steps[-1] <= done < run.steps[-1] + 10**5
    again = simulate(steps=done, problem=PROBLEM, record=run.steps, keep_state=True)
    assert np.array_equal(run.risk, again.risk)
    assert np.array_equal(run.state, again.state)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("default_ctrl_c")
def test_ctrl_c_in_blocks_has_no_complete_record(monkeypatch):
    usual = Controller._collect

    def interrupted(*arguments):
        usual(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Controller, "_collect", interrupted)
    run = simulate(steps=1000, problem=nqm.Problem.power_law(10**8), record=[0, 1000])
    assert run.status == "interrupted"
    assert run.risk.shape == (1, 0)
    assert "of 100000000 coordinates, so that no record is complete" in run.message


def test_an_ignored_signal_stays_ignored():
    """A shell has its background jobs ignore Ctrl-C, which is meant for what is in front."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupt_after(0.0).join()
        assert simulate().status == "finished"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)


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
