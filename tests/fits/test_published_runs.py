"""Published runs of language models, which are not in the repository: errors of those left out.

They are looked for in `../shared/data` beside the checkout, or in the folder NQM_SHARED_DATA.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.fits.parameters import PROBLEM
from nqm_fast.fits.templates import Template

DATA = Path(
    os.environ.get("NQM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
).absolute()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"there are no published runs in {DATA}"),
]


def test_the_largest_final_losses_are_predicted_to_four_percent():
    runs = nqm.read_runs(
        DATA / "llm_final_loss.csv",
        columns={"dim": "N", "batch_size": "B", "steps": "K"},
        lr="warmup 0.01, cosine 0.001",
        where=lambda row: row["filtered"] == "False",
    )
    assert len(runs) == 64
    fitted = nqm.fit(runs)
    assert fitted.extra == ("noise_floor",)
    assert fitted.error < 0.025
    assert fitted.left_out_error < 0.036
    runs.sort(key=lambda run: run.work)
    later = nqm.fit(runs[:48], extra=fitted.extra)
    errors = np.log(later.predict(runs[48:])) - np.log([run.loss for run in runs[48:]])
    assert np.sqrt(np.mean(errors**2)) < 0.034


def warmed_up(row):
    """The rate of a curve: between its records or at once, and linear over the first 2160 steps."""
    order = np.argsort(row["step"])
    steps = row["step"][order]
    rates = np.broadcast_to(row["lr"], steps.shape)[order]
    t = np.arange(int(steps[-1]) + 1)
    if row["schedule"].startswith("wsdcon"):  # It drops at the first record below the peak.
        first = steps[rates != rates[0]].min()
        return np.where(t < 2160, 3e-4 * t / 2160, np.where(t < first, rates[0], rates[-1]))
    return np.where(t < 2160, 3e-4 * t / 2160, np.interp(t, steps, rates))


@pytest.mark.parametrize("size", ["25M", "100M", "400M"])
def test_a_loss_curve_is_predicted_from_two_other_schedules(size):
    runs = nqm.read_runs(
        DATA / "llm_loss_curves.csv",
        columns={"run": ["size", "schedule"], "steps": "step"},
        batch_size=1,
        lr=warmed_up,
        where=lambda row: row["size"] == size,
    )
    fitted = nqm.fit(runs)
    assert fitted.extra == ("lr_power",)
    assert fitted.error < 0.0012
    (drop,) = [run for run in runs if "wsdcon" in run.name]
    others = nqm.fit([run for run in runs if run is not drop], extra=fitted.extra)
    assert np.mean(np.abs(others.predict(drop) / drop.loss - 1.0)) < 0.0016


SIZES = {"85M": 85e6, "151M-ablation": 151e6, "302M": 302e6}


def test_steps_of_the_largest_model_to_a_target_are_predicted():
    def tuned(loss, steps, **more):
        lr = schedules.Constant(1.0)
        return nqm.TrainingRun(float(loss), int(steps), lr=lr, tuned_lr=True, **more)

    text = (DATA / "llm_steps_to_target.csv").read_text().split()[1:]
    rows = [line.split(",") for line in text]
    runs = [
        tuned(goal, steps, batch_size=int(batch), dim=int(SIZES[model]), name=model)
        for model, batch, goal, steps in rows
    ]
    fitted = nqm.fit([run for run in runs if run.name != "302M"], extra="noise_floor")
    errors = [
        np.log(
            fitted.steps_to_target(float(run.loss), batch_size=run.mean_batch_size, dim=run.dim)
            / run.last_step
        )
        for run in runs
        if run.name == "302M"
    ]
    assert np.sqrt(np.mean(np.square(errors))) < 0.16
    critical = fitted.critical_batch_size(
        3.07, dim=int(SIZES["302M"]), definition="overhead", reference=256
    )
    # By a hyperbola through the measured steps, 20 % over linear scaling.
    assert abs(np.log(critical.value / 1394)) < 0.3


def cells_of_rates_and_batch_sizes():
    """Cells of parameters and tokens in the order of their work: rate, batch size, steps, loss."""
    cells = {}
    for line in (DATA / "llm_lr_batch.csv").read_text().split("\n")[1:]:
        if line:
            n, tokens, lr, size, steps, _, smooth = map(float, line.split(","))
            cells.setdefault((int(n), tokens), []).append((lr, size, int(steps), smooth))
    return sorted(cells.items(), key=lambda cell: cell[0][0] * cell[0][1])


@pytest.mark.thorough
def test_the_best_rates_and_batch_sizes_of_larger_cells_are_recommended():
    shape = Template("lr", "warmup 2000, cosine lr to 0.00001")
    cells = cells_of_rates_and_batch_sizes()

    def runs(number, points, group):
        return [
            nqm.TrainingRun(
                loss, steps, batch_size=size, lr=shape.schedule({"lr": lr}, steps),
                dim=cells[number][0][0], group=group,
            )
            for lr, size, steps, loss in points
        ]  # fmt: skip

    fitted_runs = []
    for number, (_, points) in enumerate(cells[:6]):
        best = min(loss for *_, loss in points)
        near = sorted(point for point in points if point[-1] < 1.03 * best)
        fitted_runs += runs(number, near[::3], f"cell {number}")
    extra = ("lr_power", "batch_power", "noise_floor")
    share = [name for name in PROBLEM if name != "irreducible"]
    fitted = nqm.fit(fitted_runs, extra=extra, share=[*share, *extra])
    assert fitted.error < 0.005
    highest = max(run.peak_lr for run in fitted_runs)
    excess = []
    for number, (_, points) in enumerate(cells[6:], start=6):
        allowed = [point for point in points if point[0] < 1.001 * highest]
        predicted = fitted.predict(runs(number, allowed, "cell 0"))
        best = min(loss for *_, loss in points)
        excess.append(allowed[int(np.argmin(predicted))][-1] / best - 1.0)
    assert np.mean(excess) < 0.002
