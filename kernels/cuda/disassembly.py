"""The machine code of the kernels for GPUs, which need not be here, for tests and estimates."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..contract import LEAF, Model, Noise, Timeline
from . import kicks, leap, reduce, rule, start, step, tasks
from .jit import disassembler, signature

_LINE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(?P<name>[A-Z][\w.]*)(?P<operands>.*);")
_LABEL = re.compile(r"^(\.L_x_\d+):")
_TARGET = re.compile(r"`\((\.L_x_\d+)\)")
_RULES = {1: 4, 2: 2, 3: 1, 4: -1}  # the code of a rule with so many components


def kernels_for(components: int, law: int) -> dict[str, tuple[Any, Any]]:
    """Return every kernel that a run may launch, by name, with the types of its arguments.

    Parameters
    ----------
    components : int
        Components of a state.
    law : int
        The code of a law, or ``noise.BATCH``.
    """
    noise, model, timeline = _smallest(components, law)
    sizes = first = np.zeros(6, dtype=np.int64)
    alive, floats = np.zeros(1, dtype=np.uint8), np.zeros(1)
    words = np.zeros(4, dtype=np.uint32)
    stepping = noise, model, timeline, sizes, alive
    examples: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "advance": (step.advance_kernel(components, law), (*stepping, floats, floats, first)),
        "search": (
            step.search_kernel(components, law),
            (noise, model, timeline, sizes, first, floats, first),
        ),
        "kicks": (kicks.kick_kernel(components), (model, timeline, sizes, 1, 1, 1, 1, floats)),
        "map": (leap.map_kernel(components), (model, timeline, sizes, 1, 1, 1, 1, 1, floats)),
        "leap": (leap.leap_kernel(components), (noise, sizes, 1, 1, alive, floats, floats)),
        "measure": (
            leap.measure_kernel(components),
            (model, sizes, 1, 1, 1, alive, floats, floats, first),
        ),
        "start": (start.start_rows, (noise, floats, floats, floats)),
        "harmonic": (start.harmonic, (1, 1, floats, floats, floats, floats, first)),
        "philox": (start.philox_rows, (words, words, words)),
        "normals": (start.normal_rows, (words, np.zeros(4, dtype=np.float32))),
        "add leaves": (reduce.add_leaves, (floats, 1, 1, floats)),
        "clear": (reduce.clear, (floats,)),
    }
    if components in _RULES:
        kernel = rule.advance_rule_kernel(_RULES[components], law)
        examples["advance by rule"] = kernel, (*stepping, floats, floats, first)
    return {name: (kernel, signature(*given)) for name, (kernel, given) in examples.items()}


def _smallest(components: int, law: int) -> tuple[Any, Any, Any]:
    """Return the smallest noise, model and timeline that have the types of a run's."""
    one, number = np.ones(LEAF), np.ones((1, 1), dtype=np.int64)
    noise = Noise(np.zeros(2, dtype=np.uint64), number[0], 0, max(law, 0), law >= 0, np.float32(1))
    model = Model(
        np.array([[0, 0, components, -1]]), np.arange(2), one[:1], one[None], one, one[None],
        np.array([[0, 1]]), np.ones(LEAF, dtype=np.int64), np.ones((1, components)),
        np.ones((2, 3)),
    )  # fmt: skip
    timeline = Timeline(0, 1, number[0], np.ones((1, 1, 1)), one[None, :1], number, number[0])
    timeline = timeline._replace(looks=number[0], harmless=np.ones((1, components)))
    return noise, tasks.flat_model(model, LEAF), tasks.steps(model, timeline, law)


class Instruction(NamedTuple):
    """An instruction of a GPU's machine code."""

    name: str
    target: int | None  # the number of the instruction that it jumps to


def disassembled(machine_code: bytes) -> list[Instruction]:
    """Return the instructions of a kernel, which NVIDIA's nvdisasm reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(machine_code)
        text = subprocess.run(
            [disassembler(), "-c", path], check=True, capture_output=True, text=True
        )
    found: list[tuple[str, str | None]] = []
    labels: dict[str, int] = {}
    for line in map(str.strip, text.stdout.splitlines()):
        if label := _LABEL.match(line):
            labels[label[1]] = len(found)
        elif part := _LINE.match(line):
            target = _TARGET.search(part["operands"])
            found.append((part["name"], target[1] if target else None))
    return [Instruction(name, labels[to] if to else None) for name, to in found]


def inner_loops(code: Sequence[Instruction]) -> list[list[str]]:
    """Return the names of the instructions in every loop that has no loop within it."""
    loops = [
        (line.target, end)
        for end, line in enumerate(code)
        if line.name.startswith("BRA") and line.target is not None and line.target < end
    ]
    innermost = [
        (begin, end)
        for begin, end in loops
        if not any(begin <= b and e <= end for b, e in loops if (b, e) != (begin, end))
    ]
    return [[line.name for line in code[begin : end + 1]] for begin, end in innermost]
