"""The interface of a view: its parameters, numbers, words, code and picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .dropped import Dropped
from .parameters import Parameter, Values

Numbers = dict[str, Any]
"""Results of a view by name, mostly arrays."""


class Picture(Protocol):
    """The picture of a view, which changes with its numbers.

    Attributes
    ----------
    rows : list of lists of figures
        Figures of Bokeh; those of a row are side by side where there is room.
    """

    rows: list[list[Any]]

    def show(self, numbers: Numbers) -> None:
        """Draw these numbers instead of those before."""


@dataclass(frozen=True)
class View:
    """A view of the explorer.

    Attributes
    ----------
    name : str
        Its place in addresses.
    short, title, intro : str
        Its name among the others, its heading, and what there is to see, in one sentence or two.
    parameters : tuple of Parameter
    numbers : callable
        Computes what is shown from values of the parameters, and from what was dropped.
    words : callable
        Says the main result in a sentence.
    code : callable
        Writes a program whose variables, as far as they have names of `results`, are the numbers.
    results : tuple of str
    picture : callable
        Makes a picture.
    takes_file : bool
        Whether a file can be dropped on it.
    is_animated : bool
        Whether its picture has frames.
    """

    name: str
    short: str
    title: str
    intro: str
    parameters: tuple[Parameter, ...]
    numbers: Callable[[Values, Dropped | None], Numbers]
    words: Callable[[Numbers], str]
    code: Callable[[Values, Dropped | None], str]
    results: tuple[str, ...]
    picture: Callable[[], Picture]
    takes_file: bool = False
    is_animated: bool = False
