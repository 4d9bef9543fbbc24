"""The nodes that a search works on: few at first, and finer ones where these do not suffice."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...algorithms.base import LinearAlgorithm
from ...certified_sums import COARSE, certified_block
from ...coordinates.blocks import Block
from ...problem import Problem
from ...schedules import Schedule
from ..coupled.coarse import coarse_block
from ..coupled.maps import CoupledBlock
from ..coupled.nodes import CoupledNodes
from ..coupled.risk import certified_block as certified_coupled_block
from ..first_passage import checked_steps
from ..risk import RiskSums

SEARCHED_NODES = 8
"""Nodes of a span at first: the searched settings hardly oscillate, and each node takes time."""
REFINEMENTS = 3
"""Searches on other nodes, each finer than those before and costlier."""
WHOLE_SPECTRUM_DIM = 1 << 15
"""Up to this dimension all coordinates may be searched, which takes too long above."""
AGREEMENT = 1e-10
"""Difference of the log of the risk up to which the searched nodes stand for all coordinates."""


def searched_nodes(problem: Problem) -> Block:
    """Return few nodes that stand for all coordinates well enough to begin a search."""
    nodes = problem.nodes
    if nodes is None:
        return problem.block(0, problem.dim)
    return nodes.joined(SEARCHED_NODES, rough=True)


def finer_nodes(
    problem: Problem, algorithm: LinearAlgorithm, batch_size: Schedule, steps: int
) -> Block:
    """Return nodes that stand for all coordinates at a setting and at steps up to a number."""
    nodes = problem.nodes
    if nodes is None:
        return problem.block(0, problem.dim)
    sums = RiskSums(algorithm, batch_size, checked_steps(steps))
    return certified_block(problem, nodes, sums, WHOLE_SPECTRUM_DIM)


def first_nodes(problem: Problem) -> Block | CoupledBlock:
    """Return few nodes to begin a search with, whatever the noise."""
    if problem.noise_model is None:
        return searched_nodes(problem)
    nodes = CoupledNodes(problem)
    return nodes.joined(COARSE, rough=True) if nodes.parts else nodes.every()


def fewest_nodes(problem: Problem, *, has_state: bool) -> Block | CoupledBlock:
    """Return the nodes that a search of schedules begins with: very few where each takes long."""
    first = first_nodes(problem)
    if isinstance(first, CoupledBlock):
        return coarse_block(first)
    if not has_state:
        return first
    zero = np.zeros(first.h.size)
    h, c, second_moment, count = (np.broadcast_to(x, first.h.shape) for x in first[:4])
    few = coarse_block(CoupledBlock(h, c, second_moment, count, zero, zero, zero))
    return Block(few.h, few.c, few.second_moment, few.multiplicity, few.second_moment)


def better_nodes(
    problem: Problem, algorithm: LinearAlgorithm, batch_size: Schedule, steps: int
) -> Block | CoupledBlock:
    """Return nodes that stand for all coordinates at a setting, whatever the noise."""
    if problem.noise_model is None:
        return finer_nodes(problem, algorithm, batch_size, steps)
    sums = partial(RiskSums, algorithm, batch_size)
    return certified_coupled_block(problem, algorithm, batch_size, steps, sums)
