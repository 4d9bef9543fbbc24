"""An estimate of the throughput on GPUs that one does not have, from the kernels' machine code.

``python bench/gpu_estimate.py`` counts the instructions of the two inner loops, the one that draws
noise and the one that moves the state, for each coordinate-step, and divides what a GPU can issue
by them. It is a roofline: an upper bound under the assumptions that it prints, no measurement.
"""

import argparse
from collections import Counter
from typing import NamedTuple

from nqm_fast.kernels.cuda.disassembly import disassembled, inner_loops, kernels_for
from nqm_fast.kernels.cuda.jit import compiled
from nqm_fast.kernels.cuda.noise import BATCH
from nqm_fast.kernels.cuda.step import burst


class GPU(NamedTuple):
    """The clock, memory and multiprocessors of a GPU."""

    capability: tuple[int, int]
    multiprocessors: int
    clock: float
    """Highest frequency, in Hz."""
    bandwidth: float
    """Bytes/s of its memory."""
    rates: dict[str, int]
    """Operations of one thread that a multiprocessor does in a cycle, by unit."""


RATES = {"issue": 128, "integer": 64, "float64": 32, "float32": 64, "special": 16, "shared": 32}
GPUS = {
    "A100 SXM": GPU((8, 0), 108, 1.41e9, 2.0e12, RATES),
    "H100 SXM": GPU((9, 0), 132, 1.98e9, 3.35e12, RATES | {"float64": 64, "float32": 128}),
}
UNITS = {
    "float64": ("DADD", "DMUL", "DSETP", "DFMA"),
    "float32": ("FADD", "FMUL", "FFMA", "HFMA2"),
    "special": ("MUFU", "F2F", "F2I", "I2F", "I2FP", "POPC"),
    "shared": ("LDS", "STS"),
}
"""Instructions by the unit that carries them out; all others are of the unit "integer"."""
WORKS = {
    "SGD": 1,
    "SGD with momentum": 2,
    "SGD with momentum and EMA": 3,
}
"""Number of state components, by algorithm."""


class Estimate(NamedTuple):
    """The estimate for one kernel on one GPU."""

    noise: float
    """Instructions of the loop that draws noise, for each coordinate-step."""
    moving: float
    """Instructions of the loop that moves the state, for each coordinate-step."""
    rest: float
    """Instructions outside these loops for each coordinate-step, if a burst ran each once."""
    unit: str
    """The unit that is busy all the time, and so the bottleneck."""
    steps: float
    """Coordinate-steps/s by the loops alone."""
    steps_with_rest: float
    """Coordinate-steps/s with the other instructions."""


def unit_of(name: str) -> str:
    """Return the unit that carries out an instruction."""
    plain = name.split(".")[0]
    return next((unit for unit, names in UNITS.items() if plain in names), "integer")


def estimated(components: int, gpu: GPU) -> Estimate:
    """Estimate a setting without preconditioning, whose noise is one normal a step."""
    code = disassembled(
        compiled(*kernels_for(components, BATCH)["advance"], gpu.capability).machine_code
    )
    loops = inner_loops(code)
    noise = next(loop for loop in loops if sum(x.startswith("LOP3") for x in loop) >= 20)
    moving = max(loops, key=lambda loop: loop.count("DMUL"))
    steps_per_iteration = moving.count("DMUL") / (components * (components + 1))
    count: Counter[str] = Counter()
    for loop, steps in ((noise, 4.0), (moving, steps_per_iteration)):
        for name in loop:
            count[unit_of(name)] += 1.0 / steps
    count["issue"] = sum(count.values())
    length = burst(components, BATCH)
    rest = (len(code) - sum(map(len, loops))) / length
    cycles = {unit: number / gpu.rates[unit] for unit, number in count.items()}
    seconds = {unit: number / (gpu.multiprocessors * gpu.clock) for unit, number in cycles.items()}
    seconds["memory"] = 16.0 * components / length / gpu.bandwidth  # The state is read and written.
    unit = max(seconds, key=seconds.__getitem__)
    rest_seconds = rest / RATES["issue"] / (gpu.multiprocessors * gpu.clock)
    return Estimate(
        len(noise) / 4.0,
        len(moving) / steps_per_iteration,
        rest,
        unit,
        1.0 / seconds[unit],
        1.0 / (seconds[unit] + rest_seconds),
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table of estimates, and what they assume."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print("ESTIMATES from machine code, not measurements: upper bounds of coordinate-steps/s.")
    print()
    print("| GPU | work | instructions: noise + step (+ rest) | bound by | coordinate-steps/s |")
    print("|---|---|---|---|---|")
    for name, gpu in GPUS.items():
        for work, components in WORKS.items():
            e = estimated(components, gpu)
            print(
                f"| {name} | {work} | {e.noise:.0f} + {e.moving:.1f} (+ {e.rest:.0f}) | {e.unit} "
                f"| {e.steps_with_rest:.1e} to {e.steps:.1e} |"
            )
    print()
    print("Assumed: one setting, its noise a normal a step; every unit busy in every cycle; the")
    print("highest clock; coordinates enough for every multiprocessor. The lower number adds all")
    print("instructions outside the inner loops once for each burst of steps, taken or not.")
    for name, gpu in GPUS.items():
        rates = ", ".join(f"{unit} {rate}" for unit, rate in gpu.rates.items())
        print(
            f"{name}: {gpu.multiprocessors} multiprocessors at {gpu.clock / 1e9:.2f} GHz, "
            f"{gpu.bandwidth / 1e12:.2f} TB/s; a cycle of one does {rates}."
        )


if __name__ == "__main__":
    main()
