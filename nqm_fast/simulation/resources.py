"""The resources of a run: a backend, and the threads or devices that it uses."""

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
        """The numbers of the devices, or how many threads, as backends take them."""
        return self.devices or self.threads

    @property
    def stats(self) -> dict[str, Any]:
        """The entries of a run's statistics that name its resources."""
        stats = {"backend": self.name, "threads": self.threads}
        return stats | ({"devices": list(self.devices)} if self.devices else {})


def as_resources(backend: Any, threads: Any, devices: Any) -> Resources:
    """Check the arguments of `simulate` that choose resources, and load the backend.

    Raises
    ------
    InputError
        If they are not allowed, or what they name is not there.
    """
    name = _backend_name(backend)
    count = cores() if threads is None else integer("threads", threads, least=1)
    try:
        loaded = kernels.load_backend(name)
    except kernels.BackendError as error:
        raise InputError(str(error)) from None
    return Resources(name, loaded, count, _device_numbers(name, loaded, devices))


def _backend_name(name: Any) -> str:
    """Check that the backend is installed; "auto" is the first that is."""
    choice("backend", name, ("auto", *kernels.REGISTRY))
    present = kernels.present_backends()
    if name != "auto" and not kernels.is_installed(name):
        raise InputError(
            f"backend={name!r} is not installed: {kernels.REGISTRY[name].cure}; or use one of "
            f"{', '.join(present)}"
        )
    return present[0] if name == "auto" else str(name)


def _device_numbers(name: str, backend: Backend, devices: Any) -> tuple[int, ...]:
    """Check the numbers of the GPUs to use; by default it is the first, if there are any."""
    present = range(len(backend.devices()))
    if devices is None:
        return (0,) if present else ()
    if not present:
        raise InputError(
            f"devices must be left out with backend={name!r}, but are {shown(devices)}; "
            "they are for backend='cuda'"
        )
    numbers = any_array("devices", devices)
    whole_numbers = numbers.dtype.kind in "iu" and numbers.ndim < 2 and numbers.size
    if not whole_numbers or not np.isin(numbers, present).all():
        raise InputError(
            f"devices must be numbers of GPUs that are here ({', '.join(map(str, present))}), "
            f"not {shown(devices)}"
        )
    return tuple(numbers.ravel().tolist())
