"""The one place that imports `numba.cuda`: compile options, launches, and access to devices.

The kernels of `step`, `leap`, `start` and `reduce` are compiled through `kernel` and `device`
and started through `launch`, so that a successor of numba-cuda changes this module alone.
"""

from __future__ import annotations

import math
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import CodeType, SimpleNamespace
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import cuda as numba_cuda
from numba.cuda import compiler, dispatcher
from numba.cuda.core import config
from numpy.typing import DTypeLike, NDArray

from .. import noise, rules

Function = TypeVar("Function", bound=Callable[..., Any])

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether kernels run as Python threads, in the simulator (NUMBA_ENABLE_CUDASIM=1)."""

REGISTERS = 64  # for a thread: with these, half of the threads that a multiprocessor can hold fit
MORE_REGISTERS = 128  # for kernels that would spill otherwise: launched seldom, or with roots

# No fastmath: it flushes small numbers and approximates roots. No optimisation at link time: it
# decides anew about fused multiply-add. The simulator knows no options.
_KERNEL: dict[str, Any] = {"fastmath": False, "opt": True, "lto": False, "max_registers": REGISTERS}
_DEVICE: dict[str, Any] = {"fastmath": False, "forceinline": True}
if SIMULATED:
    from numba.cuda.simulator import kernel as simulator

    _KERNEL, _DEVICE = {}, {}


class _Simulator:
    """`numba.cuda` as a simulated kernel sees it.

    The simulator replaces the name ``cuda`` only in the module of the kernel, and device functions
    are in other modules.
    """

    def __getattr__(self, name: str) -> Any:
        context = simulator._get_kernel_context()
        if context and name == "shared":
            return _SimulatedMemory(context.shared._allocations)
        return getattr(context or numba_cuda, name)


class _SimulatedMemory(NamedTuple):
    """Memory that the threads of a simulated block share.

    The simulator's own looks whether an array exists and makes it if not, in two steps, between
    which another thread may make it too; then threads that should share an array have two.
    """

    arrays: dict[tuple[CodeType, int], NDArray[Any]]

    def array(self, shape: int, dtype: DTypeLike) -> NDArray[Any]:
        """Return the array that is asked for in the line of the caller, in one step."""
        caller = sys._getframe(1)
        return self.arrays.setdefault((caller.f_code, caller.f_lineno), np.empty(shape, dtype))


cuda: Any = _Simulator() if SIMULATED else numba_cuda

_seconds = 0.0


def compile_seconds() -> float:
    """Return the seconds spent on compiling in this process so far."""
    return _seconds


def kernel(function: Function, **more: Any) -> Function:
    """Compile `function` for GPUs when it is first launched."""
    # in two calls, `lto` would be lost
    return cast(Function, cuda.jit(function, **_KERNEL if SIMULATED else _KERNEL | more))


def large_kernel(function: Function) -> Function:
    """Compile a kernel that needs more registers: it runs seldom, or has roots and quotients."""
    return kernel(function, max_registers=MORE_REGISTERS)


def device(function: Function) -> Function:
    """Compile a function that becomes a part of the kernels that call it."""
    if SIMULATED:
        return function
    return cast(Function, cuda.jit(function, device=True, **_DEVICE))


@device
def read_at(x, i):  # type: ignore[no-untyped-def]
    """Return x[i]; an unsigned index spares the test for a negative one."""
    return x[np.uint64(i)]


@device
def write_at(x, i, value):  # type: ignore[no-untyped-def]
    """Set x[i] to a value, with an unsigned index."""
    x[np.uint64(i)] = value


@device
def square_root(x):  # type: ignore[no-untyped-def]
    """Return the correctly rounded square root of a float64."""
    return math.sqrt(x)


def available() -> None:
    """Check that there is a GPU.

    Raises
    ------
    ValueError
        If there is none, or no driver that works.
    """
    if SIMULATED:
        return
    if not cuda.is_available():
        error = cuda.cuda_error()
        if error is None and len(cuda.gpus):
            raise ValueError(
                "CUDA's compiler (libNVVM) is not found: run \"pip install 'nqm-fast[cuda13]'\""
            )
        reason, _, _ = " ".join(str(error or "there is no device").split()).partition(". ")
        raise ValueError(
            f"no NVIDIA GPU is found ({reason}); see what 'nvidia-smi' says, install NVIDIA's "
            "driver, or start a container with 'docker run --gpus all'"
        )
    try:
        cuda.current_context()  # it must exist when arrays are freed later
    except Exception as error:
        raise ValueError(f"the GPU cannot be used: {' '.join(str(error).split())}") from error


_process = os.getpid()


def check_process() -> None:
    """Check that this is the process in which CUDA was begun.

    Raises
    ------
    ValueError
        If it is a forked child of that, in which CUDA does not work.
    """
    if os.getpid() != _process:
        raise ValueError(
            "this process was forked from one that had begun with CUDA: start it with "
            "multiprocessing.get_context('spawn'), or use the GPU in children only"
        )


def device_names() -> list[str]:
    """Return the names of all devices that can be chosen."""
    if SIMULATED:
        return ["simulated by NumPy"]
    return [
        f"{gpu.name.decode() if isinstance(gpu.name, bytes) else gpu.name}, compute capability "
        f"{'.'.join(map(str, gpu.compute_capability))}"
        for gpu in cuda.gpus
    ]


def free_bytes(number: int) -> float:
    """Return the free bytes of a device's memory."""
    with cuda.gpus[number]:
        context = cuda.current_context()
        if not SIMULATED:
            context.memory_manager.deallocations.clear()  # free arrays that wait for it
        return float(context.get_memory_info()[0])


@contextmanager
def explained() -> Generator[None]:
    """Turn a device's error of full memory into a MemoryError that says what to do.

    Raises
    ------
    MemoryError
        If the device's memory is full.
    """
    try:
        yield
    except Exception as error:
        if "OUT_OF_MEMORY" not in str(error):
            raise
        raise MemoryError(
            "the GPU's memory is full: use fewer replicas or settings, keep_state=False, more "
            "devices, or wait for what else is running there"
        ) from error


# -- without contraction -----------------------------------------------------------------

_own = threading.local()
_compile_cuda = compiler.compile_cuda if not SIMULATED else None


def _compile_own(*arguments: Any, nvvm_options: Any = None, **more: Any) -> Any:
    """Compile like numba-cuda, but our kernels without contraction of ``x * y + z``.

    NVVM has an option for it, which numba-cuda does not pass on (its issue 118).
    """
    assert _compile_cuda is not None
    if getattr(_own, "compiling", False):
        nvvm_options = {**(nvvm_options or {}), "fma": False}
    return _compile_cuda(*arguments, nvvm_options=nvvm_options, **more)


if not SIMULATED:
    compiler.compile_cuda = dispatcher.compile_cuda = _compile_own

# Without "rn" the assembler would be free to contract; the kernels have no fused float64 at all.
CONTRACTED = re.compile(r"\bfma\.\w+\.f64|\b(?:add|sub|mul)(?:\.ftz)?\.f(?:32|64)\b")


@contextmanager
def _own_options() -> Generator[None]:
    """Compile within this context with the options of our kernels."""
    _own.compiling = True
    try:
        yield
    finally:
        _own.compiling = False


def _count(begin: float) -> None:
    """Add the seconds since `begin` to those spent on compiling."""
    global _seconds
    _seconds += time.perf_counter() - begin


def _check(name: str, assembly: str) -> None:
    """Refuse assembly with a contracted operation, or one that the assembler may contract."""
    if CONTRACTED.search(assembly):
        raise ValueError(
            f"this version of numba-cuda compiles {name} with other arithmetic than the contract's"
        )


_has_said = SIMULATED
_checked: set[Any] = set()  # compiled kernels whose assembly was checked


def launch(
    function: Any, blocks: tuple[int, ...], threads: int, stream: Any, *arguments: Any
) -> None:
    """Start a kernel on a stream; compile it first if these types of arguments are new."""
    with warnings.catch_warnings():
        # few blocks leave a GPU idle, as small problems do; simulated threads warn of overflow
        warnings.simplefilter("ignore", RuntimeWarning if SIMULATED else NumbaPerformanceWarning)
        configured = function[blocks, threads, stream]
        if SIMULATED:
            configured(*arguments)
            return
        if not function.overloads:
            _say_once()
        begin = time.perf_counter()
        with _own_options():
            configured(*arguments)
        for overload in function.overloads.values():
            if overload not in _checked:
                _check(function.py_func.__name__, overload.inspect_asm(None))
                _checked.add(overload)
                _count(begin)


def _say_once() -> None:
    """Tell the terminal about the first compilation of this process, which takes seconds."""
    global _has_said
    if not _has_said:
        _has_said = True
        sys.stderr.write("nqm_fast: compiling the kernels for the GPU ...\n")
        sys.stderr.flush()


class Compiled(NamedTuple):
    """A compiled kernel: assembly, machine code, and the assembler's report on resources."""

    assembly: str
    machine_code: bytes
    report: str


def signature(*examples: Any) -> Any:
    """Return the types of a kernel's arguments, given an example of each."""
    return tuple(map(typeof, examples))


def compiled(function: Any, types_of: Any, capability: tuple[int, int]) -> Compiled:
    """Compile a kernel as for a launch on GPUs of a compute capability, which need not be here."""
    from unittest import mock

    from cuda.core import Linker, LinkerOptions, ObjectCode

    device = SimpleNamespace(compute_capability=capability)
    context = SimpleNamespace(device=device)
    begin = time.perf_counter()
    with (
        mock.patch.object(dispatcher, "get_current_device", return_value=device),
        mock.patch.object(codegen, "devices", SimpleNamespace(get_context=lambda: context)),
        _own_options(),
    ):
        library = dispatcher._Kernel(
            function.py_func, types_of, **function.targetoptions
        )._codelibrary
        text, code = library.get_asm_str(), library.get_cubin()
    _count(begin)
    _check(function.py_func.__name__, text)
    suffix = "a" if capability >= (9, 0) else ""  # as numba-cuda chooses it
    options = LinkerOptions(
        arch=f"sm_{capability[0]}{capability[1]}{suffix}",
        ptxas_options=["-v"],
        max_register_count=function.targetoptions["max_registers"],
    )
    linker = Linker(ObjectCode.from_ptx(text.encode()), options=options)
    linker.link("cubin")
    return Compiled(text, bytes(code.code), linker.get_info_log())


def disassembler() -> str:
    """Return the path of NVIDIA's nvdisasm.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    """
    from cuda import pathfinder

    program = pathfinder.find_nvidia_binary_utility("nvdisasm")
    if program is None:
        raise FileNotFoundError("nvdisasm is missing: run 'pip install nvidia-cuda-nvdisasm'")
    return str(program)


# -- the functions that backends share, compiled as they are except for these four ----------

if not SIMULATED:
    from llvmlite import ir
    from numba import typeof
    from numba.cuda import codegen, extending, types
    from numba.cuda.core.errors import NumbaPerformanceWarning

    def _inverse_root(_: Any, x: Any) -> Any:
        """Give Numba the instruction for an approximate ``1 / sqrt(x)`` of a float32."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
            assembly = ir.InlineAsm(kind, "rsqrt.approx.ftz.f32 $0, $1;", "=f,f")
            return builder.call(assembly, arguments)

        return types.float32(types.float32), generate

    inverse_root: Any = extending.intrinsic(_inverse_root)

    _LEAST, _UP, _DOWN = np.float32(2.0**-96), np.float32(2.0**64), np.float32(2.0**-32)

    def _root(x):  # type: ignore[no-untyped-def]
        """Return the correctly rounded root; the inverse root is infinite for 0 and subnormal x."""
        small = x < _LEAST
        large = x * _UP if small else x
        s = noise.root_from(large, inverse_root(large))
        s = s * _DOWN if small else s
        return s if x > 0 else x

    _replacements: dict[Any, Any] = {
        noise.fma: lambda x, y, z: lambda x, y, z: cuda.fma(x, y, z),
        noise.select: lambda condition, x, y: lambda condition, x, y: x if condition else y,
        noise.root: lambda x: _root,
        rules.root_of: lambda x: lambda x: math.sqrt(x),
    }
    for _function, _replacement in _replacements.items():
        extending.overload(_function)(_replacement)
    for _shared in (*noise.SHARED, noise.root_from, *rules.SHARED):
        if _shared not in _replacements:
            extending.register_jitable(_shared)
