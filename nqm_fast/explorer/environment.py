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


def panel(*extensions: str) -> Any:
    """Import Panel, set up for a page of the explorer that needs these of its extensions.

    They are not for pages that do not need them: what files are dropped on draws all the time.
    """
    import panel

    panel.extension(*extensions, notifications=False)
    return panel


def material() -> Any:
    """Import the widgets: those of Panel Material UI have names that screen readers say."""
    import panel_material_ui

    return panel_material_ui
