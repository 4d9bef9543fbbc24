"""Which coordinates a shard may have, and shards as runs of their own."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import TWO_SETTINGS, UNEVEN, run, simulate
from nqm_fast.kernels.contract import LEAF, TILE

import nqm_fast as nqm
from nqm_fast.parts import joined, part
from nqm_fast.simulation.coordinates import (
    Coordinates,
    as_coordinates,
    branches,
    nearest_branches,
    parts_of,
)


def is_allowed(first, last, dim):
    """Whether the sum over some coordinates is a node of the balanced tree of leaves."""
    size = LEAF
    while size < dim:
        size *= 2
    nodes = []
    while size >= LEAF:
        nodes += [(at, min(at + size, dim)) for at in range(0, dim, size)]
        size //= 2
    return (first, last) in nodes


@pytest.mark.parametrize("dim", [1, 63, 64, 65, 128, 200, 320, 581])
def test_allowed_are_the_nodes_of_the_tree(dim):
    ends = sorted({*range(0, dim + 1, LEAF // 2), dim})
    for first in ends:
        for last in (end for end in ends if end > first):
            asked = Coordinates(first, last, dim)
            assert asked.is_branch == is_allowed(first, last, dim), asked
            near = nearest_branches(asked)
            assert near
            assert all(x.is_branch for x in near), (asked, near)
            assert asked in near or not asked.is_branch or asked.is_everything


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ((0, 500), r"\(0, 500\).*nearest are \(0, 512\) and \(0, 256\)"),
        ((64, 256), r"nearest are \(0, 256\) and \(128, 256\)"),
        ((512, 580), r"nearest are \(512, 581\) and \(512, 576\)"),
        ((0, 600), "0 <= first < last <= 581"),
        ((-64, 0), "0 <= first < last <= 581"),
        ((64, 64), "0 <= first < last"),
        ((0, 64.5), "whole numbers"),
        ((0, np.nan), "whole numbers"),
        ((0, 64, 128), "two numbers"),
        (64, "two numbers"),
        ("ab", "two numbers"),
        ([[0, 64]], "two numbers"),
        ((0, 10**30), "two whole numbers with 0 <= first < last <= 581"),
    ],
    ids=str,
)
def test_others_are_refused(value, said):
    with pytest.raises(nqm.InputError, match=said) as error:
        run("plain", coordinates=value)
    assert str(error.value).startswith("coordinates")
    assert "\n" not in str(error.value)


def test_all_coordinates_are_the_run_itself():
    assert as_coordinates((0, 581), 581) is None
    assert as_coordinates(None, 581) is None
    assert run("plain", coordinates=(0, 581)).experiment == run("plain").experiment


@pytest.mark.parametrize("dim", [1, 100, 5 * TILE + 70, 2**20, 10**6])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 1000])
def test_problems_are_cut_into_branches(dim, count):
    cut = branches(dim, count, TILE)
    assert [x.first for x in cut] == [0, *(x.last for x in cut[:-1])]
    assert cut[-1].last == dim
    assert all(x.is_branch for x in cut)
    assert len(cut) >= count or cut[0].size == min(TILE, dim)
    assert len(cut) < 2 * count or len(cut) == 1


def test_replicas_are_cut_evenly():
    for numbers, count in ((1, 5), (7, 3), (8, 2)):
        sizes = [part.stop - part.start for part in parts_of(numbers, count)]
        assert sum(sizes) == numbers
        assert len(sizes) == min(numbers, count)
        assert max(sizes) - min(sizes) <= 1


LAWS = [
    nqm.Problem.power_law(581),
    nqm.Problem.power_law(581, 1.3, damping=1e-3),
    UNEVEN,
    nqm.Problem([-1.0, *[0.5] * 580], c=2.0, negative="drop"),
]


@pytest.mark.parametrize("problem", LAWS, ids=repr)
def test_parts_of_a_problem_have_its_numbers(problem, tmp_path):
    cuts = [0, 64, 512, problem.dim]
    parts = [part(problem, *ends) for ends in pairwise(cuts)]
    assert joined(parts) == problem
    for own, first in zip(parts, cuts, strict=False):
        there = slice(first, first + own.dim)
        for name in ("h", "c", "mean0", "var0"):
            assert np.array_equal(getattr(own, name), getattr(problem, name)[there])
        assert own.curvature_range == (own.h.min(), own.h.max())
        assert own.is_harmonic == problem.is_harmonic
        own.save(tmp_path / "part.npz")
        assert nqm.Problem.load(tmp_path / "part.npz") == own
    assert part(parts[1], 64, 128) == part(problem, 128, 192)
    assert len({repr(own) for own in parts}) == 3  # which are told apart


def test_the_risks_of_parts_add_up():
    problem = nqm.Problem.power_law(1000)
    expected = nqm.expected_risk(problem, nqm.SGD(0.1), 8, [0, 10, 100])
    parts = [part(problem, 0, 512), part(problem, 512, 1000)]
    risks = [nqm.expected_risk(own, nqm.SGD(0.1), 8, [0, 10, 100]) for own in parts]
    np.testing.assert_allclose(sum(risks), expected, rtol=1e-13)


def test_a_shard_says_that_it_is_one():
    shard = simulate(TWO_SETTINGS, problem=UNEVEN, coordinates=(512, 581))
    assert "coordinates 512 to 580 of 581" in repr(shard)
    assert "coordinates 512 to 580 of 581" in shard._repr_html_()
    assert shard.experiment.problem.dim == 69
    whole = simulate(TWO_SETTINGS, problem=UNEVEN)
    assert "coordinates" not in repr(whole)
    assert (shard.risk < whole.risk).all()
    state = simulate(problem=UNEVEN, coordinates=(512, 581), keep_state=True).state
    assert np.array_equal(state, simulate(problem=UNEVEN, keep_state=True).state[..., 512:])
