"""The extension module; everything else is in pyproject.toml.

It is optional: without a C compiler the package is installed without it. Environment variables:
NQM_REQUIRE_EXT=1 makes a failed build an error, NQM_NO_EXT=1 skips it, and NQM_ABI3=1 builds one
wheel for all later versions of Python.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import CCompilerError, PlatformError

ROOT = Path(__file__).parent
KEPT = ROOT / "build" / "objects"
"""Where compiled kernels are kept: installing again, with other extras, would compile them anew."""


def is_doubtful(flag: str) -> bool:
    """Whether a flag of the environment could change results."""
    if flag in (*LEVELS_OF_OPTIMISATION, "-fopenmp"):
        return False
    is_known = flag.startswith(HARMLESS)
    return "crtfastmath" in flag or (flag.startswith(DOUBTFUL) and not is_known)


def without_doubtful(command: list[str]) -> list[str]:
    """Return a compiler's command without the flags that could change results."""
    return [flag for flag in command if not is_doubtful(flag)]


def asked(name: str) -> bool:
    """Whether an environment variable is set."""
    return os.environ.get(name, "0") not in ("", "0")


# Nothing that may change a result, and no contraction of a product and a sum into one operation.
# Errno and traps are not looked at, and would keep square roots and choices out of vectors.
EXACT = ["-std=gnu11", "-O3", "-fno-fast-math", "-ffp-contract=off", "-fwrapv"]
EXACT += ["-fno-math-errno", "-fno-trapping-math"]
# Flags of the environment (CFLAGS, LDFLAGS, CC) that begin like this could change results, of the
# extension or of the whole process: a library that was linked with -ffast-math or -Ofast tells the
# processor, when it is loaded, to flush small numbers to zero. Only these are let through.
DOUBTFUL = ("-O", "-f", "-m", "-X", "--param", "-specs", "-Wp,-O", "@")
LEVELS_OF_OPTIMISATION = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og")
HARMLESS = (
    "-fPIC", "-fpic", "-fPIE", "-fpie", "-fstack-",
    "-fsanitize", "-fno-sanitize", "-fomit-frame-pointer", "-fno-omit-frame-pointer", "-fdebug-",
    "-ffile-prefix-map", "-fmacro-prefix-map", "-fvisibility", "-fwrapv", "-fno-strict-",
    "-fcf-protection", "-fno-semantic-interposition", "-fno-plt", "-fexceptions", "-fdiagnostics-",
    "-fcommon", "-fno-common", "-fprofile-arcs", "-ftest-coverage", "-m64",
    "-march=", "-mtune=", "-mcpu=", "-mabi=", "-mmacosx-version-min=", "-mbranch-protection=",
)  # fmt: skip
# of code that is generated; what a compiler does not know of these it does not mind
QUIET = ["-g0", "-Wno-unused-function", "-Wno-unused-variable", "-Wno-unused-but-set-variable"]
QUIET += ["-Wno-parentheses-equality"]
# GCC compares pointers before it works on vectors, by default only a few
HELPFUL = ["--param=vect-max-version-for-alias-checks=1000"]
# bits are counted in vectors, not one number at a time by an instruction
LEVELS = {
    "nqm_v3": ["-march=x86-64-v3", "-mno-popcnt"],
    "nqm_v4": ["-march=x86-64-v4", "-mno-popcnt", "-mprefer-vector-width=512"],
}

OPENMP = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
SUPPORTS = 'int main(void) { return __builtin_cpu_supports("x86-64-v4"); }\n'
NOTHING = "int main(void) { return 0; }\n"

MISSING = """
nqm_fast is installed without its compiled extension: {error}
The backends numba and numpy remain. The extension needs a C compiler, GCC or Clang.
"""


class Build(build_ext):
    """Translate the kernels to C, compile them for every level of processors, link the module."""

    def build_extensions(self) -> None:
        """Take doubtful flags out of the commands that all steps begin with."""
        for step in ("preprocessor", "compiler", "compiler_so", "linker_so", "linker_exe"):
            command = getattr(self.compiler, step, None)
            if command:
                setattr(self.compiler, step, without_doubtful(command))
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """Build it, or say what is missing."""
        try:
            self.translate_and_compile(ext)
        except (CCompilerError, PlatformError, ImportError, OSError) as error:
            if asked("NQM_REQUIRE_EXT"):
                raise
            self.warn(MISSING.format(error=error))

    def translate_and_compile(self, ext: Extension) -> None:
        """The parts in turn."""
        sys.path.insert(0, str(ROOT))  # wherever this is run
        from Cython.Build import cythonize

        from kernels import codegen

        if self.compiler.compiler_type == "msvc":
            raise PlatformError("Microsoft's compiler is not supported")
        made = Path(self.build_temp, "native").resolve()
        codegen.write(made)
        flags = EXACT + QUIET + [flag for flag in HELPFUL if self.accepts(NOTHING, [flag])]
        levels = self.levels()
        if len(levels) > 1:
            ext.define_macros.append(("NQM_X86_LEVELS", "1"))
        print("levels of processors:", *levels)
        if self.accepts(OPENMP, ["-fopenmp"]):
            print("with OpenMP")
            ext.extra_compile_args.append("-fopenmp")
            ext.extra_link_args.append("-fopenmp")

        def compiled(name: str) -> str:
            own = flags + levels[name]
            kept = KEPT / f"{name}-{self.digest(made, own)}.o"
            if not kept.exists():
                (object_file,) = self.compiler.compile(
                    [str(made / "native.c")],
                    output_dir=str(made / name),
                    macros=[("NQM_LEVEL", name)],
                    extra_postargs=own,
                )
                KEPT.mkdir(parents=True, exist_ok=True)
                shutil.copy(object_file, f"{kept}.{os.getpid()}")
                Path(f"{kept}.{os.getpid()}").replace(kept)
            return str(kept)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects += pool.map(compiled, levels)
        ext.include_dirs.append(str(made))
        (module,) = cythonize([ext], include_path=[str(made)], build_dir=str(made), quiet=True)
        ext.sources = module.sources
        super().build_extension(ext)

    def digest(self, made: Path, flags: list[str]) -> str:
        """Return a digest of all that decides what the kernels are compiled to."""
        command = list(self.compiler.compiler_so)
        version = subprocess.run([command[0], "--version"], capture_output=True).stdout
        content = hashlib.sha256(repr([*command, *flags]).encode() + version)
        for file in sorted(made.glob("*.[ch]")):
            content.update(file.read_bytes())
        return content.hexdigest()[:16]

    def levels(self) -> dict[str, list[str]]:
        """Levels of processors that there is a compiler for, and its flags."""
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return {"nqm_plain": []}
        levels = {"nqm_plain": ["-march=x86-64"]}  # also where CFLAGS ask for more
        if self.accepts(SUPPORTS, []) and all(
            self.accepts(NOTHING, flags) for flags in LEVELS.values()
        ):
            levels |= LEVELS
        return levels

    def accepts(self, text: str, flags: list[str]) -> bool:
        """Whether a program can be compiled and linked with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "try.c")
            source.write_text(text)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=[*flags, "-Werror"]
                )
                program = str(Path(folder, "try"))
                self.compiler.link_executable(objects, program, extra_postargs=flags)
            except CCompilerError:
                return False
        return True


class EditableWheel(editable_wheel):
    """An editable installation that type checkers see too.

    They follow paths in .pth files, but do not run setuptools' code that finds the packages.
    """

    def _install_namespaces(self, installation_dir: str, pth_prefix: str) -> None:
        """Write the path to the checkout; this is called where an own .pth file belongs."""
        super()._install_namespaces(installation_dir, pth_prefix)
        Path(installation_dir, f"{pth_prefix}-types.pth").write_text(f"{ROOT}\n", encoding="utf-8")


abi3 = asked("NQM_ABI3")
extension = Extension(
    "nqm_fast.kernels.cython_cpu",
    ["kernels/cython_cpu.pyx"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if abi3 else [],
    extra_compile_args=[*(flag for flag in EXACT if flag != "-O3"), "-g0"],
    libraries=[] if os.name == "nt" else ["m"],
    optional=not asked("NQM_REQUIRE_EXT"),
    py_limited_api=abi3,
)
setup(
    ext_modules=[] if asked("NQM_NO_EXT") else [extension],
    cmdclass={"build_ext": Build, "editable_wheel": EditableWheel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
