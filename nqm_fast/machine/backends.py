"""The choice of a backend by an argument or by the environment."""

from __future__ import annotations

import os
from functools import wraps
from typing import Any, cast

from .. import kernels
from ..foundation.arithmetic import Function, in_usual_arithmetic
from ..foundation.validation import InputError, choice

VARIABLE = "NQM_BACKEND"
"""The environment variable whose backend is taken where an argument says "auto"."""


def backend_name(name: Any, *, exact: bool = False) -> str:
    """Check the name of a backend, which must be installed; "auto" is what the environment says.

    Backends that are used on request only cannot compute the exact model: there, such a one in the
    environment leaves the choice to us.

    Raises
    ------
    InputError
        If there is no such backend, or it is not installed.
    """
    all_names = ("auto", *kernels.REGISTRY)
    allowed = [
        x for x in all_names if x == "auto" or not (exact and kernels.REGISTRY[x].on_request)
    ]
    choice("backend", name, allowed)
    given = "backend"
    chosen = os.environ.get(VARIABLE, "").strip()
    if name == "auto" and chosen:
        name, given = choice(VARIABLE, chosen, all_names), VARIABLE
        if name not in allowed:
            return "auto"
    if name != "auto" and not kernels.is_installed(name):
        raise InputError(
            f"{given}={name!r} is not installed: {kernels.REGISTRY[name].cure}; or use one of "
            f"{', '.join(kernels.present_backends())}"
        )
    return str(name)


def takes_backend(function: Function) -> Function:
    """Run a public function of the exact model on the backend that its argument `backend` names.

    Within, "auto" is the backend of the function that calls.
    """

    @in_usual_arithmetic
    @wraps(function)
    def on_backend(*arguments: Any, backend: str = "auto", **named: Any) -> Any:
        if backend == "auto" and kernels.exact_model_is_placed():
            return function(*arguments, **named)
        with kernels.exact_model_on(backend_name(backend, exact=True)):
            try:
                return function(*arguments, **named)
            except kernels.BackendError as error:
                raise InputError(str(error)) from None

    return cast(Function, on_backend)
