"""The libraries that draw pages, which are imported late."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..foundation.messages import InputError

NEEDED = "panel", "panel_material_ui", "bokeh"


def check_installed() -> None:
    """Make sure that the page's libraries are installed, without loading them.

    Raises
    ------
    InputError
        If one is missing.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise InputError(
                f"the explorer needs {name}, which is not installed: "
                "pip install 'nqm-fast[explore]'"
            )


def panel() -> Any:
    """Import Panel, set up for the explorer's pages."""
    import panel

    panel.extension("filedropper", notifications=False)
    return panel


def material() -> Any:
    """Import the widgets: those of Panel Material UI have names that screen readers say."""
    import panel_material_ui

    return panel_material_ui
