"""The one place that sets Numba's compile options, and says so while it compiles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
from numba import extending, types
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils, event
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.np.ufunc import parallel

from .. import noise, rules
from .. import threads as kernel_threads
from ..notice import say_once
from .cache import KernelCache
from .folder import folder

Function = TypeVar("Function", bound=Callable[..., Any])

# No fastmath: it deletes NaN checks and reorders sums. The NumPy error model turns
# x / 0 into inf instead of a branch that would stop loops from being vectorised.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
UNCACHED = "not cached, as no folder for the result can be written; NUMBA_CACHE_DIR names another"


_register: Any = event.register
config: Any = numba.config  # a module whose attributes are made at run time
if config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, so that Numba compiles nothing: unset it")


def kernel(function: Function, **more: bool) -> Function:
    """Compile ``function`` for the CPU on its first call, keeping the result on disk."""
    dispatcher = numba.njit(**OPTIONS | more)(function)
    where = folder()
    if where is not None:
        dispatcher._cache = KernelCache(function, where)
    return cast(Function, dispatcher)


def is_ready(kernel: Any, *first: Any) -> bool:
    """Whether there is code for arguments that begin with these values, compiled now or before."""
    wanted = tuple(numba.typeof(value) for value in first)
    if any(types[: len(wanted)] == wanted for types in kernel.overloads):
        return True
    if not isinstance(kernel._cache, KernelCache):
        return False
    here = kernel.targetctx.codegen().magic_tuple()
    return any(
        types[: len(wanted)] == wanted and processor == here
        for types, processor in kernel._cache.types()
    )


def uncached_kernel(name: str, **more: bool) -> Callable[[Function], Function]:
    """Compile a function that is made anew in every process, so that no cache would find it.

    Its code is cached as a part of the kernels that call it, under the function's own name and this
    one, which tells it from others that the same lines make. Two kernels from the cache that have
    different functions under one name would both call the first, as the linker knows only names.
    """

    def decorate(function: Function) -> Function:
        _give_name(function, name)
        return cast(Function, numba.njit(**OPTIONS | more)(function))

    return decorate


def uncached_inlined(name: str) -> Callable[[Function], Function]:
    """Compile such a function as `inlined` does."""
    return uncached_kernel(name, forceinline=True)


_given_names: set[tuple[str, str]] = set()


def _give_name(function: Any, name: str) -> None:
    """Give a function that is made in a function a name of its own."""
    function.__qualname__ += f"[{name}]"
    key = function.__module__, function.__qualname__
    if key in _given_names:
        raise ValueError(f"{key[1]} of {key[0]} is made twice under one name")
    _given_names.add(key)


def parallel_kernel(function: Function) -> Function:
    """Compile like `kernel`, with loops over `prange` on threads; call it within `threads`."""
    return kernel(function, parallel=True)


def inlined(function: Function) -> Function:
    """Compile a function that must become a part of its callers' loops."""
    return kernel(function, forceinline=True)


prange = numba.prange
replace_component = tuple_setitem
"""``replace_component(state, a, x)`` is the tuple with component a replaced, in unrolled loops."""


_one_at_a_time = threading.Lock()  # a threading layer may not be entered from two threads


def team(wanted: int) -> int:
    """Return how many threads a parallel kernel may use, where `wanted` would be of use.

    Numba starts all of its threads, or would wait for ever for one that cannot be started.

    Raises
    ------
    ValueError
        If the threading layer that NUMBA_THREADING_LAYER names is not there.
    """
    if min(wanted, config.NUMBA_NUM_THREADS) < 2:
        return 1
    if kernel_threads.team(config.NUMBA_NUM_THREADS) < config.NUMBA_NUM_THREADS:
        return 1
    with _one_at_a_time:
        parallel._launch_threads()
    return min(wanted, int(config.NUMBA_NUM_THREADS))


@contextmanager
def threads(count: int) -> Generator[None]:
    """Let parallel kernels within use `count` threads, of which `team` has said that they may."""
    with _one_at_a_time:
        usual = numba.get_num_threads()
        numba.set_num_threads(count)
        try:
            yield
        finally:
            numba.set_num_threads(usual)


def _fma(_: Any, x: Any, y: Any, z: Any) -> Any:
    """Give Numba ``fma(x, y, z)``, which is ``x * y + z`` rounded once, as an instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    kind: Any = types.float32 if x == y == z == types.float32 else types.float64
    return kind(x, y, z), generate


fma: Any = extending.intrinsic(_fma)


WIDEST = '"prefer-vector-width"="512"'
"""LLVM would leave half of the widest registers of Intel's processors unused, for their clocks."""


def known_length(function: Callable[[tuple[int, ...]], int]) -> Any:
    """Have kernels take what a function says of a tuple as a number that they know.

    A kernel that asks for it has loops of that length, which use the widest registers there are.
    """

    def typed(_: Any, leaves: Any) -> Any:
        length = function((0,) * leaves.count)

        def generate(context: Any, builder: Any, signature: Any, _: Any) -> Any:
            set.add(builder.function.attributes, WIDEST)  # which llvmlite does not know
            return context.get_constant(signature.return_type, length)

        return types.int64(leaves), generate

    return extending.intrinsic(typed)


def _call_address(_: Any, address: Any, arguments: Any) -> Any:
    """Give Numba a call of compiled code by its address, with a tuple of arguments.

    Their types must be those that the code was compiled for, and it returns None.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        convention, kinds = context.call_conv, tuple(signature.args[1])
        code = convention.get_function_type(types.none, kinds).as_pointer()
        status, result = convention.call_function(
            builder,
            builder.inttoptr(values[0], code),
            types.none,
            kinds,
            cgutils.unpack_tuple(builder, values[1]),
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result

    return types.none(address, arguments), generate


call_address: Any = extending.intrinsic(_call_address)

_addresses: dict[tuple[Any, bytes], int] = {}


def address_for(kernel: Any, *arguments: Any) -> int:
    """Return the address of a kernel's code for arguments like these, after compiling it.

    Addresses are kept by what Numba's own calls look types up with, as finding the types of all
    arguments takes half a millisecond.
    """
    key = kernel, compute_fingerprint(arguments)
    if key not in _addresses:
        types = tuple(numba.typeof(argument) for argument in arguments)
        kernel.compile(types)
        code = kernel.overloads[types]
        _addresses[key] = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
    return _addresses[key]


@inlined
def product_error(x: Any, y: Any, product: Any) -> Any:
    """Return what rounding has taken from a product of two float64 numbers."""
    return fma(x, y, -product)


def one_of(if_empty: Function, otherwise: Function) -> Callable[..., Any]:
    """Return a function of a tuple and more, which calls one of two kernels with what is more.

    It is the first if the tuple is empty. Only that one is compiled, where both branches of an
    ``if`` would be.
    """

    def choose(switch: Any, *more: Any) -> Any:
        return (otherwise if switch else if_empty)(*more)

    def calling(chosen: Any) -> Any:
        def call(switch, *more):  # type: ignore[no-untyped-def]
            return chosen(*more)

        call.__qualname__ += f"[{chosen.__name__}]"
        return call

    options: dict[str, Any] = {"jit_options": OPTIONS}
    extending.overload(choose, **options)(
        lambda switch, *more: calling(otherwise if switch.count else if_empty)
    )
    return choose


# The functions that backends share are compiled as they are, except for these two, which NumPy
# needs in another form.
_INLINED: dict[str, Any] = {"jit_options": OPTIONS | {"forceinline": True}}
extending.overload(noise.fma, **_INLINED)(lambda x, y, z: lambda x, y, z: fma(x, y, z))
extending.overload(noise.select, **_INLINED)(
    lambda condition, x, y: lambda condition, x, y: x if condition else y
)
for _shared in (*noise.SHARED, *rules.SHARED):
    extending.register_jitable(**OPTIONS, forceinline=True)(_shared)


class _Notice(event.Listener):
    """Tell the terminal about the first compilation of our kernels, which takes seconds."""

    def on_start(self, compilation: event.Event) -> None:
        function = compilation.data["dispatcher"].py_func
        if function.__module__.startswith(__name__.rpartition(".")[0].rpartition(".")[0]):
            kept = "once; the result is cached" if folder() is not None else UNCACHED
            say_once(f"compiling the kernels ({kept}) ...")

    def on_end(self, _: event.Event) -> None:
        """Say nothing, since the result itself follows."""


_timing: Any = event.TimingListener  # times the outermost compilation, which may start others
clock = _timing()
_register("numba:compiler_lock", clock)
_register("numba:compile", _Notice())
