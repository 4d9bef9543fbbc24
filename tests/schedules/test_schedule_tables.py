"""Schedules as tables, files and functions."""

import csv
import math

import numpy as np
import pytest
from schedule_kinds import KINDS

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.output.columns import read_csv
from nqm_fast.schedules import (  # fmt: skip
    Constant,
    Cosine,
    InverseTime,
    Linear,
    PerStep,
    Piecewise,
    Step,
    Warmup,
    WarmupStableDecay,
)

kinds = pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS)
OWN = {
    Constant(0.4): 1,
    PerStep([0.5, 0.1, 0.9]): 3,
    Linear(1.0, 0.2, 8): 8,
    Cosine(1.0, 8): 8,
    WarmupStableDecay(1.0, 4, 3, 5): 12,
    Piecewise([1.0, 0.5], [3, 2]): 5,
    Warmup(4, Piecewise([1.0, 0.5], [3, 2])): 9,
    Warmup(4, Constant(1.0)): 5,
    InverseTime(1.0): None,
    Step(1.0, 0.5, 4): None,
    Warmup(4, Step(1.0, 0.5, 4)): None,
}


@pytest.mark.parametrize("schedule", OWN, ids=repr)
def test_a_schedule_says_for_how_many_steps_it_is(schedule):
    assert schedule.own_steps == OWN[schedule]
    if OWN[schedule] is None:
        with pytest.raises(nqm.InputError, match="steps must be given, as a"):
            schedule.to_table()
    else:
        assert schedule.to_table()["end"][-1] == OWN[schedule]


@kinds
@pytest.mark.parametrize("steps", [1, 5, 30])
def test_a_table_has_the_values_of_all_steps(schedule, steps):
    steps = int(min(steps, schedule.length))
    table = schedule.to_table(steps)
    assert list(table) == ["begin", "end", "value"]
    lengths = table["end"] - table["begin"]
    assert (lengths > 0).all()
    assert (table["begin"][1:] == table["end"][:-1]).all()
    assert np.repeat(table["value"], lengths).tolist() == schedule.values(np.arange(steps)).tolist()
    assert (np.diff(table["value"]) != 0).all()


def test_a_table_of_a_long_schedule_is_short():
    table = Piecewise([0.5, 0.5, 0.1], [2**60, 5, 2**50]).to_table()
    assert table["begin"].tolist() == [0, 2**60 + 5]
    assert table["end"].tolist() == [2**60 + 5, 2**60 + 5 + 2**50]
    with pytest.raises(nqm.InputError, match="the table would have more than 10000000 rows"):
        Cosine(1.0, 2**40).to_table()


def test_more_steps_than_a_schedule_has_are_refused():
    with pytest.raises(nqm.InputError, match="steps must be at most 3, as the PerStep ends there"):
        PerStep([1.0, 2.0, 3.0]).to_table(4)


def test_a_file_has_the_table_with_all_digits(tmp_path):
    schedule = Cosine(1 / 3, 10)
    path = schedule.to_csv(tmp_path / "lr.csv")
    read = read_csv(path)
    for name, column in schedule.to_table().items():
        assert read[name].tolist() == column.tolist()
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["begin", "end", "value"]
    with pytest.raises(nqm.InputError, match="is a folder"):
        schedule.to_csv(tmp_path)


# -- functions ---------------------------------------------------------------------------


@kinds
def test_a_function_has_the_values_of_all_steps(schedule):
    lr = schedule.to_callable()
    steps = np.arange(int(min(30, schedule.length)))
    assert [lr(int(t)) for t in steps] == schedule.values(steps).tolist()
    assert type(lr(0)) is float


def test_a_step_more_than_there_are_has_the_last_value():
    assert PerStep([0.5, 0.1]).to_callable()(2) == 0.1
    for bad in (-1, 0.5, "x", None):
        with pytest.raises(nqm.InputError, match="step must be a whole number >= 0"):
            Cosine(1.0, 5).to_callable()(bad)


@kinds
def test_functions_work_within_jax(schedule):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    steps = int(min(40, schedule.length))
    lr = jax.jit(schedule.to_callable(steps))
    for t in (0, 1, 4, 7, steps - 1):
        if t < steps:
            assert float(lr(t)) == pytest.approx(schedule.values(np.array([t]))[0], rel=1e-6)


def test_jax_needs_steps_where_nothing_ends():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    with pytest.raises(nqm.InputError, match="steps must be given, as a InverseTime goes on"):
        InverseTime(1.0).to_callable()(jnp.asarray(3))
    assert float(InverseTime(1.0).to_callable(9)(jnp.asarray(3))) == pytest.approx(0.25)


def test_optax_follows_a_schedule():
    optax = pytest.importorskip("optax", reason="optax is not installed")
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    schedule = Warmup(2, Piecewise([0.5, 0.1], [2, 3]))
    optimizer = optax.sgd(schedule.to_callable())
    state = optimizer.init(jax.numpy.zeros(1))
    update = jax.jit(optimizer.update)
    for t in range(9):
        change, state = update(jax.numpy.ones(1), state)
        assert float(change[0]) == pytest.approx(-schedule.values(np.array([t]))[0], abs=1e-7)


def test_torch_follows_a_schedule():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    schedule = Piecewise([0.5, 0.1], [2, 3])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.to_callable())
    for t in range(6):
        assert optimizer.param_groups[0]["lr"] == schedule.values(np.array([t]))[0]
        optimizer.step()
        scheduler.step()


def test_schedules_of_one_s_own_are_exported_as_well():
    class Square(schedules.Schedule):
        least = 0.0

        def values(self, steps):
            return np.where(steps < 4, steps.astype(float) ** 2, 16.0)

        def piece(self, step):
            return (4, False) if step < 4 else (math.inf, True)

    assert Square().to_table()["value"].tolist() == [0.0, 1.0, 4.0, 9.0]
    assert Square().to_callable()(9) == 16.0
