"""Compiled code on disk: damage, full disks and missing folders cost time, never the answer."""

import os
from pathlib import Path

import pytest
from helpers import python

pytest.importorskip("numba")

CODE = """
from nqm_fast.kernels.numba import jit
def triple(x):
    return 3.0 * x
triple = jit.kernel(triple)
print(jit.is_ready(triple, 1.0), triple(2.0), jit.is_ready(triple, 1.0), jit.is_ready(triple, 1))
"""


FACTORY = """
import sys
import numpy as np
from nqm_fast.kernels.numba import jit
def make(k):
    @jit.uncached_kernel(f"times {k}")
    def inner(x, y):
        total = 0.0
        for a in x:
            for b in y:
                total += k * a / (1.0 + b) + np.sqrt(abs(a - b)) if a > b else np.exp(b) - k
        for i in range(x.size):
            x[i] = total * k
        return total
    return inner
small, large = make(1.0), make(1000.0)
@jit.kernel
def by_small(x, y):
    return small(x, y) + small(y, x)
@jit.kernel
def by_large(x, y):
    return large(x, y) + large(y, x)
for name in sys.argv[1:]:
    print(name, globals()[name](np.linspace(0.0, 1.0, 5), np.linspace(0.0, 1.0, 7)))
"""


@pytest.fixture
def program(tmp_path):
    """A program with one small kernel: what it prints and says, in a process of its own."""
    (tmp_path / "small.py").write_text(CODE)

    def run(**more):
        options = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")} | more
        done = python("-W", "error", "-m", "small", cwd=tmp_path, **options)
        return done.stdout.strip(), done.stderr

    return run


def files(tmp_path):
    return sorted(
        path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".nbi", ".nbc")
    )


def test_compiled_code_is_found_again(program, tmp_path):
    assert program() == ("False 6.0 True False", "")
    assert [path.suffix for path in files(tmp_path)] == [".nbc", ".nbi"]
    assert program() == ("True 6.0 True False", "")


def test_kernels_that_processes_compiled_apart_do_not_mix(tmp_path):
    """Functions that the same lines make are told apart by the linker, which knows only names."""
    (tmp_path / "made.py").write_text(FACTORY)

    def run(*names):
        options = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        return python("-m", "made", *names, cwd=tmp_path, **options).stdout.splitlines()

    small, large = run("by_small"), run("by_large")
    assert small != large
    assert run("by_small", "by_large") == [*small, *large]
    assert run("by_large", "by_small") == [*large, *small]


def test_a_name_is_given_once():
    from nqm_fast.kernels.numba import jit

    def make(name):
        return jit.uncached_kernel(name)(lambda x: x)

    make("one")
    make("another")
    with pytest.raises(ValueError, match=r"<lambda>\[one\] of .* is made twice under one name"):
        make("one")


DAMAGE = {
    "empty": lambda data: b"",
    "short": lambda data: data[: len(data) // 2],
    "one byte": lambda data: data[:-50] + bytes([data[-50] ^ 1]) + data[-49:],
    "the first byte": lambda data: bytes([data[0] ^ 255]) + data[1:],
    "other": lambda data: b"not a cache",
    "longer": lambda data: data + b"x",
}


@pytest.mark.mostly_slow(1, slow=3)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_code_is_discarded_and_compiled_again(program, tmp_path, damage, suffix):
    program()
    (path,) = [path for path in files(tmp_path) if path.suffix == suffix]
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    answer, said = program()
    assert answer.split()[1] == "6.0"
    assert said.count("\n") == 1
    assert "damaged or cannot be read: they are discarded, and compiled again" in said
    assert program() == ("True 6.0 True False", "")


def test_a_folder_in_the_place_of_a_file(program, tmp_path):
    program()
    for path in files(tmp_path):
        path.unlink()
        path.mkdir()
    answer, said = program()
    assert answer == "False 6.0 True False"
    assert "the compiled kernels are not cached" in said


def test_a_full_disk(tmp_path):
    """A device that is always full stands for the disk."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    code = (
        "import builtins, io\n"
        "usual = io.open\n"
        "def full(path, mode='r', *more, **named):\n"
        "    return usual('/dev/full' if '.tmp.' in str(path) else path, mode, *more, **named)\n"
        f"builtins.open = full\n{CODE}"
    )
    done = python("-c", code.replace("triple = jit", "triple.__module__ = 'small'\ntriple = jit"),
                  cwd=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))  # fmt: skip
    assert done.stdout.split()[1] == "6.0"
    assert "are not cached" in done.stderr
    assert "No space left on device" in done.stderr
    assert files(tmp_path) == []


def test_no_folder_can_be_written(program, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert program() == ("False 6.0 True False", "")


def test_without_a_home_nothing_is_written_where_one_is(tmp_path):
    """Without HOME and without an entry in the system's list of users, "~" stays as it is."""
    code = (
        "import os, pwd\n"
        "def unknown(uid):\n"
        "    raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"
        "os.environ.pop('HOME', None)\n"
        "os.environ.pop('XDG_CACHE_HOME', None)\n"
        "os.environ['NUMBA_CACHE_DIR'] = ''\n"
        "usual = os.access\n"
        "os.access = lambda path, mode: '__pycache__' not in str(path) and usual(path, mode)\n"
        "from nqm_fast.kernels.numba import folder\n"
        "print(folder.folder(), folder.holds_code())"
    )
    assert python("-c", code, cwd=tmp_path).stdout == "None False\n"
    assert os.listdir(tmp_path) == []


def test_compiling_is_said_once_and_only_of_our_kernels(tmp_path):
    code = (
        "import numba\n"
        "from nqm_fast.kernels.numba import jit\n"
        "numba.njit(lambda x: x + 1)(1)\n"
        "for factor in (1.0, 2.0):\n"
        "    def f(x):\n"
        "        return x * x\n"
        "    f.__module__ = 'nqm_fast.kernels.numba.step'\n"
        "    jit.uncached_kernel(str(factor))(f)(factor)"
    )
    said = python("-c", code, cwd=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stderr
    assert said == "nqm_fast: compiling the kernels (once; the result is cached) ...\n"
    (tmp_path / "file").touch()
    said = python("-c", code, cwd=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "file")).stderr
    assert said.startswith("nqm_fast: compiling the kernels (not cached, as no folder")


def test_numba_without_a_compiler_is_not_used(tmp_path):
    code = "from nqm_fast import kernels; kernels.load_backend('numba')"
    said = python("-c", code, cwd=tmp_path, NUMBA_DISABLE_JIT="1", status=1).stderr
    assert "BackendError: backend 'numba' cannot be used: NUMBA_DISABLE_JIT is set" in said


@pytest.mark.parametrize("layer", ["tbb", "bogus"])
def test_a_threading_layer_that_is_missing(tmp_path, layer):
    """It is said before any file is made."""
    code = (
        "import nqm_fast as nqm\n"
        "try:\n"
        "    nqm.simulate(nqm.Problem.power_law(9), nqm.SGD(0.1), 8, 9, backend='numba',\n"
        "                 threads=2, out='run.h5')\n"
        "except nqm.InputError as error:\n"
        "    print(error)"
    )
    if layer == "tbb":
        import ctypes.util

        if ctypes.util.find_library("tbb"):
            pytest.skip("it is there")
    said = python("-c", code, cwd=tmp_path, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    assert said.stdout.startswith("backend 'numba' cannot be used: ")
    assert said.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == []
