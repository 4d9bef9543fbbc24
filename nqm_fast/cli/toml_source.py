"""TOML with the places of its values: a line of the file, or a change on the command line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from ..foundation.validation import InputError

KeyPath = tuple[str | int, ...]
"""Keys and indices that lead to a value in nested tables and lists."""


@dataclass
class Source:
    """The origin of each value of a configuration: a line of its file, or a change."""

    name: str
    lines: dict[KeyPath, int]
    changes: dict[KeyPath, str]
    """The text of the ``--set`` option that has changed a value."""

    def place(self, path: KeyPath) -> str:
        """Return the words with which an error on the value at a path begins."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.changes:
                return f"--set {self.changes[path[:end]]}: "
            if path[:end] in self.lines:
                return f"{self.name}, line {self.lines[path[:end]]}: "
        return f"{self.name}: "

    def find(self, name: str, within: KeyPath = ()) -> KeyPath:
        """Return the path of the first value of a name in a table, or else of the table."""
        for path in [*self.changes, *self.lines]:
            if path[: len(within)] == within and path[-1] == name:
                return path
        return within

    def located(self, error: InputError) -> InputError:
        """Add the place of the value to an error, whose message begins with an argument's name."""
        path = self.find(str(error).split()[0])
        return InputError(f"{self.place(path)}{error}") if path else error


def read_toml(name: str, text: str, changes: Sequence[str]) -> tuple[dict[str, Any], Source]:
    """Parse TOML and change some of its values.

    Raises
    ------
    InputError
        If it is not valid, or a change is impossible.
    """
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # An int may have too many digits.
        raise InputError(f"{name}: not valid TOML: {error}") from None
    source = Source(name, line_numbers(text), {})
    for change in changes:
        source.changes |= dict.fromkeys(_apply_change(content, change), change)
    return content, source


def read_text(file: Path) -> str:
    """Read a file that must be text."""
    try:
        return file.read_text(encoding="utf-8-sig")  # Editors may put a byte order mark first.
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file, and so not TOML") from None


def _apply_change(content: dict[str, Any], change: str) -> list[KeyPath]:
    """Change one value by ``key=value``; returns its path and those of all values in it."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set must be key=value, such as steps=100, not {change!r}")
    value = _parsed(text)
    path: KeyPath = tuple(int(x) if x.isdecimal() else x for x in key.strip().split("."))
    parent: Any = content
    for part, following in pairwise(path):
        if isinstance(parent, dict):
            parent = parent.setdefault(part, {})
        else:
            parent = _checked_item(parent, part, change)
        if not isinstance(parent, dict | list):
            raise InputError(f"--set {change}: {part} has no {following}")
    if isinstance(parent, list):
        _checked_item(parent, path[-1], change)
    parent[path[-1]] = value
    return [path, *_paths_within(value, path)]


def _parsed(text: str) -> Any:
    """Parse a value in TOML; here numbers may be .5 and 1., and a word needs no quotes."""
    for form in (text, BARE_POINT.sub(_with_zeros, text)):
        try:
            return tomllib.loads(f"value = {form}")["value"]
        except (ValueError, RecursionError):  # An int may have too many digits.
            continue
    return text.strip()


BARE_POINT = re.compile(
    r"""(?P<quoted>"[^"]*"|'[^']*')|(?<![\w.])(?P<whole>[\d_]*)\.(?P<rest>[\d_]*)(?![\w.]*[.])"""
)
"""Quoted text, or a number with a point."""


def _with_zeros(found: re.Match[str]) -> str:
    """Put zeros where a number has no digits before or after its point."""
    if found["quoted"] is not None or not found["whole"] + found["rest"]:
        return found[0]
    return f"{found['whole'] or 0}.{found['rest'] or 0}"


def _checked_item(items: list[Any], index: str | int, change: str) -> Any:
    """Return an item of a list, whose index must be a number within it."""
    if not isinstance(index, int) or index >= len(items):
        raise InputError(f"--set {change}: {index} must be a number from 0 to {len(items) - 1}")
    return items[index]


def line_numbers(text: str) -> dict[KeyPath, int]:
    """Find the line, counted from 1, of each value of valid TOML; a value begins at its key."""
    found: dict[KeyPath, int] = {}
    sizes: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            opened = _opened(content, sizes)
            table = opened[-1]
        else:
            opened = [(*table, *path) for path in _paths_within(content)]
        for path in opened:
            found.setdefault(path, line)
    return found


TOML_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'{3}.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*|[][{}\n]''',
    re.DOTALL,
)
"""Strings and comments, which may hide brackets and ends of lines; and those themselves."""


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the statements of valid TOML with the number of their first line."""
    line, begin, depth = 1, 0, 0
    for token in chain(TOML_TOKEN.finditer(text), [None]):
        mark = "\n" if token is None else token[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        elif mark == "\n" and not depth:
            end = len(text) if token is None else token.end()
            yield line, text[begin:end]
            line += text.count("\n", begin, end)
            begin = end


def _opened(header: Any, sizes: dict[KeyPath, int]) -> list[KeyPath]:
    """List the paths of a table that a header opens, and of those around it.

    `sizes` has the number of tables in each array so far, to which the header may add one.
    """
    path: KeyPath = ()
    found: list[KeyPath] = []
    while header:
        ((key, header),) = header.items()
        path = (*path, key)
        found.append(path)
        if isinstance(header, list):
            sizes[path] = sizes.get(path, 0) + 1
            header = header[0]
        if path in sizes:
            path = (*path, sizes[path] - 1)
            found.append(path)
    return found


def _paths_within(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    """List the paths of all values in nested tables and lists."""
    found: list[KeyPath] = []
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += [(*path, key), *_paths_within(item, (*path, key))]
    return found
