"""The extension: levels of processors, sources, threads, memory and machine code."""

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import python

import nqm_fast as nqm
from nqm_fast import kernels


@pytest.fixture
def extension():
    return pytest.importorskip("nqm_fast.kernels.cython_cpu")


def test_levels(extension):
    assert extension.levels()[0] == "baseline"
    assert extension.level() in extension.levels()
    with pytest.raises(ValueError, match="NQM_CPU_LEVEL='x87' must be one of baseline"):
        extension.use_level("x87")


def test_an_extension_of_other_sources_is_refused(extension, tmp_path):
    code = (
        "from nqm_fast.kernels import sources\n"
        "sources.digest = lambda: 'of other sources'\n"
        "import nqm_fast as nqm\n"
        "nqm.simulate(nqm.Problem.power_law(9), nqm.SGD(0.1), 8, 9, backend='cython')"
    )
    done = python("-c", code, cwd=tmp_path, status=1)
    assert "InputError: backend 'cython' cannot be used: " in done.stderr
    assert "the compiled extension of nqm_fast was built from other sources" in done.stderr


def test_the_extension_leaves_small_numbers_alone(extension, tmp_path):
    """Loading it does not make the processor flush them to zero, whatever flags a user had set."""
    code = (
        "import numpy as np\n"
        "from nqm_fast.kernels import load_backend\n"
        "load_backend('cython')\n"
        "print(np.array([1e-310]) * np.array([0.5]) > 0.0)"
    )
    assert python("-c", code, cwd=tmp_path).stdout == "[ True]\n"


def test_everything_works_without_numba(extension, tmp_path):
    """Neither Numba nor anything else is loaded that takes long."""
    code = (
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "import nqm_fast as nqm\n"
        "problem = nqm.Problem.power_law(500)\n"
        "run = nqm.simulate(problem, nqm.SGD(0.1, momentum=0.5), 8, 20)\n"
        "print(run.stats['backend'], *(name for name in sys.modules if name.startswith('scipy')))\n"
        "print(nqm.tune(problem, 64, 0.05).steps)"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.stderr == ""
    backend, steps = done.stdout.splitlines()
    assert backend == "cython"
    assert int(steps) == nqm.tune(nqm.Problem.power_law(500), 64, 0.05).steps


def test_many_threads_and_children_of_threads(extension, tmp_path):
    """More threads than are sensible end no process, and a forked one does not hang."""
    code = (
        "import os, sys, signal\n"
        "import nqm_fast as nqm\n"
        "def run(threads):\n"
        "    problem = nqm.Problem.power_law(20_000)\n"
        "    return nqm.simulate(\n"
        "        problem, nqm.SGD(0.3), 8, 40, threads=threads, backend='cython').risk[-1, -1]\n"
        "assert run(100_000) == run(2) == run(1)\n"
        "child = os.fork()\n"
        "signal.alarm(20)\n"
        "if not child:\n"
        "    os._exit(0 if run(2) > 0 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    python("-c", code, cwd=tmp_path)


def test_memory_that_is_not_there_is_an_error(extension, tmp_path):
    """The work is given up without a crash, and the memory that it had is given back."""
    pytest.importorskip("resource")
    code = (
        "import resource\n"
        "import numpy as np, nqm_fast as nqm\n"
        "from nqm_fast.kernels import cython_cpu\n"
        "problem = nqm.Problem.power_law(500_000)\n"
        "block = problem.block(0, problem.dim)\n"
        "from nqm_fast.algorithms.sparse import sparse_recurrence\n"
        "from nqm_fast.exact.timeline import weighted_segments\n"
        "from nqm_fast.schedules import Constant\n"
        "algorithm = nqm.SGD(0.001, momentum=0.9)\n"
        "read, _, *sparse = sparse_recurrence(algorithm.recurrence(block.h), problem.dim)\n"
        "tiles = -(-problem.dim // cython_cpu.BACKEND.first_passage.TILE)\n"
        "old = np.zeros((2, tiles, 5 * cython_cpu.BACKEND.first_passage.TILE))\n"
        "limit = 10**9\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "part = next(iter(weighted_segments(algorithm, Constant(8.0), 10)))\n"
        "try:\n"
        "    cython_cpu.BACKEND.first_passage.first_passage(\n"
        "        read, *sparse, part.weights, part.inverse_batch, np.array([2**62]),\n"
        "        True, 1e-9, -1, False, *block[:4], old, np.zeros_like(old))\n"
        "except MemoryError as error:\n"
        "    print(error)\n"
    )
    done = python("-c", code, cwd=tmp_path, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert done.stdout.strip() == "there is no memory left for the work of the compiled kernels"


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_no_product_and_sum_are_contracted(extension):
    """Only the closed form and sums of two doubles, which spell them out, have fused operations.

    The search, and the leaps, for one component have maps of the latter within.
    """
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", extension.__file__],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    found, name = set(), ""
    for line in text.splitlines():
        if line.endswith(">:"):
            name = line.partition("<")[2][:-2]
        elif "vfm" in line and line.split()[1].endswith(("pd", "sd")):
            found.add(name.split(".")[0])
    assert found or "x86-64-v3" not in extension.levels()
    allowed = (
        "constant_risk",
        "log_square",
        "exp_pair",
        "_extended",
        "first_passage_1_1",
        "leap_tile_1_",
    )
    assert all(any(part in name for part in allowed) for name in found), found


def test_the_sources_are_those_of_the_wheel():
    """All files that go into the digest are part of the package."""
    folder = Path(kernels.__file__).parent
    assert (folder / "codegen" / "head.h").exists()
    assert (folder / "cython_cpu.pyx").exists()
