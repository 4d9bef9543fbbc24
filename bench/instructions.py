"""Count the instructions of the hot loops, from the machine code that Numba makes for this machine.

Run it as ``python bench/instructions.py``. A loop is what lies between a label and the last jump
back to it; of a kernel's loops, the one with the most instructions on wide registers is counted.
Numbers are instructions for each coordinate and step.
"""

import re

import llvmlite.binding as llvm
import numba
import numpy as np
from nqm_fast.kernels.contract import LEAF, TILE
from nqm_fast.kernels.numba import noise, tile
from nqm_fast.kernels.numba.jit import OPTIONS

WIDE = re.compile("%[yz]mm")
LEAVES = (0,) * (TILE // LEAF)
KINDS = {
    "multiply, integers": r"vpmul",
    "other integers": r"vp(?!mul)|vpternlog|vpsr|vpsl|vpxor|vpand|vpor",
    "multiply and add": r"vfn?m(add|sub)",
    "other arithmetic": r"v(add|sub|mul|min|max|round|rndscale|get|cvt|cmp|blend|scalef)",
    "root": r"vsqrt|vrsqrt",
    "load, store, shuffle": r"v(mov|broadcast|perm|unpck|shuf|insert|extract|align)",
}


def assembly(kernel, *arguments):
    """Return the assembly of a kernel for arguments like these."""
    compiled = numba.njit(**OPTIONS)(kernel.py_func)
    compiled(*arguments)
    (text,) = compiled.inspect_asm().values()
    return text


def loops(text):
    """Yield the instructions of each loop without another loop in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    place = {line[:-1]: k for k, line in enumerate(lines) if re.fullmatch(r"\.LBB\d+_\d+:", line)}
    for k, line in enumerate(lines):
        target = re.match(r"j\w+\s+(\.LBB\d+_\d+)", line)
        if target and place.get(target[1], k) < k:
            body = [x for x in lines[place[target[1]] : k + 1] if not x.endswith(":")]
            if not any(re.match(r"(j\w+|call\w*)\s", x) for x in body[:-1]):
                yield [x for x in body if not x.startswith((".", "#"))]


def counted(text, stores_per_lane, bytes_per_store):
    """Count the instructions of the hot loop for each coordinate, by kind."""
    body = max(loops(text), key=lambda body: sum(bool(WIDE.search(x)) for x in body))
    stored = sum(
        {"x": 16, "y": 32, "z": 64}[store[2]] / (2 if store[1] == "vpmovqd" else 1)
        for line in body
        if (store := re.match(r"(vp?mov\w+)\s+%([xyz])mm\d+, .*\(", line))
    )
    lanes = stored / (stores_per_lane * bytes_per_store)
    found = dict.fromkeys(KINDS, 0) | {"scalar": 0}
    for line in body:
        name = line.split()[0]
        kind = next((kind for kind, form in KINDS.items() if re.match(form, name)), "scalar")
        found[kind] += 1
    return {kind: count / lanes for kind, count in found.items()}


def main():
    """Print a table with a row for each stage."""
    key, words = np.uint64(1), np.zeros(4 * TILE, dtype=np.uint32)
    z = np.zeros(4 * TILE, dtype=np.float32)
    rows = {
        "words": (counted(assembly(noise.draw_words, LEAVES, 0, *[key] * 5, words, 0), 4, 4), 4),
        "normals": (counted(assembly(noise.make_normals, LEAVES, words, 0, z), 4, 4), 4),
    }
    for n in (1, 2, 3):
        coefficient, state = np.zeros(n * (n + 1) * 2 * TILE), np.zeros(n * TILE)
        text = assembly(tile.step_quads, (0.0,) * n, LEAVES, 0, 4, coefficient, z, state)
        rows[f"steps, {n} components"] = counted(text, n, 8), 4
    print(llvm.get_host_cpu_name())
    for stage, (found, steps) in rows.items():
        parts = {kind: count / steps for kind, count in found.items()}
        print(f"{stage}: {sum(parts.values()):.3f}")
        for kind, count in parts.items():
            print(f"    {kind:22s} {count:.3f}")


if __name__ == "__main__":
    main()
