"""Closed forms and bounds: the paper's theorems, and the samples that any algorithm needs.

Equations are those of Zhang et al. 2019 (arXiv 1907.04164). With a preconditioner ``h^power``
the curvature h in them becomes ``h^(1-power)``, and the noise c becomes ``c h^-power``.
"""

from .information import bayes_risk, bayes_samples, cramer_rao_samples
from .theorems import plain_risk, theorem1, theorem2

__all__ = [
    "bayes_risk",
    "bayes_samples",
    "cramer_rao_samples",
    "plain_risk",
    "theorem1",
    "theorem2",
]

SMALLEST_RISK = 1e-320
"""Stands for a risk of 0 where a logarithm of the risk is taken."""


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
