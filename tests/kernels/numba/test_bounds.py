"""Kernels stay within their arrays, which nothing looks after where they are compiled for speed."""

import pytest
from helpers import python

pytest.importorskip("numba")

CODE = """
import numpy as np, nqm_fast as nqm
cosine = nqm.schedules.Cosine(1.5, 203)
excursion = nqm.schedules.PerStep([3.0] * 150 + [500.0] * 53)
runs = [
    (nqm.SGD(0.5), {"record": 1}),
    (nqm.SGD(cosine), {"record": 1}),
    (nqm.SGD(0.5, momentum=0.9), {"record": 1}),
    (nqm.SGD(0.5), {"record": 7, "bands": 3}),
    ([nqm.SGD(cosine), nqm.SGD(0.3)], {}),
    (nqm.SGD(excursion), {}),
    (nqm.SGD(0.5), {"sampling": "per-sample", "data": "laplace"}),
    (nqm.SGD(0.5, momentum=0.9), {"sampling": "leap", "record": [0, 9, 203]}),
    ([nqm.SGD(0.5), nqm.SGD(0.3)], {"batch_size": [2, 5], "sampling": "per-sample"}),
    (nqm.Adam(0.1, ema=0.9), {}),
]
for dim in (10, 17, 600):
    problem = nqm.Problem.power_law(dim)
    for algorithm, options in runs:
        options = {"replicas": 3, "keep_state": True, "threads": 1, "batch_size": 8} | options
        found, wanted = (
            nqm.simulate(problem, algorithm, steps=203, backend=name, **options)
            for name in ("numba", "numpy")
        )
        assert np.array_equal(found.risk, wanted.risk, equal_nan=True), (dim, algorithm)
        assert np.array_equal(found.state, wanted.state, equal_nan=True), (dim, algorithm)
"""


@pytest.mark.thorough
def test_no_index_is_out_of_bounds(tmp_path):
    """Numba looks at every index if it is told to, which takes it minutes to compile."""
    python("-c", CODE, cwd=tmp_path, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))
