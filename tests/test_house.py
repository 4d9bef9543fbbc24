"""How the package is put together: imports, compile options, documentation."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import nqm_fast as nqm

ROOT = Path(__file__).parents[1]
PUBLIC = sorted((ROOT / "nqm_fast").rglob("*.py"))
JIT = ROOT / "kernels" / "numba" / "jit.py", ROOT / "kernels" / "cuda" / "jit.py"
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))


def in_fresh_interpreter(code, **where):
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, **where
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imports(path):
    """Modules that a file imports: (dots, name)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def name_of(path):
    return str(path.relative_to(ROOT))


def test_the_sources_are_found():
    assert {"risk.py", "tuning.py", "problem.py"} <= {path.name for path in PUBLIC}
    assert {"jit.py", "moments.py", "reference.py"} <= {path.name for path in KERNELS}


# -- imports -----------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["nqm_fast", "nqm_fast.kernels", "nqm_fast.kernels.reference"])
def test_importing_loads_nothing_heavy(module):
    loaded = in_fresh_interpreter(f"import {module}, sys; print(*sys.modules)").split()
    heavy = {"numba", "llvmlite", "matplotlib", "scipy", "sklearn", "rich"}
    heavy |= {"h5py", "pydantic", "filelock", "psutil"}
    assert not heavy & set(loaded)


def test_describing_a_problem_loads_nothing_heavy():
    code = (
        "import nqm_fast as nqm, sys\n"
        "nqm.Problem.power_law(10**9); nqm.SGD(nqm.schedules.Cosine(1.0, 100), momentum=0.9)\n"
        "print(*sys.modules)"
    )
    assert not {"numba", "matplotlib", "scipy"} & set(in_fresh_interpreter(code).split())


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_kernels_know_nothing_of_the_public_package(path):
    for dots, name in imports(path):
        assert dots <= len(path.relative_to(ROOT).parts) - 1
        assert name.split(".")[0] != "nqm_fast"


def test_kernels_have_a_second_name_in_the_checkout():
    """So their imports are relative; a backend under the second name needs the package's first."""
    modules = ["kernels.reference", "kernels.exact.vectorized", "kernels.codegen"]
    modules += ["kernels.exact.moments", "kernels.numba.backend"] * bool(find_spec("numba"))
    modules += ["kernels.cuda.disassembly"] * bool(find_spec("numba_cuda"))
    code = (
        f"import {', '.join(modules)}; print(kernels.__file__); print(kernels.reference.__name__)"
    )
    path, name = in_fresh_interpreter(code, cwd=ROOT).splitlines()
    assert Path(path).resolve() == ROOT / "kernels" / "__init__.py"
    assert name == "kernels.reference"


def test_kernels_are_part_of_the_package():
    from nqm_fast import kernels

    assert kernels.__name__ == "nqm_fast.kernels"


# -- compile options ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PUBLIC, *KERNELS], ids=name_of)
def test_one_module_owns_the_compile_options(path):
    """One for processors, one for GPUs."""
    if path in JIT:
        return
    modules = {name.split(".")[0] for dots, name in imports(path) if not dots}
    assert not {"numba", "llvmlite"} & modules
    words = {
        getattr(node, "id", None) or getattr(node, "attr", None)
        for node in ast.walk(ast.parse(path.read_text()))
    }
    assert not {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc"} & words


@pytest.mark.parametrize("path", [*PUBLIC, *KERNELS], ids=name_of)
def test_one_module_imports_cuda(path):
    """A successor of numba-cuda is to concern nobody else."""
    names = [name for dots, name in imports(path) if not dots]
    of_cuda = [name for name in names if "cuda" in name.split(".") or "numba_cuda" in name]
    assert bool(of_cuda) == (path == ROOT / "kernels" / "cuda" / "jit.py")


def test_compiled_functions_have_the_options_of_the_house():
    pytest.importorskip("numba")
    from nqm_fast.kernels.exact import moments
    from nqm_fast.kernels.numba import jit as options

    chosen = moments.propagate.targetoptions
    assert chosen["nogil"] is True
    assert chosen["error_model"] == "numpy"
    assert not chosen["fastmath"]
    assert not options.OPTIONS["fastmath"]
    assert moments.propagate.stats.cache_path  # compiled once per machine


# -- documentation -----------------------------------------------------------------------


def documented():
    """Everything public: names, members of public modules, methods of public classes."""
    for name in nqm.__all__:
        thing = getattr(nqm, name)
        yield name, thing
        members = vars(thing) if inspect.ismodule(thing) or inspect.isclass(thing) else {}
        for member, value in members.items():
            if member.startswith("_"):
                continue
            if inspect.ismodule(thing):
                if getattr(value, "__module__", None) == thing.__name__:
                    yield f"{name}.{member}", value
            elif callable(value) or isinstance(value, (property, classmethod)):
                yield f"{name}.{member}", value


DOCUMENTED = dict(documented())


def test_the_public_names_are_there():
    assert {"Problem", "SGD", "expected_risk", "steps_to_target", "tune"} <= set(nqm.__all__)
    assert {"optimal_schedule", "bounds", "schedules", "InputError"} <= set(nqm.__all__)
    assert {"bounds.theorem1", "bounds.bayes_samples", "Problem.from_matrices"} <= set(DOCUMENTED)
    assert {"schedules.Cosine", "SGD.recurrence"} <= set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_names_have_a_docstring(name):
    assert (inspect.getdoc(DOCUMENTED[name]) or "").strip()


ENTRY_POINTS = [
    name
    for name, thing in DOCUMENTED.items()
    if inspect.isfunction(thing) and (name in nqm.__all__ or name.startswith("bounds."))
] + ["SGD", "Problem", "Problem.power_law", "Problem.from_matrices", "Problem.from_least_squares"]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points_document_every_argument_and_their_errors(name):
    thing = DOCUMENTED[name]
    text = inspect.getdoc(thing)
    for part in ("Parameters\n---", "Raises\n---", "InputError"):
        assert part in text
    for argument in inspect.signature(getattr(thing, "__func__", thing)).parameters:
        assert argument in ("cls", "self") or argument in text


@pytest.mark.parametrize(
    "name",
    [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in PUBLIC
        if path.stem != "__init__" and ">>>" in path.read_text()
    ],
)
def test_examples_in_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples():
    modules = ("exact.risk", "exact.first_passage", "exact.tuning", "exact.piecewise_schedule")
    modules += ("problem", "simulation.api", "algorithms.base")
    found = [
        doctest.DocTestFinder().find(importlib.import_module(f"nqm_fast.{m}")) for m in modules
    ]
    assert all(any(test.examples for test in tests) for tests in found)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "nqm_fast" / "py.typed").exists()
