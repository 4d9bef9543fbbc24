"""Tables of numbers in text: columns with or without names, and the place of each number."""

from __future__ import annotations

import codecs
import re

import numpy as np

from ..coordinates.problem_files import Content
from ..foundation.validation import InputError, counted
from .columns import ALLOWED, ORDER, Columns, canonical

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How text of some programs begins that has two bytes for each character."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.I | re.A)
"""A number as Python writes it, without digits of other scripts and underscores."""


def read_columns(file: Content) -> Columns:
    """Read a table whose columns are parted by whitespace or commas, with comments after ``#``.

    Raises
    ------
    InputError
        If it is not a table of numbers; the sentence names the line and the column.
    """
    names: list[str] | None = None
    said: list[str] = []  # This is the last comment, which may name the columns.
    lines: list[int] = []
    rows: list[list[float]] = []
    width = 0
    for line, text in enumerate(re.split(r"\r\n|\r|\n", _decoded(file)), start=1):
        content, hash_sign, comment = text.partition("#")
        tokens = _tokens(content)
        if not tokens:
            said = _tokens(comment) if hash_sign and not width else said
            continue
        if not width:
            width = len(tokens)
            if not any(NUMBER.fullmatch(token) for token in tokens):
                names = _known_names(file, line, tokens)
                continue
            if len(said) == width and all(canonical(word) for word in said):
                names = _known_names(file, line - 1, said)
        if len(tokens) != width:
            raise InputError(
                f"path {file.path!r}, line {line}: there must be {counted(width, 'column')} as "
                f"above, but there {'is' if len(tokens) == 1 else 'are'} {len(tokens)}"
            )
        lines.append(line)
        rows.append([_number(file, line, k, token) for k, token in enumerate(tokens, start=1)])
    if not rows:
        raise file.refused("has no line with numbers")
    if names is None and width > len(ORDER):
        raise InputError(
            f"path {file.path!r}, line {lines[0]}: {width} columns need a first line with their "
            f"names; without one they are {', '.join(ORDER)}, or fewer"
        )
    chosen = list(ORDER[:width]) if names is None else names
    table = np.array(rows)
    arrays = {name: table[:, k] for k, name in enumerate(chosen)}
    numbers = {name: k for k, name in enumerate(chosen, start=1)}
    return Columns(file, arrays, names is not None, lines, numbers)


def _decoded(file: Content) -> str:
    """Return the text of a file, if it is text."""
    encoding = "utf-16" if file.data.startswith(UTF16) else "utf-8-sig"
    try:
        text = file.data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise file.refused("is neither text nor an .npz or .npy file")
    return text


def _tokens(text: str) -> list[str]:
    """Split a line at its commas, or else at whitespace, and remove quotes."""
    text = text.strip()
    if not text:
        return []
    parts = text.split(",") if "," in text else text.split()
    return [part.strip().strip("\"'").strip() for part in parts]


def _known_names(file: Content, line: int, tokens: list[str]) -> list[str]:
    """Return our names of the columns, each of which must be known, and there once."""
    names: list[str] = []
    for column, token in enumerate(tokens, start=1):
        name = canonical(token)
        place = f"path {file.path!r}, line {line}, column {column}"
        if name is None or name == "tridiag":
            raise InputError(f"{place}: {token[:40]!r} is no column: columns are {ALLOWED}")
        if name in names:
            raise InputError(f"{place}: {token!r} is a second column for {name}")
        names.append(name)
    return names


def _number(file: Content, line: int, column: int, token: str) -> float:
    """Convert a word of a line to a number."""
    if not NUMBER.fullmatch(token):
        said = f"not {token[:40]!r}" if token else "but there is nothing"
        raise InputError(
            f"path {file.path!r}, line {line}, column {column}: there must be a number, {said}"
        )
    return float(token)
