"""The resources of a run: a backend, and the threads or devices that it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..foundation.validation import InputError, any_array, integer, shown
from ..kernels.contract import Backend, Load
from ..machine.backends import backend_name
from ..machine.parallel import cores


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


@dataclass(frozen=True)
class Wanted:
    """The resources that a user wants; the name of the backend may still be "auto"."""

    name: str
    threads: int
    devices: Any
    is_named: bool = False
    """Whether the user has named the backend in this call, not in the environment."""

    def resources(self, load: Load) -> Resources:
        """Choose the backend by the size of the run, if the user has not, and get it ready.

        Raises
        ------
        InputError
            If it does not work here.
        """
        try:
            if self.name == "auto":
                name, backend = kernels.soonest_backend(load)
            else:
                name, backend = self.name, kernels.prepared_backend(self.name, self.threads)
        except kernels.BackendError as error:
            raise InputError(str(error)) from None
        return Resources(name, backend, self.threads, _device_numbers(name, backend, self.devices))


def as_resources(backend: Any, threads: Any, devices: Any, *, here: bool = True) -> Wanted:
    """Check the arguments of `simulate` that choose resources, of this machine or of others.

    Raises
    ------
    InputError
        If they are not allowed, or what they name is not there.
    """
    count = cores() if threads is None else integer("threads", threads, least=1)
    wanted = Wanted(backend_name(backend), count, devices, backend != "auto")
    if here and wanted.name != "auto":  # it is used whatever the run
        wanted.resources(Load((), 0, 1, count, False, 0.0))
    return wanted


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
