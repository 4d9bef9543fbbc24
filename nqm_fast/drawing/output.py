"""Matplotlib, and the pictures that it draws."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..foundation.validation import InputError
from ..output.saving import written_beside
from .style import DPI, SETTINGS
from .ticks import label_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..output.columns import Table

USERS_OWN = ("backend", "backend_fallback", "interactive", "date.epoch")
"""Settings of Matplotlib that no picture depends on, and that others watch."""


def load_matplotlib() -> Any:
    """Import Matplotlib, whatever backend the environment names for windows and notebooks.

    Raises
    ------
    InputError
        If that is impossible.
    """
    is_new = "matplotlib" not in sys.modules
    backend = os.environ.pop("MPLBACKEND", None) if is_new else None
    try:
        import matplotlib
    except Exception as error:  # such as that of a matplotlibrc which is no text
        raise InputError(f"Matplotlib cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # Matplotlib does not know it.
            matplotlib.rcParams["backend"] = backend  # as the import would have done
    return matplotlib


def picture_kinds() -> list[str]:
    """The endings of the names of pictures that can be written."""
    load_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    return list(FigureCanvasBase.get_supported_filetypes())


def check_picture(path: Path, argument: str) -> None:
    """Raise an InputError unless the name of a file ends as that of a picture."""
    kinds = picture_kinds()
    if path.suffix[1:] not in kinds:
        raise InputError(f"{argument} must end with one of .{', .'.join(kinds)}, not {str(path)!r}")


@contextmanager
def own_settings() -> Generator[None]:
    """Have Matplotlib draw with the settings of this package, and none of the user's."""
    matplotlib = load_matplotlib()
    with matplotlib.rc_context():
        defaults = matplotlib.rcParamsDefault
        matplotlib.rcParams.update({k: defaults[k] for k in defaults if k not in USERS_OWN})
        matplotlib.rcParams.update(SETTINGS)
        yield


def write_png(path: Path, plot: Callable[[Figure, Table], None], table: Table) -> None:
    """Draw a table on a canvas of its own, so that the caller's Matplotlib keeps its state.

    The kind of the picture is the ending of its name.
    """
    with own_settings(), written_beside("out", path) as part:
        new_figure(plot, table).savefig(part, format=path.suffix[1:])


def new_figure(plot: Callable[[Figure, Table], None], table: Table) -> Figure:
    """Draw a table into a new figure on a canvas of its own; notebooks show it."""
    with own_settings():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        class Shown(Figure):
            """A figure that notebooks show without pyplot."""

            def _repr_png_(self) -> bytes:
                content = io.BytesIO()
                with own_settings():
                    self.savefig(content, format="png")
                return content.getvalue()

        figure = Shown(figsize=(7, 5), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure, table)
        label_ticks(figure)
    return figure
