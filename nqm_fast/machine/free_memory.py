"""How much memory of this machine is free."""

from __future__ import annotations


def available_bytes() -> int:
    """Bytes of this machine's memory that are free."""
    import psutil

    return int(psutil.virtual_memory().available)
