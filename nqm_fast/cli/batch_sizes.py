"""Critical batch sizes and costs, as options and as rows, which commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..exact.batches.critical import DEFINITIONS, CriticalBatchSize
from ..exact.batches.frontier import Choice
from ..foundation.validation import InputError, number
from .options import algorithm_facts
from .tables import finite

SIMPLE = "simple-noise-scale"
"""The name of tr(C) / E|G|^2 beside the definitions."""
MEANINGS = {
    "knee": "samples at the reference / steps without noise",
    "overhead": "{:g} % more samples than at the reference",
    "noise-scale": "tr(HC) / E[G^T H G] at {} of the best training at the reference",
    "half": "twice the steps without noise",
    SIMPLE: "tr(C) / E|G|^2 there",
}
WHY = """\
They differ: the knee is where straight lines through both ends of the curve below would meet, at
which the curve itself has left them; overhead and half are points on it, one by samples and one by
steps; a noise scale knows one step of one training, and no hyper-parameters.
"""


def add_costs(parser: argparse.ArgumentParser) -> None:
    """Add the options for what a step and a sample cost."""
    parser.add_argument(
        "--cost-step", type=float, metavar="X", help="also say which batch size costs the least"
    )
    parser.add_argument("--cost-sample", type=float, metavar="X", help="in the same unit")


def chosen_costs(chosen: argparse.Namespace) -> tuple[float, float] | None:
    """Return what a step and a sample cost, if that is given."""
    step, sample = chosen.cost_step, chosen.cost_sample
    if (step is None) != (sample is None):
        raise InputError("--cost-step and --cost-sample are given together, or none of them")
    if step is None:
        return None
    number("--cost-step", step, least=0.0)
    number("--cost-sample", sample, least=0.0)
    if step == sample == 0.0:
        raise InputError(
            "--cost-step and --cost-sample must not both be 0, as then nothing costs anything"
        )
    return step, sample


def check_plot(path: Path | None) -> None:
    """Make sure that a picture can be drawn, before anything is computed for it."""
    if path is None:
        return
    from ..drawing.environment import check_matplotlib
    from ..drawing.output import check_picture

    check_matplotlib()
    check_picture(path, "--plot")


def definition_rows(found: Mapping[str, CriticalBatchSize]) -> list[dict[str, Any]]:
    """List the critical batch sizes by definition, and the simple noise scale."""
    rows = [{"definition": name, "batch_size": finite(x.value)} for name, x in found.items()]
    scale = found["noise-scale"].noise_scale if "noise-scale" in found else None
    if scale is not None:
        rows.append({"definition": SIMPLE, "batch_size": finite(scale.simple)})
    return rows


def explained(
    found: Mapping[str, CriticalBatchSize], overhead: float, step: int | None = None
) -> list[dict[str, Any]]:
    """List the critical batch sizes for a screen: what each is, or why there is none."""
    percent, place = 100.0 * overhead, "the end" if step is None else f"step {step}"
    meanings = MEANINGS | {
        "overhead": MEANINGS["overhead"].format(percent),
        "noise-scale": MEANINGS["noise-scale"].format(place),
    }
    rows = [row | {"is": meanings[row["definition"]]} for row in definition_rows(found)]
    missing = (name for name in DEFINITIONS if name not in found)
    why = "not defined, as the noise depends on the iterate"
    return rows + [{"definition": name, "batch_size": "none", "is": why} for name in missing]


def choice_facts(found: Choice) -> dict[str, Any]:
    """Describe a batch size that was chosen."""
    facts = found._asdict()
    return facts | algorithm_facts(facts.pop("algorithm"))


def choice_text(found: Choice) -> str:
    """Describe a batch size that was chosen in words."""
    return (
        f"batch size {found.batch_size:.8g}, {found.steps} steps, {found.samples:.8g} samples, "
        f"{found.algorithm!r}"
    )
