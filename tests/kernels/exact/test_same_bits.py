"""The exact model has the same bits from all compiled kernels, and 13 digits from NumPy."""

import numpy as np
import pytest
from nqm_fast.kernels import present_backends

import nqm_fast as nqm
from nqm_fast import kernels, schedules

ALGORITHMS = [
    nqm.SGD(0.1),
    nqm.SGD(0.1, momentum=0.9),
    nqm.SGD(0.1, ema=0.9, power=0.5),
    nqm.SGD(0.05, momentum=0.9, ema=0.9),
    nqm.SGD(schedules.Warmup(13, schedules.Constant(0.2)), momentum=0.5),
    nqm.SGD(5.0, momentum=0.9),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_the_exact_model_has_the_same_bits(machine, algorithm, monkeypatch):
    """The extension does what Numba does; NumPy does it with larger tiles."""
    steps = np.unique(np.geomspace(1, 10**6, 50).astype(int))
    answers = []
    for name in (present_backends()[0], machine):
        kernels.fastest_backend.cache_clear()
        monkeypatch.setattr(kernels, "present_backends", lambda name=name: [name])
        problem = nqm.Problem.power_law(3000)
        found = nqm.expected_risk(problem, algorithm, 64, steps)
        first = [
            nqm.steps_to_target(problem, algorithm, 64, x, max_steps=10**5) for x in (1.0, 0.1)
        ]
        answers.append((found, first))
    kernels.fastest_backend.cache_clear()
    (usual, first), (found, again) = answers
    assert first == again
    if machine == "numpy":
        finite = np.isfinite(usual)
        assert np.array_equal(finite, np.isfinite(found))
        assert np.allclose(found[finite], usual[finite], rtol=1e-13, atol=0.0)
    else:
        assert np.array_equal(found, usual)
