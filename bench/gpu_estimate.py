"""An estimate of the throughput on GPUs that are not here, from the kernels' machine code.

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
    """Its clock, and what a multiprocessor does in a cycle, in operations of one thread."""

    capability: tuple[int, int]
    multiprocessors: int
    clock: float  # Hz, the highest
    bandwidth: float  # bytes/s of its memory
    rates: dict[str, int]


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
WORKS = {
    "SGD": 1,
    "SGD with momentum": 2,
    "SGD with momentum and EMA": 3,
}


class Estimate(NamedTuple):
    """Of one kernel on one GPU."""

    noise: float  # instructions for each coordinate-step
    moving: float
    rest: float  # the same of all that is outside these loops, if a burst took each of it once
    unit: str  # which is busy all the time
    steps: float  # coordinate-steps/s
    steps_with_rest: float


def unit_of(name: str) -> str:
    """What carries an instruction out."""
    plain = name.split(".")[0]
    return next((unit for unit, names in UNITS.items() if plain in names), "integer")


def estimated(components: int, gpu: GPU) -> Estimate:
    """Of a setting without preconditioning, whose noise is one normal a step."""
    code = disassembled(
        compiled(*kernels_for(components, BATCH)["advance"], gpu.capability).machine_code
    )
    loops = inner_loops(code)
    noise = next(loop for loop in loops if sum(x.startswith("LOP3") for x in loop) >= 20)
    moving = max(loops, key=lambda loop: loop.count("DMUL"))
    at_once = moving.count("DMUL") / (components * (components + 1))  # steps in an iteration
    count: Counter[str] = Counter()
    for loop, steps in ((noise, 4.0), (moving, at_once)):
        for name in loop:
            count[unit_of(name)] += 1.0 / steps
    count["issue"] = sum(count.values())
    length = burst(components, BATCH)
    rest = (len(code) - sum(map(len, loops))) / length
    cycles = {unit: number / gpu.rates[unit] for unit, number in count.items()}
    seconds = {unit: number / (gpu.multiprocessors * gpu.clock) for unit, number in cycles.items()}
    seconds["memory"] = 16.0 * components / length / gpu.bandwidth  # the state, there and back
    unit = max(seconds, key=seconds.__getitem__)
    more = rest / RATES["issue"] / (gpu.multiprocessors * gpu.clock)
    return Estimate(
        len(noise) / 4.0,
        len(moving) / at_once,
        rest,
        unit,
        1.0 / seconds[unit],
        1.0 / (seconds[unit] + more),
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
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
