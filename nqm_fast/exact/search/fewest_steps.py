"""The fewest steps at which the lowest risk reaches a target, as the root of a function of steps.

The function is the excess, the log of (lowest risk / target), which falls as steps are added. Each
of its values is the result of a minimisation, so that few of them may be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

LONGEST_WALK = 100
"""Single steps that are looked at around a guess."""


def estimate_fewest_steps(excess: Callable[[int], float], too_few: int, enough: int) -> int:
    """Estimate the fewest steps in (too_few, enough] at which `excess` is not positive.

    Where it is not positive at `too_few` after all, the answer is `too_few` itself. Step 0, whose
    log is no number, is never looked at.
    """
    import scipy.optimize

    too_few = max(too_few, 1)
    if enough - too_few < 1:
        return enough
    if excess(too_few) <= 0.0:
        return too_few
    if excess(enough) > 0.0:
        return enough
    root = scipy.optimize.brentq(
        # An excess of exactly 0 counts as enough, and must not end the search early.
        lambda x: excess(round(math.exp(x))) or -1e-300,
        math.log(too_few),
        math.log(enough),
        xtol=0.3 / enough,  # The root is found to less than a step.
    )
    return min(max(round(math.exp(root)), too_few + 1), enough)


def fewest_steps(excess: Callable[[int], float], guess: int, enough: int) -> int:
    """Walk from a guess, step by step, to the fewest steps at which `excess` is not positive.

    A long walk means that rounding errors exceed what a step changes. It is cut short then.
    """
    walked = 0
    while guess < enough and excess(guess) > 0.0:
        walked += 1
        guess = min(guess + 2 ** max(walked - LONGEST_WALK, 0), enough)
    while guess > 1 and walked < LONGEST_WALK and excess(guess - 1) <= 0.0:
        guess -= 1
        walked += 1
    return guess
