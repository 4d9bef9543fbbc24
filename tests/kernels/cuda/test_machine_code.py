"""The assembly and machine code that kernels for GPUs are compiled to, which needs no GPU."""

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from nqm_fast.kernels import noise

pytest.importorskip("numba_cuda")
jit = pytest.importorskip("nqm_fast.kernels.cuda.jit")
if jit.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)
pytest.importorskip("cuda.core")
disassembly = pytest.importorskip("nqm_fast.kernels.cuda.disassembly")

BATCH = -1
pytestmark = pytest.mark.slow
GPUS = {"A100": (8, 0), "H100": (9, 0)}
OFTEN = [("advance", n, law) for n in (1, 3) for law in range(BATCH, len(noise.LAWS))]
OFTEN += [("advance", n, law) for n in (2, 5) for law in (BATCH, noise.LAWS["student-t"].code)]
OFTEN += [("search", n, law) for n in (1, 3, 8) for law in (BATCH, noise.LAWS["student-t"].code)]
SELDOM = [(name, n, BATCH) for name in ("kicks", "map", "leap", "measure") for n in (1, 3, 8)]
ONCE = [(x, 1, BATCH) for x in ("start", "harmonic", "philox", "normals", "add leaves", "clear")]
STUDENT_T = noise.LAWS["student-t"].code
RULES = [("advance by rule", n, law) for n in (1, 2, 3, 4) for law in (BATCH, STUDENT_T)]
EVERY = [*OFTEN, *RULES, *SELDOM, *ONCE]
SELDOM_RUN = [("advance", 3, law) for law in range(len(noise.LAWS)) if law != STUDENT_T]
SELDOM_RUN += [("advance by rule", n, STUDENT_T) for n in (2, 3)]
# The older GPU stands for others; laws of samples differ only in their draws, which one component
# shows as well as several.
ON_GPUS = pytest.mark.parametrize(
    ("name", "components", "law", "gpu"),
    [
        pytest.param(*row, gpu, marks=[pytest.mark.thorough] * (gpu != "H100" or row in SELDOM_RUN))
        for gpu in GPUS
        for row in EVERY
        if gpu == "H100" or row[2] == BATCH
    ],
)
DIVIDING = ("map", "kicks", "harmonic", "advance by rule")  # the last one as its rule says


@cache
def compiled(name, components, law, gpu):
    return jit.compiled(*disassembly.kernels_for(components, law)[name], GPUS[gpu])


@cache
def machine_code(*which):
    code = disassembly.disassembled(compiled(*which).machine_code)
    assert len(code) > 10
    return code


def test_no_kernel_is_left_out():
    assert {name for name, _, _ in EVERY} == set(disassembly.kernels_for(1, BATCH))


@ON_GPUS
def test_resources(name, components, law, gpu):
    """Kernels use no local memory, and few enough registers for half of all possible threads.

    For the map of a leap, which is found once for all replicas, a quarter is enough, and for update
    rules, whose roots and quotients are functions.
    """
    report = compiled(name, components, law, gpu).report
    local = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report
    )
    assert local.groups() == ("0", "0", "0")
    registers = int(re.search(r"Used (\d+) registers", report)[1])
    threads = 2048 // (4 if name in ("map", "kicks", "advance by rule") else 2)
    assert 0 < registers * threads <= 65536
    shared = re.search(r"(\d+) bytes smem", report)
    if shared and components <= 3:  # more need more, and get fewer blocks
        assert int(shared[1]) * (threads // 64) <= 164 << 10


@ON_GPUS
def test_arithmetic(name, components, law, gpu):
    """There is no contraction, and no approximate function but the root that is then corrected."""
    text = compiled(name, components, law, gpu).assembly
    assert not re.search(r"\bfma\.\w+\.f64|\.ftz\.f64|\b(ex2|lg2|sin|cos|tanh)\.approx", text)
    assert not re.search(r"\b(div|sqrt|rcp)\.(approx|full)", text)
    rounded = re.findall(r"\b(?:add|sub|mul|fma|div|sqrt)\.(\w+)\.f(?:32|64)", text)
    assert set(rounded) <= {"rn"}
    code = machine_code(name, components, law, gpu)
    names = {line.name for line in code}
    functions = {x for x in names if x.startswith("MUFU")}
    assert not functions & {"MUFU.EX2", "MUFU.LG2", "MUFU.SIN", "MUFU.COS", "MUFU.TANH"}
    if name not in DIVIDING:
        assert functions <= {"MUFU.RSQ"}
        assert not any(x.startswith("DFMA") for x in names)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize(("name", "components", "law"), OFTEN)
def test_inner_loops(name, components, law, gpu):
    """Inner loops draw noise and move the state without a division, a call, or local memory.

    What is called returns; without that, CALL.REL is the end of a loop.
    """
    code = machine_code(name, components, law, gpu)
    assert not [x.name for x in code if x.name.startswith(("RET", "CALL.ABS"))]
    loops = disassembly.inner_loops(code)
    assert any("DMUL" in loop and not any("MUFU" in x for x in loop) for loop in loops)
    assert any(sum(x.startswith("LOP3") for x in loop) >= 20 for loop in loops)  # ten rounds
    for loop in loops:
        assert not [x for x in loop if x.startswith(("DFMA", "LDL", "STL", "MUFU.RCP"))]


# -- these tests can fail ----------------------------------------------------------------


def calls(monkeypatch, function, *arguments):
    """How often a function calls `noise.fma`."""
    counted, usual = [], noise.fma
    monkeypatch.setattr(noise, "fma", lambda *a: counted.append(1) or usual(*a))
    function(*arguments)
    monkeypatch.setattr(noise, "fma", usual)
    return len(counted)


def test_fused_operations_are_those_that_are_written(monkeypatch):
    """Four normals take two pairs, each with a square root of its own."""
    words = np.uint32([7, 9])
    pair = calls(monkeypatch, noise.box_muller, words[:1], words[1:])
    one = np.float32([1.0])
    root = calls(monkeypatch, noise.root_from, one, one)
    for gpu in GPUS:
        text = compiled("normals", 1, BATCH, gpu).assembly
        fused = Counter(re.findall(r"\bfma\.\S+", text))
        assert fused == {"fma.rn.f32": 2 * (pair + root)}
        instructions = Counter(x.name for x in machine_code("normals", 1, BATCH, gpu))
        assert instructions["FFMA"] == 2 * (pair + root)


def test_contraction_is_noticed(monkeypatch):
    """A version of numba-cuda that does not know the option would contract products and sums."""
    monkeypatch.setattr(jit.compiler, "compile_cuda", jit._compile_cuda)
    monkeypatch.setattr(jit.dispatcher, "compile_cuda", jit._compile_cuda)
    kernel, types_of = disassembly.kernels_for(1, BATCH)["start"]
    with pytest.raises(ValueError, match="compiles start_rows with other arithmetic"):
        jit.compiled(kernel, types_of, GPUS["A100"])


def test_optimisation_at_link_time_would_be_noticed(monkeypatch):
    """Optimisation at link time contracts anew, after the assembly that is checked."""
    kernel, types_of = disassembly.kernels_for(1, BATCH)["start"]
    assert kernel.targetoptions["lto"] is False
    monkeypatch.setitem(kernel.targetoptions, "lto", True)
    code = disassembly.disassembled(jit.compiled(kernel, types_of, GPUS["H100"]).machine_code)
    assert any(line.name.startswith("DFMA") for line in code)


def test_the_contract_goes_only_as_far_as_our_kernels():
    """What others compile in the same process is compiled as they are used to."""
    from numba import cuda, types

    def theirs(x, y):
        x[0] = x[0] * y[0] + y[1]

    array = types.float64[::1]
    text, _ = cuda.compile_ptx(theirs, (array, array), cc=(8, 0))
    assert "fma.rn.f64" in text


def test_what_was_compiled_is_counted():
    assert compiled("clear", 1, BATCH, "A100")
    assert jit.compile_seconds() > 0.0
