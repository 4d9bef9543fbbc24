"""What the tests of the backend for NVIDIA's GPUs share.

Importing this skips a module where there is neither a GPU nor the simulator of one, in which
`kernels/cuda/test_without_a_gpu.py` runs them.
"""

import sys

import pytest
from helpers import Runs, irregular, kinds_of_runs
from nqm_fast.kernels import load_backend
from nqm_fast.kernels.contract import LEAF

import nqm_fast as nqm

pytest.importorskip("numba_cuda")
jit = pytest.importorskip("nqm_fast.kernels.cuda.jit")
SIMULATED = jit.SIMULATED
try:
    jit.available()
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)
BACKEND = load_backend("cuda")
module = sys.modules["nqm_fast.kernels.cuda.backend"]

on_hardware = pytest.mark.skipif(SIMULATED, reason="needs a GPU")

GROUP = module.GROUP
if SIMULATED:  # where every thread is one of Python's
    import simulated_threads

    simulated_threads.simulator.BlockManager.run = simulated_threads.run_block
    GROUP = 2
    for name in ("backend", "reduce"):
        sys.modules[f"nqm_fast.kernels.cuda.{name}"].GROUP = GROUP

D = LEAF - 3 if SIMULATED else 300 * LEAF + 5
STEPS = 19
RATES = [5, 6, 8]  # lengths of the pieces of a learning rate
ENDING = {
    "diverging, at the end": (nqm.SGD(1e10, momentum=0.9), 8, {"steps": 17}),
    "leap that diverges": (nqm.SGD(1e60), 8, {"sampling": "leap"}),
}
run = Runs(
    kinds_of_runs(7, RATES, [8, 11], [8, 8, 3], diverging=1e30, most=7, most_signs=37) | ENDING,
    problem=irregular(D),
    steps=STEPS,
    record=[0, 3, 8, 14],
    replicas=[2, 5],
)
