"""Tables in HTML, as which notebooks show the objects of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def facts_table(title: str, facts: Mapping[str, Any]) -> str:
    """Write a title, and a table with a line for each name and value."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(str(name))}</th>'
        f'<td style="text-align:left">{escape(_text(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"


def rows_table(title: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the facts as `facts_table` does, and below them rows of the same keys."""
    if not rows:
        return facts_table(title, facts)
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_text(value))}</td>' for value in row.values())}</tr>"
        for row in rows
    )
    above = facts_table(title, facts).removesuffix("</div>")
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _text(value: Any) -> str:
    """Write a value: a float with eight digits, everything else as it prints."""
    return f"{value:.8g}" if isinstance(value, float) else str(value)
