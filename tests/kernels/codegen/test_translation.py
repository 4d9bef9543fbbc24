"""Kernels compiled ahead of time: the translation, and the extension made of it."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nqm_fast.kernels.codegen.translation import new_program
from nqm_fast.kernels.codegen.values import Array, Value

import nqm_fast as nqm
from nqm_fast import kernels

ROWS = Array("f64", 1)
NUMBERS = Value("x", ROWS), Value("n", "i64")


def translated(function, *arguments):
    """The C of a function and of what it calls."""
    program = new_program()
    program.function(function, arguments or NUMBERS)
    return "\n".join(program.text)


# -- what is translated --------------------------------------------------------------------


def sums(x, n):
    total = 0.0
    for j in range(n):
        if j % 2 == 0 and x[j] > 1.0:
            total += x[j] * x[j + 1]
    return total


def powers(x, n):
    size = 3
    for a in range(size):
        x[a] = x[n] if a == 1 else 0.5 * a + 1.0


def parts(x, n):
    copy = np.empty(n)
    copy[:] = 1.0
    copy[1:n] = x[: n - 1]
    return max(copy[0], copy[1])


def test_loops_and_choices():
    text = translated(sums)
    assert "for (int64_t j = ((int64_t)0LL); j < t1; j += ((int64_t)1LL))" in text
    assert "(((j % ((int64_t)2LL)) == ((int64_t)0LL)) && (x.p[j] > 0x1.0000000000000p+0))" in text
    assert "total = (total + (x.p[j] * x.p[(j + ((int64_t)1LL))]));" in text
    assert "return total;" in text


def test_what_is_known_is_worked_out():
    """Short loops are unrolled, and known choices made, while translating."""
    lines = [line.strip() for line in translated(powers).splitlines() if "=" in line]
    assert lines == [
        "x.p[((int64_t)0LL)] = 0x1.0000000000000p+0;",
        "x.p[((int64_t)1LL)] = x.p[n];",
        "x.p[((int64_t)2LL)] = 0x1.0000000000000p+1;",
    ]


def test_memory_is_given_back():
    lines = translated(parts).splitlines()
    take, release = (
        next(i for i, line in enumerate(lines) if word in line)
        for word in ("arena_take(", "arena_release(")
    )
    assert take < release < next(i for i, line in enumerate(lines) if "return" in line)


def test_other_types_are_another_function():
    program = new_program()
    first = program.function(parts, NUMBERS)
    assert program.function(parts, NUMBERS) is first
    other = program.function(parts, (Value("x", Array("f32", 1)), NUMBERS[1]))
    assert other.name != first.name


# -- what is not ---------------------------------------------------------------------------


def of_lists(x, n):
    x[0] = sum([1.0, 2.0])


def of_dictionaries(x, n):
    for j in range(n):
        x[j] = {"a": 1.0}["a"]


def of_powers(x, n):
    x[0] = x[1] ** 0.5


def of_two_types(x, n):
    y = 1
    y = x
    y[0] = 1.0


def of_unequal_types(x, n):
    return np.uint64(n) + n


def of_a_sum_that_loses_its_fraction(x, n):
    total = 0
    for j in range(n):
        total += x[j]


def of_results_of_two_types(x, n):
    if n > 3:
        return 0
    return x[0]


def of_an_index_from_the_end(x, n):
    x[-1] = 0.0


def of_every_other_element(x, n):
    x[0:n:2] = 0.0


def of_a_quotient_rounded_down(x, n):
    x[0] = x[1] // 2.0


def of_bits(x, n):
    x[0] = x[~n]


def of_a_counter_that_is_changed(x, n):
    for j in range(n):
        j += 1


def of_a_counter_after_its_loop(x, n):
    for j in range(n):
        x[j] = 0.0
    x[j] = 1.0


def of_a_default(x, n):
    x[0] = n or 5


def two(x, n):
    return n, x[0]


def of_a_condition_made_once(x, n):
    while two(x, n)[0] > 0:
        x[0] = 1.0


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_lists, "not translated: .1.0, 2.0."),
        (of_dictionaries, "not translated: {'a': 1.0}"),
        (of_powers, "not translated: x.1. .. 0.5"),
        (of_two_types, "x is of type .*, not i64"),
        (of_unequal_types, "values of types u64 and i64"),
        (of_a_sum_that_loses_its_fraction, "a number of type f64 does not fit into i64"),
        (of_results_of_two_types, "a number of type f64 does not fit into i64"),
        (of_an_index_from_the_end, "an index from the end"),
        (of_every_other_element, "a part with steps"),
        (of_a_quotient_rounded_down, "of whole numbers only"),
        (of_bits, "not translated: ~n"),
        (of_a_counter_that_is_changed, "j counts a loop"),
        (of_a_counter_after_its_loop, "read where it has no value"),
        (of_a_default, "neither true nor false"),
        (of_a_condition_made_once, "a call with several results"),
    ],
)
def test_what_kernels_do_not_use_is_refused(function, said):
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(NotImplementedError, match=f"{function.__name__}, line .*: {said}") as error:
        translated(function)
    assert 0 < int(re.search(r"line (\d+)", str(error.value))[1]) - line < 4


# -- the extension -------------------------------------------------------------------------


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
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "InputError: backend 'cython' cannot be used: " in done.stderr
    assert "the compiled extension of nqm_fast was built from other sources" in done.stderr


def test_everything_works_without_numba(extension, tmp_path):
    """And loads neither Numba nor anything else that takes long."""
    code = (
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "import nqm_fast as nqm\n"
        "problem = nqm.Problem.power_law(500)\n"
        "run = nqm.simulate(problem, nqm.SGD(0.1, momentum=0.5), 8, 20)\n"
        "print(run.stats['backend'], *(name for name in sys.modules if name.startswith('scipy')))\n"
        "print(nqm.tune(problem, 64, 0.05).steps)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
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
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_memory_that_is_not_there_is_an_error(extension, tmp_path):
    """No crash: the work is given up, and what it had is given back."""
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
        "old = np.zeros((tiles, 5 * cython_cpu.BACKEND.first_passage.TILE))\n"
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
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "there is no memory left for the work of the compiled kernels"


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_no_product_and_sum_are_contracted(extension):
    """Of float64 there are fused operations in the closed form alone, which spells them out."""
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
    assert all("constant_risk" in name or "log_square" in name for name in found), found


def test_the_sources_are_those_of_the_wheel():
    """Whatever the digest is of is a part of the package."""
    folder = Path(kernels.__file__).parent
    assert (folder / "codegen" / "head.h").exists()
    assert (folder / "cython_cpu.pyx").exists()
