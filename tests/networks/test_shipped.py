"""The shipped results: what the lecture claims, task by task, as docs/networks.md has it."""

import numpy as np
import pytest
from helpers import HERE

from nqm_fast import figures, networks
from nqm_fast.figures._networks import critical_batch
from nqm_fast.networks import shipping
from nqm_fast.networks.model import OPTIMIZERS as PREDICTED
from nqm_fast.networks.optimizers import OPTIMIZERS
from nqm_fast.networks.table import shipped_predictions
from nqm_fast.output.columns import distinct_values, rows_where

TABLE = networks.shipped()
TASKS = distinct_values(TABLE, "task")


def rows(task, optimizer, ema):
    return TABLE.where(task=task, optimizer=optimizer, ema=ema)


def steps(task, optimizer, ema=False):
    return rows(task, optimizer, ema)["steps"]


def knee(task, optimizer, ema=False):
    return critical_batch(rows(task, optimizer, ema))


def momentum_helps_at_large_batches_only(task):
    """No help at the two smallest batch sizes, and a larger critical batch size."""
    small = steps(task, "momentum")[:2] / steps(task, "sgd")[:2]
    return bool((small > 0.9).all() and knee(task, "momentum") > 1.25 * knee(task, "sgd"))


def kfac_scales_further_than_adam_than_momentum(task):
    """Critical batch sizes with an average of the weights."""
    found = [knee(task, name, True) for name in ("kfac", "adam", "momentum")]
    return found[0] > found[1] > found[2]


def preconditioning_helps_at_small_batches(task):
    """K-FAC needs at most 0.8 of the steps of momentum at batch sizes 2, 4 and 8."""
    return bool((steps(task, "kfac")[1:4] < 0.8 * steps(task, "momentum")[1:4]).all())


def averaging_helps_sgd_at_small_batches_only(task):
    """At most 0.8 of the steps at the three smallest batch sizes, at least 0.9 at the largest."""
    ratio = steps(task, "sgd", True) / steps(task, "sgd")
    return bool((ratio[:3] < 0.8).all() and ratio[-1] > 0.9)


def averaging_lowers_the_critical_batch_size(task):
    return knee(task, "sgd", True) < 0.9 * knee(task, "sgd")


def the_best_lr_grows_in_proportion(task):
    """The slope of its logarithm is 1 within 0.2 up to the critical batch size."""
    found = rows(task, "sgd", False)
    below = found["batch_size"] <= knee(task, "sgd")
    slope = np.polyfit(np.log(found["batch_size"][below]), np.log(found["lr"][below]), 1)[0]
    return bool(abs(slope - 1.0) < 0.2)


CLAIMS = (
    momentum_helps_at_large_batches_only,
    kfac_scales_further_than_adam_than_momentum,
    preconditioning_helps_at_small_batches,
    averaging_helps_sgd_at_small_batches_only,
    averaging_lowers_the_critical_batch_size,
    the_best_lr_grows_in_proportion,
)


def documented_claims():
    """What the page on networks says of each claim: words by its number and the task."""
    lines = (HERE.parent / "docs" / "networks.md").read_text().splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith("| the lecture's claim |"))
    tasks = [cell.strip() for cell in lines[head].strip("|").split("|")][1:]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[head + 2 : head + 2 + len(CLAIMS)]
    ]
    return {
        (number, task): row[1 + place]
        for number, row in enumerate(cells)
        for place, task in enumerate(tasks)
    }


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", range(len(CLAIMS)))
def test_the_page_says_which_claims_hold(number, task):
    holds = CLAIMS[number](task)
    assert documented_claims()[number, task] == ("yes" if holds else "no")


def test_every_optimiser_and_batch_size_is_there():
    for task in TASKS:
        part = TABLE.where(task=task)
        assert set(part["optimizer"]) == set(OPTIMIZERS)
        sizes = np.unique(part["batch_size"])
        assert (sizes == 2.0 ** np.arange(len(sizes))).all()
        assert len(part["steps"]) == len(OPTIMIZERS) * 2 * len(sizes)
        assert (part["seeds"] >= 3).all()
    assert (TABLE["least_steps"] <= TABLE["steps"]).all()
    assert (TABLE["steps"] <= TABLE["most_steps"]).all()


def test_more_samples_in_a_step_hardly_ever_need_more_steps():
    for task in TASKS:
        for optimizer in OPTIMIZERS:
            for ema in (False, True):
                found = steps(task, optimizer, ema)
                assert (found[1:] < 1.15 * found[:-1]).all(), (task, optimizer, ema)


def test_the_origin_is_told():
    origin = networks.shipped_origin()
    assert {"jax", "optax", "kfac-jax", "numpy", "date", "python"} <= origin.keys()
    for task in TASKS:
        assert origin[f"target of {task}"] == TABLE.where(task=task)["target"][0]


def test_curves_are_of_the_two_smallest_batch_sizes_and_reach_the_target():
    curves = networks.shipped_curves()
    for task in TASKS:
        here = curves["task"] == task
        assert sorted(set(curves["batch_size"][here])) == [1, 2]
        target = TABLE.where(task=task)["target"][0]
        assert curves["loss"][here].min() < 1.1 * target


def test_results_are_a_table():
    assert repr(TABLE.where(task="digits")).startswith("<Results: 88 rows (digits), see rows()")
    html = TABLE._repr_html_()
    assert "damping" in html
    assert len(TABLE.rows()) == len(TABLE["steps"])
    pandas = pytest.importorskip("pandas")
    assert isinstance(TABLE.to_pandas(), pandas.DataFrame)


@pytest.mark.parametrize("name", ["networks", "networks_lr"])
def test_the_figures_are_drawn_without_jax(tmp_path, name):
    drawn = figures.draw(name, tmp_path)[0]
    assert drawn.picture.read_bytes().startswith(b"\x89PNG")
    assert (drawn.table["steps"] == TABLE["steps"]).all()


def test_figures_are_drawn_of_a_study_of_ones_own(tmp_path):
    from nqm_fast.output.columns import write_csv

    write_csv(tmp_path / "networks.csv", TABLE.where(optimizer="sgd"))
    drawn = figures.draw("networks", tmp_path, results=tmp_path)[0]
    assert set(drawn.table["optimizer"]) == {"sgd"}
    with pytest.raises(figures.InputError, match="results must be the folder of a study"):
        figures.draw("networks", tmp_path, results=tmp_path / "nowhere")


def test_the_model_is_fitted_to_small_batches_and_predicts_large_ones(tmp_path):
    """Steps from a batch size of 64 on, of which none was fitted, as docs/fitting.md has them."""
    drawn = figures.draw("networks_model", tmp_path)[0]
    table = drawn.table
    errors = np.log(table["predicted_steps"] / table["steps"])
    large = table["batch_size"] >= 64
    for task, most in (("digits", 0.17), ("language", 0.12), ("mnist1d", 0.43)):
        here = errors[large & (table["task"] == task)]
        assert np.sqrt(np.mean(here**2)) < most
    assert np.sqrt(np.mean(errors[large] ** 2)) < 0.29
    # Momentum at small batches was not fitted either.
    assert np.sqrt(np.mean(errors[table["batch_size"] <= 16] ** 2)) < 0.12
    assert (table["fit_error"] < 0.09).all()


@pytest.mark.thorough
@pytest.mark.parametrize("task", TASKS)
def test_shipped_predictions_are_those_of_a_fresh_fit(task):
    fresh, stored = shipping.predicted([task]), rows_where(shipped_predictions(), task=task)
    for name in ("task", "optimizer", "ema", "batch_size"):
        assert (fresh[name] == stored[name]).all()
    for name in ("predicted_steps", "fit_error"):
        assert fresh[name] == pytest.approx(stored[name], rel=1e-2)


def test_there_is_a_prediction_for_all_that_the_model_has():
    stored = shipped_predictions()
    for task in TASKS:
        part = rows_where(stored, task=task)
        for optimizer in PREDICTED:
            for ema in (False, True):
                here = rows_where(part, optimizer=optimizer, ema=ema)
                assert (here["batch_size"] == rows(task, optimizer, ema)["batch_size"]).all()
