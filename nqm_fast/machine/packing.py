"""Pack problems, algorithms and schedules, also those of the user, as bytes for workers."""

from __future__ import annotations

import io
import pickle
from importlib.util import find_spec
from typing import Any

from ..foundation.messages import InputError, shown


class _Pickler(pickle.Pickler):
    """A pickler that refuses what only the script that runs defines."""

    def reducer_override(self, value: Any) -> Any:
        if getattr(value, "__module__", None) == "__main__" and hasattr(value, "__qualname__"):
            raise InputError(
                f"{value.__qualname__} is defined in the script that runs, where workers cannot "
                "import it: put it into a module of its own, or pip install cloudpickle"
            )
        return NotImplemented


def packed(value: Any) -> bytes:
    """Pickle a value for workers, with cloudpickle if that is installed.

    Cloudpickle also sends classes and functions that are defined in the script that runs.

    Raises
    ------
    InputError
        If it cannot be sent.
    """
    try:
        if find_spec("cloudpickle") is not None:
            import cloudpickle

            data: bytes = cloudpickle.dumps(value)
            return data
        stream = io.BytesIO()
        _Pickler(stream).dump(value)
        return stream.getvalue()
    except InputError:
        raise
    except Exception as error:  # Classes raise what they like when they are pickled.
        reason = " ".join(str(error).split())
        raise InputError(f"{shown(value)} cannot be sent to workers: {reason}") from error


def unpacked(data: bytes) -> Any:
    """Return what was packed, in a worker.

    Raises
    ------
    InputError
        If a module of it is not there.
    """
    try:
        return pickle.loads(data)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"a worker cannot import what it was sent ({error}): workers must find the same modules"
        ) from error
