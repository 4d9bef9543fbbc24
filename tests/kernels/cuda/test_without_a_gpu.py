"""Without a GPU, the backend has its bits in NVIDIA's simulator, and says what is missing."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import python

import nqm_fast as nqm
from nqm_fast import kernels


@pytest.fixture(scope="module")
def _installed():
    pytest.importorskip("numba_cuda")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("name", ["same_bits", "devices", "hardware"])
def test_in_the_simulator(name):
    """Tests that are marked `gpu` pass in NVIDIA's simulator, but those that need a GPU.

    All of them, also thorough ones, are run by ``NUMBA_ENABLE_CUDASIM=1 pytest -n0 -m gpu``.
    """
    file = Path(__file__).with_name(f"test_{name}.py")
    options = "-q", "-n0", "-p", "no:cacheprovider", "-m", "gpu and not thorough"
    # The simulator is chosen when Numba is imported, hence a process of its own.
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert bool(skipped) == (name == "hardware")
    assert all("needs a GPU" in line for line in skipped)


@pytest.mark.usefixtures("_installed")
def test_simulated_threads_share_one_array(monkeypatch):
    """All threads get the same array, also where they ask for it at the same moment."""
    from nqm_fast.kernels.cuda import jit

    make, together = np.empty, threading.Barrier(8, timeout=10)

    def slow_empty(*arguments):
        together.wait()
        return make(*arguments)

    monkeypatch.setattr(jit.np, "empty", slow_empty)
    memory = jit._SimulatedMemory({})
    with ThreadPoolExecutor(8) as threads:
        arrays = list(threads.map(lambda _: memory.array(3, np.float64), range(8)))
    assert all(array is arrays[0] for array in arrays)


# -- what it says ------------------------------------------------------------------------


def said(code, **environment):
    """The last line of a program that fails."""
    return python("-c", code, status=1, **environment).stderr.splitlines()[-1]


ASKED = (
    "import nqm_fast as nqm\n"
    "nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 10, backend='cuda')"
)


@pytest.mark.usefixtures("_installed")
def test_without_a_gpu():
    """A GPU that may be there is hidden here."""
    line = said(ASKED, CUDA_VISIBLE_DEVICES="-1")
    assert "InputError: backend 'cuda' cannot be used: no NVIDIA GPU is found (" in line
    assert "see what 'nvidia-smi' says, install NVIDIA's driver, or start a container with" in line


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr("nqm_fast.kernels.is_installed", lambda name: name != "cuda")
    problem = nqm.Problem.power_law(100)
    with pytest.raises(nqm.InputError) as error:
        nqm.simulate(problem, nqm.SGD(0.1), 8, 10, backend="cuda")
    wanted = (
        "backend='cuda' is not installed: run \"pip install 'nqm-fast[cuda13]'\", or [cuda12] if"
    )
    assert str(error.value).startswith(wanted)
    assert "\n" not in str(error.value)


def test_nothing_of_cuda_is_loaded_unasked():
    code = (
        "import nqm_fast as nqm, sys\n"
        "problem = nqm.Problem.power_law(100)\n"
        "nqm.simulate(problem, nqm.SGD(0.1), 8, 10)\n"
        "nqm.expected_risk(problem, nqm.SGD(0.1), 8, 10)\n"
        "print(*[name for name in sys.modules if name.startswith(('numba.cuda', 'numba_cuda.'))])\n"
        "print(*[name for name in sys.modules if 'kernels.cuda' in name or name == 'cuda'])"
    )
    assert not python("-c", code).stdout.split()


def test_it_is_never_chosen_unasked():
    assert "cuda" in kernels.REGISTRY
    assert "cuda" not in kernels.present_backends()


@pytest.mark.usefixtures("_installed")
def test_info_says_why_there_is_none():
    code = "from nqm_fast.cli import main; main(['info'])"
    done = python("-c", code, CUDA_VISIBLE_DEVICES="-1")
    line = next(x for x in done.stdout.splitlines() if x.startswith("GPUs"))
    assert "no NVIDIA GPU is found" in line
