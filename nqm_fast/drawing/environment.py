"""Matplotlib, which pictures need and nothing else does."""

from importlib.util import find_spec

from ..foundation.messages import InputError


def check_matplotlib() -> None:
    """Raise an InputError unless Matplotlib is installed."""
    if find_spec("matplotlib") is None:
        raise InputError("figures need Matplotlib: pip install 'nqm-fast[figures]'")
