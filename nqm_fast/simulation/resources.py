"""What a run is carried out on: a backend, and its threads or devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.contract import Backend
from ..parallel import cores
from ..validation import InputError, any_array, choice, integer, shown


@dataclass(frozen=True)
class Resources:
    """A backend with its name, and the threads and GPUs that it may use."""

    name: str
    backend: Backend
    threads: int
    devices: tuple[int, ...]

    @property
    def workers(self) -> int | tuple[int, ...]:
        """As the contract of the kernels has them."""
        return self.devices or self.threads

    @property
    def facts(self) -> dict[str, Any]:
        """For a run's statistics."""
        found = {"backend": self.name, "threads": self.threads}
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
        found = kernels.load_backend(name)
    except kernels.BackendError as error:
        raise InputError(str(error)) from None
    return Resources(name, found, count, _devices(name, found, devices))


def _backend(name: Any) -> str:
    choice("backend", name, ("auto", *kernels.REGISTRY))
    present = kernels.present_backends()
    if name != "auto" and not kernels.is_installed(name):
        raise InputError(
            f"backend={name!r} is not installed: {kernels.REGISTRY[name].cure}; or use one of "
            f"{', '.join(present)}"
        )
    return present[0] if name == "auto" else str(name)


def _devices(name: str, backend: Backend, devices: Any) -> tuple[int, ...]:
    """Numbers of GPUs, the first if nothing is said."""
    found = backend.devices()
    if devices is None:
        return (0,) if found else ()
    if not found:
        raise InputError(
            f"devices must be left out with backend={name!r}, but are {shown(devices)}; "
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
