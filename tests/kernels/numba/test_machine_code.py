"""The machine code of the hot loops uses wide registers, calls nothing, contracts nothing."""

import math
import re

import numpy as np
import pytest
from nqm_fast.kernels.contract import LEAF, TILE

import nqm_fast as nqm

numba = pytest.importorskip("numba")
import llvmlite.binding as llvm  # noqa: E402
from nqm_fast.kernels.noise import LAWS  # noqa: E402
from nqm_fast.kernels.numba import backend, noise, start, step, tile  # noqa: E402
from nqm_fast.kernels.numba.jit import OPTIONS  # noqa: E402

UNIT = (0,) * (TILE // LEAF)

FEATURES = llvm.get_host_cpu_features()
X86 = llvm.get_process_triple().startswith("x86_64")
MATHS = re.compile(r"(?<![\w.])(__svml_\w+|(log|exp|sin|cos|sincos|pow|sqrt|fma|expm1)f?)(?![\w.])")


def assembly(kernel, *arguments):
    """The assembly of a fresh compilation, as code from the cache on disk cannot be inspected."""
    compiled = numba.njit(**OPTIONS)(getattr(kernel, "py_func", kernel))
    compiled(*arguments)
    (text,) = compiled.inspect_asm().values()
    return text


def wide(text, operation):
    """How many instructions of a kind work on the widest registers in use on this machine.

    LLVM has 512 bits and prefers 256 on Intel's machines with AVX-512, for their clocks.
    """
    if FEATURES.get("avx512f") and llvm.get_host_cpu_name().startswith("znver"):
        register = "%zmm"
    else:
        register = "%[yz]mm"
    return len(re.findall(rf"^\s+{operation}\s.*{register}", text, re.MULTILINE))


FMA, FMA_DOUBLE = r"vfn?m(?:add|sub)\w*ps", r"vfn?m(?:add|sub)\w*[ps]d"
needs_avx2 = pytest.mark.skipif(
    not (X86 and FEATURES.get("avx2") and FEATURES.get("fma")),
    reason="names of registers and instructions are those of x86 with AVX2",
)


def variates(law):
    return noise.variates_kernel(LAWS[law])


def stages(n):
    """Kernels of the hot loop, their arguments, and vector instructions of a loop's turn."""
    key, words, z = np.uint64(1), np.zeros(4 * TILE, dtype=np.uint32), np.zeros(4 * TILE, "f4")
    sums, count = np.zeros(TILE), np.zeros(TILE, dtype=np.int64)
    terms = n * (n + 1)
    steps = (0.0,) * n, UNIT, 0, 4, np.zeros(terms * TILE), z, np.zeros(n * TILE)
    return [
        (noise.draw_words, (UNIT, 0, *[key] * 5, words, 0), {"vpmuludq": 18}),
        (noise.make_normals, (UNIT, words, 0, z), {FMA: 32, "vsqrtps": 2}),
        (variates("laplace"), (UNIT, np.float32(0.0), words, z), {FMA: 40}),
        (variates("student-t"), (UNIT, np.float32(0.4), words, z), {FMA: 50}),
        (noise.add_to, (UNIT, z, sums), {"vaddpd": 1}),
        (noise.count_kernel(LAWS["rademacher"]), (UNIT, words[0], words, count), {"vpaddq": 1}),
        (tile.step_quads, steps, {"vmulpd": 4 * terms, "vaddpd": 4 * terms}),
    ]


@needs_avx2
@pytest.mark.mostly_slow(1)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_stages_are_vectorised(n):
    for kernel, arguments, expected in stages(n):
        text = assembly(kernel, *arguments)
        found = {operation: wide(text, operation) for operation in expected}
        assert all(found[name] >= count for name, count in expected.items()), (kernel, found)
        assert not MATHS.search(text), kernel
        assert not re.search(FMA_DOUBLE, text), kernel


@needs_avx2
@pytest.mark.slow
def test_the_whole_walk_is_vectorised(monkeypatch):
    """The same instructions are in what is run, where stages may be inlined."""
    texts = []

    def compiled(_, job, leaves, threads):
        summing = (0,) * bool(job.noise.summed)
        arguments = (0.0,), (0,) * leaves, summing, *job._replace(turns=0)  # the first turn
        texts.append(assembly(step.advance_tile, *arguments))

    monkeypatch.setattr(backend.NumbaBackend, "advance_tiles", compiled)
    for sampling in ("minibatch", "per-sample"):
        nqm.simulate(
            nqm.Problem.power_law(LEAF), nqm.SGD(0.1), 8, 4, threads=1, backend="numba",
            sampling=sampling,
        )  # fmt: skip
    normals, sums = texts
    for kernel, _, expected in stages(1):
        text = normals if kernel in (noise.make_normals, tile.step_quads) else sums
        assert all(wide(text, name) >= count for name, count in expected.items())
    for text in texts:
        assert not MATHS.search(text)
        assert not re.search(FMA_DOUBLE, text)


@needs_avx2
def test_states_are_copied_and_started_by_rows():
    """Not number by number, as where an index could be negative."""
    state, own = np.zeros((2, 3 * TILE)), np.zeros(2 * TILE)
    for text in (
        assembly(tile.load_state, UNIT, state, 0, own),
        assembly(tile.store_state, UNIT, own, 0, state),
    ):
        assert wide(text, "vmovup[sd]") >= 2
        assert not re.search("gather|scatter", text)
    z, w = np.zeros(TILE, dtype=np.float32), np.zeros(TILE)
    assert wide(assembly(start.write_start, UNIT, 1.0, 2.0, z, w), "vmulpd")


@needs_avx2
def test_what_is_looked_for_in_machine_code_can_be_found():
    def logarithms(x):
        for i in range(x.size):
            x[i] = math.log(x[i])

    def carried(x):
        for i in range(1, x.size):
            x[i] = x[i - 1] * x[i]

    def fused(x):
        for i in range(x.size):
            x[i] = numba_fma(x[i], x[i], x[i])

    from nqm_fast.kernels.numba.jit import fma as numba_fma

    assert MATHS.search(assembly(logarithms, np.ones(TILE)))
    assert not wide(assembly(carried, np.ones(TILE)), "vmulpd")
    assert re.search(FMA_DOUBLE, assembly(fused, np.ones(TILE)))
