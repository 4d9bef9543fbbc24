"""The kernels as plain Python functions, whether Numba is installed or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parents[1]
_one_at_a_time = Lock()  # the names of modules belong to the whole process
NAME = "_nqm_fast_kernels_as_plain_python"  # the package under which they are imported
PACKAGES = ("", ".numba", ".exact")
JIT = "numba.jit"


def _jit_stand_in() -> Any:
    """Return a stand-in for `numba.jit`, whose decorators only note what a translator must know."""
    module: Any = ModuleType(f"{NAME}.{JIT}")
    module.inline = set()

    def inlined(function: Any) -> Any:
        module.inline.add(function)
        return function

    module.choices = {}

    def one_of(if_empty: Any, otherwise: Any) -> Any:
        def choose(switch: Any, *more: Any) -> Any:
            return (otherwise if switch else if_empty)(*more)

        module.choices[choose] = if_empty, otherwise
        return choose

    module.one_of = one_of
    module.inlined = inlined
    module.kernel = module.parallel_kernel = module.known_length = lambda function: function
    module.uncached_inlined = lambda _: module.inlined
    module.uncached_kernel = lambda _: module.kernel
    module.replace_component = lambda items, at, item: (*items[:at], item, *items[at + 1 :])
    module.fma = lambda x, y, z: x * y + z  # for float64 alone, where the last bit does not matter
    module.product_error = _product_error
    module.prange, module.threads = range, None
    return module


def _product_error(x: Any, y: Any, product: Any) -> Any:
    """Return what rounding has taken from a product, from halves of digits (Dekker 1971)."""

    def halves(z: Any) -> tuple[Any, Any]:
        scaled = 134217729.0 * z  # 2^27 + 1
        high = scaled - (scaled - z)
        return high, z - high

    (a, a_low), (b, b_low) = halves(x), halves(y)
    return ((a * b - product) + a * b_low + a_low * b) + a_low * b_low


def load(
    names: tuple[str, ...], loader: Callable[[str, str], Loader] = SourceFileLoader
) -> dict[str, ModuleType]:
    """Import modules of kernels, each after those it imports, under a name of their own."""
    with _one_at_a_time:
        return _loaded(names, loader)


def _loaded(names: tuple[str, ...], loader: Callable[[str, str], Loader]) -> dict[str, ModuleType]:
    """Import the modules, and forget their names again."""
    for package in PACKAGES:
        spec = ModuleSpec(f"{NAME}{package}", None, is_package=True)
        spec.submodule_search_locations = [str(FOLDER / package[1:])]
        sys.modules[spec.name] = module_from_spec(spec)
    sys.modules[f"{NAME}.{JIT}"] = _jit_stand_in()
    try:
        for name in names:
            full = f"{NAME}.{name}"
            path = FOLDER.joinpath(*name.split(".")).with_suffix(".py")
            found = spec_from_loader(full, loader(full, str(path)))
            assert found is not None
            assert found.loader is not None
            sys.modules[full] = module_from_spec(found)
            found.loader.exec_module(sys.modules[full])
        return {name: sys.modules[f"{NAME}.{name}"] for name in (JIT, *names)}
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]
