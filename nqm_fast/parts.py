"""Parts of problems: neighbouring coordinates as a problem of their own, and joined again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .problem import Problem


def part(problem: Problem, first: int, last: int) -> Problem:
    """Return coordinates first .. last - 1 of a problem; a power law stays a formula."""
    fields = problem.fields
    if "exponent" in fields:
        return Problem.from_fields(
            fields | {"dim": last - first, "first": fields.get("first", 0) + first}
        )
    return Problem.from_fields(
        {name: x[first:last] if _is_array(name, x) else x for name, x in fields.items()}
    )


def joined(parts: Sequence[Problem]) -> Problem:
    """Return the problem that was cut into these parts, in their order."""
    fields = [one.fields for one in parts]
    first = fields[0]
    if "exponent" in first:
        return Problem.from_fields(first | {"dim": sum(one.dim for one in parts)})
    return Problem.from_fields(
        {
            name: np.concatenate([x[name] for x in fields]) if _is_array(name, value) else value
            for name, value in first.items()
        }
    )


def shared_fields(problem: Problem) -> dict[str, Any]:
    """Return what all parts of a problem have in common, and the kinds of its other fields."""
    own = {"dim", "first"}
    return {
        name: "an array" if _is_array(name, value) else value
        for name, value in problem.fields.items()
        if name not in own
    }


def _is_array(name: str, value: Any) -> bool:
    """Whether a field has a value for each coordinate."""
    return isinstance(value, np.ndarray) and value.ndim > 0 and name != "dropped"
