"""How the package is put together: what imports what, and who owns the compile options."""

import ast
import re
import tomllib
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec, resolve_name
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import python

ROOT = Path(__file__).parents[1]
TREES = {"nqm_fast": ROOT / "nqm_fast", "nqm_fast.kernels": ROOT / "kernels"}
PUBLIC = sorted(TREES["nqm_fast"].rglob("*.py"))
KERNELS = sorted(TREES["nqm_fast.kernels"].rglob("*.py"))
JIT = ROOT / "kernels" / "numba" / "jit.py", ROOT / "kernels" / "cuda" / "jit.py"
CACHE = ROOT / "kernels" / "numba" / "cache.py"
DECORATORS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc"}


def printed(code, **where):
    """What a program prints; a warning is an error."""
    return python("-W", "error", "-c", code, **where).stdout.strip()


@cache
def source(path):
    """A file as Python: of a file in Cython, the lines that begin with a Python import."""
    text = path.read_text()
    if path.suffix == ".pyx":
        words = (line.split() for line in text.splitlines())
        kept = (line for line in words if line[:1] in (["import"], ["from"]))
        text = "\n".join(" ".join(line) for line in kept if "cimport" not in line)
    return ast.parse(text)


@cache
def imports(path):
    """Every import in a file, wherever it stands: (dots, module, names that are taken from it)."""
    found = []
    for node in ast.walk(source(path)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def name_of(path):
    return str(path.relative_to(ROOT))


def test_the_sources_are_found():
    assert {"risk.py", "tuning.py", "problem.py"} <= {path.name for path in PUBLIC}
    assert {"jit.py", "moments.py", "reference.py"} <= {path.name for path in KERNELS}


def test_every_folder_of_modules_is_installed():
    """A folder that pyproject.toml does not name is not in a wheel, though a checkout has it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join([tree, *path.parent.relative_to(folder).parts])
        for tree, folder in TREES.items()
        for path in folder.rglob("*.py")
    }
    assert set(settings["packages"]) == found


# -- what imports what -------------------------------------------------------------------


def modules_in(trees):
    """Files by the names of their modules; `trees` are folders by the names of their packages."""
    found = {}
    for package, folder in trees.items():
        for path in [*folder.rglob("*.py"), *folder.rglob("*.pyx")]:
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            found[".".join([package, *parts])] = path
    return found


def import_graph(trees):
    """For every module those that it imports: at its top, in functions, or for types alone."""
    modules = modules_in(trees)
    graph = {}
    for module, path in modules.items():
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        graph[module] = set()
        for dots, name, taken in imports(path):
            base = resolve_name("." * dots + name, package)
            for target in [f"{base}.{x}" for x in taken] or [base]:
                if target not in modules:  # a function or a class, say, of the module itself
                    target = base
                if target in modules and target != module:
                    graph[module].add(target)
    return graph


def circle_in(graph):
    """Modules that import each other in a circle, each the next and the last the first; or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def arrows_upwards(graph, below="nqm_fast.kernels"):
    """Imports by a package or its modules of what is not a part of it."""
    inside = {name for name in graph if name == below or name.startswith(f"{below}.")}
    return sorted((a, b) for a in inside for b in graph[a] - inside)


def test_no_modules_import_each_other_in_a_circle():
    """Imports in functions and those for types alone count as well."""
    circle = circle_in(import_graph(TREES))
    assert not circle, " imports ".join(circle)


def test_kernels_import_nothing_of_the_package_above():
    assert arrows_upwards(import_graph(TREES)) == []


@pytest.fixture
def made_up(tmp_path):
    """Writes the files of a small package, and gives its graph."""

    def write(**files):
        usual = {"nqm_fast/__init__": "", "kernels/__init__": "", "kernels/cpu": "import numpy"}
        for name, text in (usual | files).items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return import_graph(
            {"nqm_fast": tmp_path / "nqm_fast", "nqm_fast.kernels": tmp_path / "kernels"}
        )

    return write


def test_a_graph_is_what_files_import(made_up):
    graph = made_up(
        **{
            "nqm_fast/__init__": "from .risk import expected_risk",
            "nqm_fast/risk": "import math\nfrom . import rates\nfrom .kernels.cpu import BACKEND",
            "nqm_fast/rates": "def f():\n    import nqm_fast.kernels",
            "kernels/cpu": "from . import noise",
            "kernels/noise": "from . import cpu_level as level\nfrom . import VERSION",
        }
    )
    assert graph == {
        "nqm_fast": {"nqm_fast.risk"},
        "nqm_fast.risk": {"nqm_fast.rates", "nqm_fast.kernels.cpu"},
        "nqm_fast.rates": {"nqm_fast.kernels"},
        "nqm_fast.kernels": set(),
        "nqm_fast.kernels.cpu": {"nqm_fast.kernels.noise"},
        "nqm_fast.kernels.noise": {"nqm_fast.kernels"},
    }
    assert circle_in(graph) == []
    assert arrows_upwards(graph) == []


def test_a_circle_for_types_alone_is_seen(made_up):
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .{} import X"
    graph = made_up(
        **{
            "nqm_fast/problem": "from .schedules import Schedule",
            "nqm_fast/schedules": "def f():\n    from . import risk",
            "nqm_fast/risk": for_types.format("problem"),
        }
    )
    circle = circle_in(graph)
    assert circle[0] == circle[-1]
    assert {f"nqm_fast.{x}" for x in ("problem", "schedules", "risk")} == set(circle)
    for importer, imported in pairwise(circle):
        assert imported in graph[importer]


@pytest.mark.parametrize(
    "text",
    ["from ..problem import Problem", "def f():\n    import nqm_fast.problem", "from .. import X"],
)
def test_an_arrow_upwards_is_seen(made_up, text):
    graph = made_up(**{"nqm_fast/problem": "", "kernels/gpu": text})
    ((importer, imported),) = arrows_upwards(graph)
    assert importer == "nqm_fast.kernels.gpu"
    assert imported == ("nqm_fast" if text.endswith("X") else "nqm_fast.problem")
    assert circle_in(graph) == []


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_imports_within_the_kernels_are_relative(path):
    """Kernels have a second name in the checkout, `kernels`, by which the extension is built."""
    for dots, name, _ in imports(path):
        assert dots <= len(path.relative_to(ROOT).parts) - 1
        assert name.split(".")[0] != "nqm_fast"


# -- what importing loads ----------------------------------------------------------------


@pytest.mark.parametrize("module", ["nqm_fast", "nqm_fast.kernels", "nqm_fast.kernels.reference"])
def test_importing_loads_nothing_heavy(module):
    loaded = printed(f"import {module}, sys; print(*sys.modules)").split()
    heavy = {"numba", "llvmlite", "matplotlib", "scipy", "sklearn", "rich"}
    heavy |= {"h5py", "pydantic", "filelock", "psutil"}
    assert not heavy & set(loaded)


def test_describing_a_problem_loads_nothing_heavy():
    code = (
        "import nqm_fast as nqm, sys\n"
        "nqm.Problem.power_law(10**9); nqm.SGD(nqm.schedules.Cosine(1.0, 100), momentum=0.9)\n"
        "print(*sys.modules)"
    )
    assert not {"numba", "matplotlib", "scipy"} & set(printed(code).split())


def test_kernels_have_a_second_name_in_the_checkout():
    """Kernels can be imported as `kernels` from the checkout, as the extension's build does."""
    modules = ["kernels.reference", "kernels.exact.vectorized", "kernels.codegen"]
    modules += ["kernels.exact.moments", "kernels.numba.backend"] * bool(find_spec("numba"))
    modules += ["kernels.cuda.disassembly"] * bool(find_spec("numba_cuda"))
    code = (
        f"import {', '.join(modules)}; print(kernels.__file__); print(kernels.reference.__name__)"
    )
    path, name = printed(code, cwd=ROOT).splitlines()
    assert Path(path).resolve() == ROOT / "kernels" / "__init__.py"
    assert name == "kernels.reference"


def test_kernels_are_part_of_the_package():
    from nqm_fast import kernels

    assert kernels.__name__ == "nqm_fast.kernels"


# -- compile options ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PUBLIC, *KERNELS], ids=name_of)
def test_one_module_owns_the_compile_options(path):
    """One module owns the options for processors, and one those for GPUs.

    One more knows how Numba keeps what it has compiled.
    """
    if path in (*JIT, CACHE):
        return
    modules = {name.split(".")[0] for dots, name, _ in imports(path) if not dots}
    assert not {"numba", "llvmlite"} & modules
    found = [
        ast.unparse(node)
        for node in ast.walk(source(path))
        if {getattr(node, "id", None), getattr(node, "attr", None)} & DECORATORS
    ]
    assert set(found) <= {"jax.jit", "self.jax.jit"}  # has no options of ours


@pytest.mark.parametrize("path", [*PUBLIC, *KERNELS], ids=name_of)
def test_one_module_imports_cuda(path):
    """Only one module would have to change for a successor of numba-cuda."""
    names = [name for dots, name, _ in imports(path) if not dots]
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


# -- the map of the house -------------------------------------------------------------------


def map_of_the_house():
    return (ROOT / "CONTRIBUTING.md").read_text().partition("## The house")[2].split("```")[1]


def drawn_files(text):
    """Every file that a map draws, by the name of its module, with the number of the line."""
    return [drawn for drawn in _drawn(text) if not drawn[0].endswith("/")]


def _drawn(text):
    """Files and folders in their order, by the names of modules, folders with a slash."""
    found, folders = [], []
    for number, line in enumerate(text.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.sub(r"(?<!,)  +[^ ].*", "", line.lstrip())  # what it is comes after two spaces
        for name in re.findall(r"\w+/|\w+\.pyx?", names):
            folders = [*folders[:depth], *[name[:-1]] * name.endswith("/")]
            file = [] if name.endswith("/") else [name.partition(".")[0]]
            found.append((".".join([*folders, *file]) + "/" * name.endswith("/"), number))
    return found


def lines_of_the_map(text):
    """The line of every file and folder that a map draws, by the names of modules.

    Files of one line follow each other. A package's own file counts where its folder ends.
    """
    found = {}
    for name, number in _drawn(text):
        parts = name.rstrip("/").split(".")
        for end in range(1, len(parts) + 1):
            found[".".join(parts[:end])] = number
    return {name.removeprefix("nqm_fast."): number for name, number in found.items()}


def against_the_map(graph, text):
    """Imports of what a map draws below the importing module, which nothing should know."""
    lines = lines_of_the_map(text)

    def line(module):
        name = module.removeprefix("nqm_fast.")
        while name not in lines:  # of files like each other, only the folder is drawn
            name = name.rpartition(".")[0]
        return lines[name]

    return sorted(
        (a, b)
        for a, others in graph.items()
        for b in others
        if a.startswith("nqm_fast.")
        and b.startswith("nqm_fast.")
        and a.count(".kernels") == b.count(".kernels")
        if line(b) > line(a)
    )


def test_the_map_of_the_house_goes_upwards():
    """A line of the map uses only lines above it, so that folders too are no circles."""
    wrong = against_the_map(import_graph(TREES), map_of_the_house())
    assert not wrong, ", ".join(f"{a} imports {b}" for a, b in wrong)


def test_an_arrow_against_the_map_is_seen():
    text = """
nqm_fast/
  problem.py     the problem
  exact/         expected risk
    risk.py, tuning.py  what they return
  figures/       one file for each
    style.py     colours
"""
    assert against_the_map(
        {
            "nqm_fast": {"nqm_fast.exact.tuning"},
            "nqm_fast.problem": {"nqm_fast.exact.risk"},
            "nqm_fast.exact": {"nqm_fast.exact.tuning"},
            "nqm_fast.exact.tuning": {"nqm_fast.exact.risk", "nqm_fast.figures.ema"},
            "nqm_fast.figures.ema": {"nqm_fast.figures.style", "nqm_fast.problem"},
        },
        text,
    ) == [
        ("nqm_fast.exact.tuning", "nqm_fast.figures.ema"),
        ("nqm_fast.problem", "nqm_fast.exact.risk"),
    ]


@cache
def files_of_the_map():
    """Every file that the map draws, by the name of its module, with the number of its lines."""
    return Counter(name for name, _ in drawn_files(map_of_the_house()))


@pytest.mark.parametrize("path", [*PUBLIC, *KERNELS], ids=name_of)
def test_the_map_of_the_house_has_every_file_once(path):
    """CONTRIBUTING.md has a line for each; figures, tasks, commands are files like each other."""
    if path.parent.name in ("figures", "commands", "tasks") and path.name != "base.py":
        return
    if path.name == "__init__.py":
        return
    assert files_of_the_map()[".".join(path.relative_to(ROOT).with_suffix("").parts)] == 1


def test_the_map_of_the_house_has_no_other_file():
    there = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in [*PUBLIC, *KERNELS]}
    drawn = {name for name in files_of_the_map() if name.startswith(("nqm_fast.", "kernels."))}
    assert drawn <= there | {"kernels.cython_cpu"}


# -- the names of tests -----------------------------------------------------------------------


def test_names_of_tests_are_the_same_in_every_process(request):
    """Processes that share the tests compare their names: no content of a file, no address."""
    for item in request.session.items:
        assert item.nodeid.isprintable()
        assert "\\x" not in item.nodeid
        assert " at 0x" not in item.nodeid
