"""The build's flags, and where the package is imported from."""

import shlex
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from helpers import python

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the checkout")

DANGEROUS = [
    "-ffast-math", "-Ofast", "-Ofast=1", "-funsafe-math-optimizations", "-fassociative-math",
    "-freciprocal-math", "-ffinite-math-only", "-fno-signed-zeros", "-ffp-contract=fast",
    "-mfpmath=387", "-mdaz-ftz", "-mpc32", "-mrecip", "-fsingle-precision-constant",
    "-fexcess-precision=fast", "-frounding-math", "-fapprox-func",
    "-fdenormal-fp-math=positive-zero", "-ffp-model=fast", "-mno-sse2", "-mfma", "-Xclang",
    "-Xlinker", "-fcx-limited-range", "-fno-honor-nans", "-specs=mine", "@flags", "-mllvm",
    "--param=x", "-fopenmp-simd-math", "-flto", "-fprofile-use", "-Wp,-Ofast",
    "-Wl,/usr/lib/crtfastmath.o", "crtfastmath.o",
]  # fmt: skip
HARMLESS = [
    "gcc", "-pthread", "-Wno-unused-result", "-Wsign-compare", "-DNDEBUG", "-g", "-fwrapv", "-O2",
    "-O3", "-Wall", "-fPIC", "-shared", "-I/usr/include", "-L/usr/lib", "-Wl,-rpath,/usr/lib",
    "-lm", "-fsanitize=address,undefined", "-march=native", "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer", "-fstack-protector-strong", "-m64", "-isystem", "/x",
    "-D_FORTIFY_SOURCE=2", "-ffile-prefix-map=/a=/b", "-arch", "arm64", "-undefined",
    "dynamic_lookup", "-bundle", "-Wl,-O1", "-fdebug-prefix-map=/a=/b", "-mtune=generic",
]  # fmt: skip


@pytest.fixture(scope="module")
def build():
    """The module setup.py, which does not set up here."""
    import setuptools

    usual, setuptools.setup = setuptools.setup, lambda **_: None
    try:
        spec = spec_from_file_location("nqm_fast_setup", ROOT / "setup.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        setuptools.setup = usual
    return module


@pytest.mark.parametrize("flag", DANGEROUS)
def test_no_flag_of_a_user_changes_arithmetic(build, flag):
    assert build.without_doubtful(["cc", flag, "-O2"]) == ["cc", "-O2"]


def test_other_flags_are_kept(build):
    assert build.without_doubtful(HARMLESS) == HARMLESS


def test_every_step_of_the_compiler_is_without_them(build, monkeypatch):
    """Whatever variable they come in; the compiler's commands are those that would be run."""
    from setuptools import Distribution

    for name in ("CFLAGS", "LDFLAGS", "CPPFLAGS"):
        monkeypatch.setenv(name, "-Ofast -ffast-math -g1")
    monkeypatch.setenv("CC", "gcc -ffast-math")
    monkeypatch.setenv("LDSHARED", "gcc -shared -Ofast")
    seen = []

    def stop(builder, *_):
        compiler = builder.compiler
        seen.extend([*compiler.compiler, *compiler.compiler_so, *compiler.linker_so])
        seen.extend(compiler.linker_exe)
        raise build.PlatformError("seen")

    monkeypatch.setattr(build.Build, "translate_and_compile", stop)
    monkeypatch.setenv("NQM_REQUIRE_EXT", "1")
    extension = build.Extension("x", ["x.c"], optional=False)
    command = build.Build(Distribution({"ext_modules": [extension]}))
    command.ensure_finalized()
    with pytest.raises(build.PlatformError, match="seen"):
        command.run()
    assert "-g1" in seen
    assert not {"-Ofast", "-ffast-math"} & set(seen)


def test_in_the_root_of_a_clone_beside_an_installed_copy(tmp_path):
    """There the kernels are not in the package's folder, but beside it."""
    for folder in ("nqm_fast", "kernels"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    code = (
        "import sys\n"
        "named = [(x, getattr(x, '__name__', '')) for x in sys.meta_path]\n"
        "sys.meta_path = [x for x, name in named if 'Editable' not in name]\n"
        "import nqm_fast as nqm\n"
        "from nqm_fast.kernels import noise\n"
        "print(nqm.__file__, noise.__file__, nqm.tune(nqm.Problem([1.0]), 8, 0.1).steps, sep='\\n')"
    )
    answer = python("-c", code, cwd=tmp_path, NQM_BACKEND="numpy").stdout.split()
    assert answer[0] == str(tmp_path / "nqm_fast" / "__init__.py")
    assert answer[1] == str(tmp_path / "kernels" / "noise.py")
    assert int(answer[2]) > 0


@pytest.mark.slow
def test_type_checkers_see_what_is_installed(tmp_path):
    """In an editable install they follow paths in .pth files, and run no code of setuptools."""
    pytest.importorskip("mypy")
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".git", "build", "*.so", "shared", "__pycache__"),
    )
    where = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", where], check=True)
    there = where / "bin" / "python"
    install = "-m pip install -q --no-deps --no-build-isolation"
    subprocess.run([there, "-m", "pip", "install", "-q", "setuptools>=77"], check=True)
    environment = {"NQM_NO_EXT": "1", "PATH": "/usr/bin:/bin"}
    (tmp_path / "user.py").write_text("import nqm_fast\nreveal_type(nqm_fast.SGD(0.1).power)\n")
    for kind in (["-e"], []):  # first from the checkout, then a wheel of it in its place
        command = [there, *shlex.split(install), *kind, source]
        subprocess.run(command, check=True, env=environment)
        found = subprocess.run(
            [sys.executable, "-m", "mypy", "--python-executable", there, "user.py"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert "import-not-found" not in found.stdout + found.stderr
        assert 'Revealed type is "float' in found.stdout.replace("builtins.", "")
