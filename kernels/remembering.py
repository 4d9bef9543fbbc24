"""Answers that short runs ask for again and again, kept by what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

REMEMBERED = 64  # answers of a kind that are kept: runs of few steps are often alike
LARGEST_KEY = 1 << 12  # bytes of what such an answer was made of

Answer = TypeVar("Answer")


def remembered(kept: dict[Any, Answer], key: Sequence[Any], make: Callable[[], Answer]) -> Answer:
    """Return the answer for arrays and numbers, which is made once for those that are equal.

    Large arrays are not kept, so that their answer is made each time.
    """
    if sum(x.nbytes for x in key if isinstance(x, np.ndarray)) > LARGEST_KEY:
        return make()
    values = tuple((x.tobytes(), x.shape) if isinstance(x, np.ndarray) else x for x in key)
    answer = kept.get(values)
    if answer is None:
        answer = make()
        if len(kept) >= REMEMBERED:
            kept.clear()
        kept[values] = answer
    return answer
