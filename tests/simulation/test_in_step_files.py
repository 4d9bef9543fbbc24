"""Runs in step in files: whole, broken off, gone on with, and from the command line."""

import os
from functools import partial

import numpy as np
import pytest
from helpers import assert_same, break_off, interrupted

import nqm_fast as nqm
from nqm_fast.cli import main
from nqm_fast.noise import Gaussian, LossDependent

NOISES = [
    (Gaussian(label_noise=0.3), "kind = 'Gaussian', label_noise = 0.3"),
    (LossDependent(2.0), "kind = 'LossDependent', slope = 2.0"),
]
SETTINGS = [nqm.SGD(0.1, momentum=0.5, ema=0.9), nqm.SGD(0.2)]


@pytest.fixture(params=NOISES, ids=lambda pair: type(pair[0]).__name__)
def noise(request):
    """A noise, and how TOML says it."""
    return request.param


@pytest.fixture
def simulated(noise):
    """A function that simulates two settings under this noise."""
    return partial(simulate, nqm.Problem(1.0 / np.arange(1, 71)).with_noise(noise[0]))


def simulate(problem, replicas=5, **given):
    options = {"seed": 3, "record": [0, 1, 7, 12], "bands": 2, "observe": "weight_norm"}
    options |= {"trajectory": [0, 69], "keep_state": True, "threads": 1, "backend": "numpy"}
    return nqm.simulate(problem, SETTINGS, [3, 2], 12, replicas=replicas, **(options | given))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def test_a_file_holds_the_run(simulated, path):
    run = simulated(out=path)
    assert_same(run, simulated())
    stored = nqm.open_run(path)
    assert_same(stored, run)
    assert stored.experiment.problem.noise_model == run.experiment.problem.noise_model
    assert_same(nqm.resume(path), run)
    assert os.listdir(path.parent) == [path.name]


def test_paths_end_at_the_state_and_are_those_of_the_risk(simulated):
    run = simulated()
    for number, state in enumerate(run.state):
        np.testing.assert_array_equal(run.trajectory.w[number, :, -1], state[:, 0, [0, 69]])
    whole = simulated(trajectory=np.arange(70))
    risk = 0.5 * np.sum(whole.experiment.problem.h * whole.trajectory.evaluated**2, axis=-1)
    np.testing.assert_allclose(risk, run.risk, rtol=1e-12)


@pytest.mark.usefixtures("default_ctrl_c")
@pytest.mark.parametrize("after", [2, 7])
def test_an_interrupted_run_is_gone_on_with(simulated, path, monkeypatch, after):
    with monkeypatch.context() as patch:
        break_off(patch, after, interrupted)
        run = simulated(out=path)
    assert run.status == nqm.open_run(path).status == "interrupted"
    assert f"after {after} of 10 replicas" in run.message
    begun = break_off(monkeypatch, -1, interrupted)
    whole = nqm.resume(path, threads=2)
    assert begun[0] == after + 1
    assert_same(whole, simulated())
    assert_same(nqm.open_run(path), whole)


def test_a_run_whose_process_died_is_gone_on_with(simulated, path, monkeypatch):
    class DiedError(Exception):
        pass

    def die():
        raise DiedError

    with monkeypatch.context() as patch:
        break_off(patch, 8, die)
        with pytest.raises(DiedError):
            simulated(out=path, checkpoint_every=0.0)
    assert nqm.open_run(path).status == "killed"
    assert_same(nqm.resume(path), simulated())


def test_replicas_are_added_and_steps_are_not(simulated, path):
    simulated(2, out=path)
    assert_same(nqm.resume(path, replicas=5), simulated())
    with pytest.raises(nqm.InputError, match="steps of a run with noise that depends"):
        nqm.resume(path, steps=20)


def test_the_command_line_runs_it(tmp_path, capsys, noise):
    config, out = tmp_path / "run.toml", tmp_path / "run.h5"
    model, described = noise
    config.write_text(
        "steps = 12\nbatch_size = 3\nreplicas = 2\nseed = 3\nbackend = 'numpy'\nrecord = [1, 12]\n"
        f"[problem]\ndim = 70\nnoise_model = {{ {described} }}\n[[setting]]\nlr = 0.1\n"
    )
    assert main(["run", str(config), "--out", str(out)]) == 0
    said = "".join(capsys.readouterr())
    assert "of 2 replicas" in said
    assert "could not be drawn" not in said
    problem = nqm.Problem.power_law(70).with_noise(model)
    how = {"replicas": 2, "seed": 3, "record": [1, 12], "backend": "numpy"}
    want = nqm.simulate(problem, nqm.SGD(0.1), 3, 12, **how)
    np.testing.assert_array_equal(nqm.open_run(out).risk[0], want.risk)
    others = config.read_text().replace(described, "kind = 'FinitePopulation', samples = 10")
    config.write_text(others)
    assert main(["run", str(config), "--out", str(tmp_path / "other.h5")]) != 0
    assert (
        "problem must have no description of noise, or nqm.noise.Gaussian"
        in capsys.readouterr().err
    )
