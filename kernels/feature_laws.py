"""The laws of features that are drawn, and where their words are in the stream of noise."""

from __future__ import annotations

import numpy as np

from .noise import LAWS, WORD

FEATURES, LABELS = 3, 4
"""Purposes of the noise, beside those of the other kinds of sampling."""
KURTOSIS = {"normal": 3.0, "uniform": 1.8, "rademacher": 1.0, "laplace": 6.0}
"""``E z^4`` of the laws of features, by name."""
NORMAL, UNIFORM, RADEMACHER, LAPLACE = (LAWS[name].code for name in KURTOSIS)
UNIFORM_UNIT = float(np.sqrt(12.0)) * 2.0**-WORD
LAPLACE_UNIT = float(np.sqrt(0.5))
"""Factors that give samples variance 1."""
