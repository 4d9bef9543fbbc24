"""What the kernels for GPUs are compiled to, which needs no GPU: assembly and machine code."""

import re
from functools import cache

import numpy as np
import pytest
from nqm_fast.kernels import noise
from nqm_fast.kernels.contract import LEAF

pytest.importorskip("numba_cuda")
cuda_target = pytest.importorskip("nqm_fast.kernels.cuda_target")
if cuda_target.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)
pytest.importorskip("cuda.core")

from numba import typeof
from nqm_fast.kernels import cuda_leap, cuda_plan, cuda_start, cuda_sums, cuda_walk

A100, H100 = (8, 0), (9, 0)
BATCH = cuda_plan.BATCH
KERNELS = {
    **{f"advance {n} {law}": (n, law) for n in (1, 2, 3, 4) for law in range(BATCH, 5)},
    "advance 6 -1": (6, BATCH),
    "search 1 -1": (1, BATCH),
}
