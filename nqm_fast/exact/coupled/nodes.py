"""Few nodes that stand for all coordinates, where the noise of each depends on all others.

The sum that noise depends on, and the risk, are linear in three measures on curvatures: that of
the start, that of the noise, and that of the coordinates themselves. Where coordinates follow a
formula, or noise and start are the same for all, the nodes of one rule have all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...certified_sums import (
    AGREEMENT,
    COARSE,
    FINE,
    NEGLIGIBLE,
    REFINED_COARSE,
    REFINED_FINE,
    SHARE,
    Nodes,
    Sums,
)
from ...coordinates.array_nodes import ArrayNodes
from ...coordinates.blocks import Block
from ...foundation.validation import Array, InputError
from ...noise import Noise
from ...problem import Problem
from .maps import CoupledBlock

MOST_NODES = 1 << 15
"""More nodes than this take too much time and memory."""
LADDER = (COARSE, FINE), (REFINED_COARSE, REFINED_FINE)
"""Nodes that a span is compared with, before it is halved."""


class Part(NamedTuple):
    """Nodes of a measure: coordinates with some of start, noise, and part in the sum."""

    nodes: Nodes
    has_start: bool
    has_noise: bool
    is_shared: bool


class Chosen(NamedTuple):
    """A span and how many nodes stand for it, of one of the measures."""

    part: int
    span: Any
    nodes: int


class CoupledNodes:
    """The nodes of a problem, for noise that depends on the iterate."""

    def __init__(self, problem: Problem) -> None:
        assert problem.noise_model is not None
        self._problem, self._noise = problem, problem.noise_model
        self.parts = _parts(problem)
        """None where all coordinates are few enough to stand for themselves."""

    def every(self) -> CoupledBlock:
        """Return all coordinates."""
        if self._problem.dim > MOST_NODES:
            raise InputError(
                f"problem needs more nodes than the {MOST_NODES} that noise which depends on the "
                "iterate allows, for a risk that changes so fast with curvature"
            )
        return coupled_block(self._problem.block(0, self._problem.dim), self._noise)

    def joined(self, nodes: int, *, rough: bool = False) -> CoupledBlock:
        """Return the nodes of all spans, so many for each."""
        return self.block(
            [
                Chosen(k, span, nodes)
                for k, part in enumerate(self.parts)
                for span in part.nodes.spans
            ],
            rough=rough,
        )

    def block(self, chosen: Sequence[Chosen], *, rough: bool = False) -> CoupledBlock:
        """Return the nodes of some spans; half as many, which are rough, show their accuracy."""
        blocks = []
        for number, span, nodes in chosen:
            part = self.parts[number]
            count = max(nodes // 2, 1) if rough and nodes > COARSE else nodes
            blocks.append(self._one(part, part.nodes.block(span, count, rough=rough)))
        return CoupledBlock(*(np.concatenate(x) for x in zip(*blocks, strict=True)))

    def _one(self, part: Part, block: Block) -> CoupledBlock:
        """Return nodes of a measure with what it has."""
        full = coupled_block(block, self._noise)
        if all(part[1:]):
            return full
        zero, one = np.zeros(full.h.size), np.ones(full.h.size)
        c = one if part.has_noise else zero
        own, shared, weight = self._noise.coupling(full.h, c)
        if not (part.is_shared or self._noise.follows_optimum):
            shared = zero
        start = one if part.has_start else zero
        return CoupledBlock(full.h, c, start, full.multiplicity, own, shared, weight)

    def refined(self, sums: Sums) -> list[Chosen]:
        """Choose nodes for each span, enough for noise that is the same everywhere.

        With `sums` that are its risk at many steps they are enough for the responses of coordinates
        to start and noise, of which the coupled risk is made. The answer is empty where only the
        coordinates themselves are enough.
        """
        chosen: list[Chosen] = []
        for number, part in enumerate(self.parts):
            waiting, rung = list(part.nodes.spans), 0
            kept = np.zeros(sums.rows)
            while waiting:
                few, many = LADDER[min(rung, len(LADDER) - 1)]
                fine, coarse = self._compared(part, waiting, few, many, sums)
                total = kept + fine.sum(axis=1)
                scale = np.maximum(SHARE * np.abs(total)[:, None], AGREEMENT * np.abs(fine))
                with np.errstate(invalid="ignore"):
                    agrees = np.abs(fine - coarse) <= scale + NEGLIGIBLE
                done = np.all(agrees | ~np.isfinite(fine + coarse), axis=0)
                kept = kept + fine[:, done].sum(axis=1)
                chosen += [
                    Chosen(number, span, many)
                    for span, is_done in zip(waiting, done.tolist(), strict=True)
                    if is_done
                ]
                waiting = [span for span, is_done in zip(waiting, done, strict=True) if not is_done]
                rung += 1
                if rung >= len(LADDER):
                    exact = [x for x in waiting if part.nodes.is_exact(x, many)]
                    chosen += [Chosen(number, span, many) for span in exact]
                    halves = [part.nodes.split(x) for x in waiting if x not in exact]
                    if not all(halves) or many * (len(chosen) + 2 * len(halves)) > MOST_NODES:
                        return []
                    waiting = [half for pair in halves for half in pair]
        return chosen

    def _compared(
        self, part: Part, spans: Sequence[Any], few: int, many: int, sums: Sums
    ) -> tuple[Array, Array]:
        """Compute sums of spans over more and over fewer nodes, two arrays (steps, spans)."""
        blocks = [part.nodes.block(span, many) for span in spans]
        blocks += [part.nodes.block(span, few, rough=True) for span in spans]
        plain = []
        for block in blocks:
            own = self._one(part, block)
            c = own.c + own.shared
            plain.append(Block(own.h, c, own.second_moment, own.multiplicity, own.second_moment))
        both = sums(plain, np.arange(sums.rows))
        return both[:, : len(spans)], both[:, len(spans) :]


def coupled_block(block: Block, noise: Noise) -> CoupledBlock:
    """Return coordinates with their part in noise that depends on the iterate."""
    h, c, second_moment, count = (np.broadcast_to(x, block.h.shape) for x in block[:4])
    return CoupledBlock(h, c, second_moment, count, *noise.coupling(h, c))


def _parts(problem: Problem) -> list[Part]:
    """Return the nodes of all measures; none where coordinates are few."""
    nodes, noise = problem.nodes, problem.noise_model
    if nodes is None:
        return []
    assert noise is not None
    if nodes.is_pointwise:
        return [Part(nodes, True, True, True)]

    def measure(weight: Callable[[Block], Array]) -> ArrayNodes:
        """Return the nodes of one measure, with its weight as their multiplicity."""

        def read(first: int, last: int) -> Block:
            block = problem.block(first, last)
            one = np.ones(1)
            return Block(block.h, one, one, np.asarray(block.multiplicity * weight(block)), one)

        return ArrayNodes(problem.dim, problem.curvature_range, read, 1.0, True)

    parts = [
        Part(measure(lambda block: block.second_moment), True, False, False),
        Part(measure(lambda block: block.c), False, True, False),
    ]
    if not noise.follows_optimum:
        parts.append(Part(measure(lambda block: np.ones(1)), False, False, True))
    return parts
