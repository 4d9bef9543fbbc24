"""The public API follows the published protocol and gives data/notebook.csv, row by row.

The authors' notebook quantises the spectrum, searches grids of settings, and reports the
last step that misses the target; the first hit is one more.
"""

import csv
import math

import numpy as np
import pytest
from helpers import DATA
from oracles import risk_to_60_digits

import nqm_fast as nqm

with (DATA / "notebook.csv").open() as file:
    ROWS = list(csv.DictReader(file))


def rows(*families):
    """The parameters of a test are the rows of some families."""
    return pytest.mark.parametrize(
        "row",
        [
            pytest.param(row, id="{family}-p={p}-C={target}-B={batch_size}".format_map(row))
            for row in ROWS
            if row["family"] in families
        ],
    )


def binned():
    """h_i = 1/i, i = 1 .. 10^4, every eigenvalue moved to the first bin value <= it."""
    bins = np.geomspace(1.0, 1e-4, 100)
    h = 1.0 / np.arange(1, 10_001)
    bin_of = [np.argmax(bins <= x * (1.0 + 1e-12)) for x in h]
    count = np.bincount(bin_of, minlength=100)
    return nqm.Problem(bins[count > 0], count=count[count > 0])


BINNED = binned()
PLAIN_GRID = np.logspace(-5, 0.5, 100).tolist()
LR_GRID = np.logspace(-8, 1, 100).tolist()
DECAY_GRID = (1.0 - np.logspace(-5, 0, 20)).tolist()


def fewest_steps(settings, batch_size, target, problem_of=lambda algorithm: BINNED):
    """Fewest steps of all settings, and the setting."""
    best = (math.inf, None)
    for algorithm in settings:
        limit = int(min(best[0] - 1, 10**8))
        steps = nqm.steps_to_target(
            problem_of(algorithm), algorithm, batch_size, target, max_steps=limit
        )
        best = min(best, (steps, algorithm), key=lambda found: found[0])
    return best


def test_the_bins_hold_all_eigenvalues():
    assert BINNED.count.sum() == 10_000
    assert BINNED.h[0] == 1.0
    assert BINNED.h[-1] == 1e-4
    assert BINNED.dim == 84


# -- plain SGD ---------------------------------------------------------------------------


def with_the_published_defect(algorithm):
    """The notebook's noise: it divides by 1 - (1 - lr h)^2 + 1e-8 in the steady state."""
    gap = algorithm.lr.value * BINNED.h ** (1.0 - algorithm.power)
    room = gap * (2.0 - gap)
    return nqm.Problem(BINNED.h, BINNED.h * room / (room + 1e-8), count=BINNED.count)


def plain_grid(power):
    """The notebook's learning rates, as far as they are stable."""
    return [nqm.SGD(lr, power=power) for lr in PLAIN_GRID if lr < 2.0]


@rows("plain")
def test_plain_to_the_step_with_the_published_defect(row):
    target, batch_size = float(row["target"]), int(row["batch_size"])
    grid = plain_grid(float(row["p"]))
    steps, best = fewest_steps(grid, batch_size, target, with_the_published_defect)
    assert steps == int(row["last_miss"]) + 1
    assert best.lr.value == pytest.approx(float(row["lr"]), rel=1e-3)


# Without the defect the noise at small learning rates is higher, and these rows are later.
WITHOUT_DEFECT = {
    (0.0, 0.1, 4): 80758,
    (0.0, 0.01, 4): 1508044,
    (0.0, 0.01, 8): 751837,
    (0.0, 0.01, 16): 379888,
    (0.0, 0.01, 32): 189435,
    (0.0, 0.01, 64): 95762,
    (0.0, 0.01, 128): 49176,
    (0.5, 0.01, 4): 345705,
    (0.5, 0.01, 16): 86282,
    (0.5, 0.01, 64): 21589,
}


@rows("plain")
def test_plain_without_the_defect(row):
    power, target, batch_size = float(row["p"]), float(row["target"]), int(row["batch_size"])
    steps, _ = fewest_steps(plain_grid(power), batch_size, target)
    published = int(row["last_miss"]) + 1
    assert steps == WITHOUT_DEFECT.get((power, target, batch_size), published)
    assert published <= steps <= 1.0005 * published


# -- momentum and EMA --------------------------------------------------------------------

# (family, p, B): ours where it is not the published last miss + 1
DIFFERENT = {
    ("momentum", 0.0, 16384): 348,  # the risk oscillates
    ("momentum", 0.0, 4): 1333443,  # rounding of the published 1333445
}


@pytest.mark.mostly_slow(4, slow=8)
@rows("momentum", "ema")
def test_momentum_and_ema_to_the_step(row):
    family, power, batch_size = row["family"], float(row["p"]), int(row["batch_size"])
    grid = [nqm.SGD(lr, **{family: decay}, power=power) for lr in LR_GRID for decay in DECAY_GRID]
    steps, best = fewest_steps(grid, batch_size, float(row["target"]))
    published = int(row["last_miss"]) + 1
    assert steps == DIFFERENT.get((family, power, batch_size), published)
    assert best.lr.value == pytest.approx(float(row["lr"]), rel=1e-9)
    assert getattr(best, family) == pytest.approx(float(row["beta_or_gamma"]), abs=1e-12)


def row_of(family, p, batch_size):
    (row,) = (
        row
        for row in ROWS
        if (row["family"], row["p"], row["batch_size"]) == (family, p, batch_size)
    )
    return int(row["last_miss"]), float(row["lr"]), float(row["beta_or_gamma"])


def test_the_row_where_the_risk_oscillates():
    last_miss, lr, momentum = row_of("momentum", "0", "16384")
    assert last_miss == 349
    risk = nqm.expected_risk(BINNED, nqm.SGD(lr, momentum=momentum), 16384, np.arange(1000))
    # 349 misses and 350 hits, where bisection ends up; but 348 hit already, and 351 misses
    assert [bool(risk[t] <= 0.01) for t in range(346, 354)] == [0, 0, 1, 0, 1, 0, 1, 1]
    assert risk[:348].min() > 0.01 >= risk[352:].max()


def test_the_row_that_is_off_by_two_steps():
    """Published 1333445, ours 1333443: 60 digits agree with ours.

    The risk falls by 5e-7 of itself per step here. Bins are close to critical damping, where
    the notebook's 3x3 eigendecomposition in doubles is off by about 1e-6: two steps.
    """
    last_miss, lr, momentum = row_of("momentum", "0", "4")
    assert last_miss == 1333444
    algorithm = nqm.SGD(lr, momentum=momentum)
    steps = [1333442, 1333443]
    before, after = risk_to_60_digits(BINNED, algorithm, 4, steps)
    assert before > 0.01 >= after
    np.testing.assert_allclose(
        nqm.expected_risk(BINNED, algorithm, 4, steps), [before, after], rtol=1e-11
    )
    close = np.abs((1.0 - math.sqrt(momentum)) ** 2 / (lr * BINNED.h) - 1.0).min()
    assert close < 0.1  # relative distance of a bin from critical damping


# -- schedules ---------------------------------------------------------------------------


@pytest.mark.mostly_slow(4, slow=8)
@rows("schedule10", "schedule50")
def test_schedules_within_1_percent(row):
    pieces = int(row["family"].removeprefix("schedule"))
    best = nqm.optimal_schedule(
        BINNED, int(row["batch_size"]), float(row["target"]), pieces, float(row["p"])
    )
    assert best.steps == pytest.approx(int(row["last_miss"]) + 1, rel=0.01)
