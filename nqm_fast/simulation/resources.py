"""What a run is carried out on: a backend, and its threads or devices."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.contract import holder
from ..parallel import cores
from ..validation import InputError, any_array, choice, integer, shown


@dataclass(frozen=True)
class Resources:
    """A backend, by name and as a module, with the threads and GPUs that it may use."""

    backend: str
    module: ModuleType
    threads: int
    devices: tuple[int, ...]

    @property
    def workers(self) -> int | tuple[int, ...]:
        """As the contract of the kernels has them."""
        return self.devices or self.threads

    @property
    def facts(self) -> dict[str, Any]:
        """For a run's statistics."""
        found = {"backend": self.backend, "threads": self.threads}
        return found | ({"devices": list(self.devices)} if self.devices else {})


def as_resources(backend: Any, threads: Any, devices: Any) -> Resources:
    """The machine that arguments of `simulate` stand for.

    Raises
    ------
    InputError
        If they are not allowed, or what they name is not there.
    """
    name = _backend(backend)
    count = cores() if threads is None else integer("threads", threads, least=1)
    try:
        module = kernels.load_backend(name)
    except kernels.BackendError as error:
        raise InputError(str(error)) from None
    return Resources(name, module, count, _devices(name, module, devices))


def _backend(name: Any) -> str:
    choice("backend", name, ("auto", *kernels.BACKENDS))
    present = kernels.present_backends()
    if name != "auto" and not kernels.is_installed(name):
        raise InputError(
            f"backend={name!r} is not installed: {kernels.BACKENDS[name].cure}; or use one of "
            f"{', '.join(present)}"
        )
    return present[0] if name == "auto" else str(name)


def _devices(backend: str, module: ModuleType, devices: Any) -> tuple[int, ...]:
    """Numbers of GPUs, the first if nothing is said."""
    found = holder(module).devices()
    if devices is None:
        return (0,) if found else ()
    if not found:
        raise InputError(
            f"devices must be left out with backend={backend!r}, but are {shown(devices)}; "
            "they are for backend='cuda'"
        )
    numbers = any_array(devices)
    there = range(len(found))
    good = numbers.dtype.kind in "iu" and numbers.ndim < 2 and numbers.size
    if not good or not np.isin(numbers, there).all():
        raise InputError(
            f"devices must be numbers of GPUs that are here ({', '.join(map(str, there))}), "
            f"not {shown(devices)}"
        )
    return tuple(numbers.ravel().tolist())
