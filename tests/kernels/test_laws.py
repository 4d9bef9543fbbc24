"""The table of laws: samplers, what is allowed, documentation and error texts follow from it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import python
from nqm_fast.kernels.noise import LAWS

import nqm_fast as nqm
from nqm_fast import kernels

PROBLEM = nqm.Problem.power_law(70)


def test_codes_are_different():
    assert len({law.code for law in LAWS.values()}) == len(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_of_real_numbers_or_of_whole_numbers(name):
    law = LAWS[name]
    assert (law.variates is None) != (law.count_of is None)
    assert law.steps in (2, 4)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_is_documented(name):
    assert f'"{name}"' in nqm.simulate.__doc__


def test_an_unknown_law_is_answered_with_the_table():
    with pytest.raises(
        nqm.InputError, match=f"data must be one of {', '.join(LAWS)}, not 'cauchy'"
    ):
        nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 10, sampling="per-sample", data="cauchy")


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if not law.df_range])
def test_degrees_of_freedom_are_for_laws_that_take_them(name):
    with pytest.raises(nqm.InputError, match=r"df = 4\.0 is for data='student-t'"):
        nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 10, sampling="per-sample", data=name, df=4.0)


TRANSFORM = '''
def triangular_of_words(a, b, c, d, parameter):
    """Sums of two uniforms, less one, for two of four steps."""
    scale = np.float32(2.0**-32)
    x = (open_unit(a) + open_unit(b)) * scale - _ONE
    return x, (open_unit(c) + open_unit(d)) * scale - _ONE


LAWS = {
    "triangular": Law(
        9, variates=triangular_of_words, steps=2, scale=lambda df: float(np.sqrt(6.0))
    ),
'''

USE = """
import numpy as np, nqm_fast as nqm
problem = nqm.Problem.power_law(300)
runs = [
    nqm.simulate(
        problem, nqm.SGD(0.3, momentum=0.5), 3, 20, replicas=100, record=[20],
        sampling="per-sample", data="triangular", backend=backend, keep_state=True,
    )
    for backend in ("numba", "numpy")
]
assert np.array_equal(runs[0].state, runs[1].state)
risk = runs[0].risk
exact = nqm.expected_risk(problem, nqm.SGD(0.3, momentum=0.5), 3, 20)
print((risk.mean() - exact) / (risk.std() / np.sqrt(risk.size)))
"""


@pytest.mark.thorough
def test_a_new_law_is_one_entry_and_its_transform(tmp_path):
    """Samplers take it from the table: the bits of the oracle, and the risk of the exact model."""
    pytest.importorskip("numba")
    for package in (nqm, kernels):
        source = Path(package.__file__).parent
        target = tmp_path.joinpath(*package.__name__.split("."))
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "kernels")
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    table = tmp_path / "nqm_fast" / "kernels" / "noise.py"
    text = table.read_text()
    assert text.count("\nLAWS = {\n") == 1
    table.write_text(text.replace("\nLAWS = {\n", TRANSFORM))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.meta_path = [f for f in "
    code += "sys.meta_path if 'editable' not in repr(f).lower()]\n" + USE
    assert abs(float(python("-c", code, cwd=tmp_path, NQM_BACKEND="numba").stdout)) < 4


def test_the_registry_is_the_only_list_of_backends():
    choices = "auto, " + ", ".join(kernels.REGISTRY)
    with pytest.raises(nqm.InputError, match=f"backend must be one of {choices}, not 'fortran'"):
        nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 10, backend="fortran")
    for name in kernels.present_backends():
        backend = kernels.load_backend(name)
        assert isinstance(backend, kernels.Backend)
        assert np.array_equal(
            backend.normals(np.arange(8, dtype=np.uint32).reshape(2, 4)),
            kernels.load_backend("numpy").normals(np.arange(8, dtype=np.uint32).reshape(2, 4)),
        )


def test_degrees_of_freedom_are_those_that_samples_have():
    """Within the limits the scale of samples is that of the law, sqrt(df - 2), to 0.1 %."""
    law = LAWS["student-t"]
    least, most = law.df_range
    for df in np.geomspace(least, most, 50):
        assert law.scale(df) == pytest.approx(np.sqrt(df - 2.0), rel=1e-3)
    assert law.scale(2.7) > 1.001 * np.sqrt(0.7)


@pytest.mark.parametrize("df", [2.0, 2.1, 2.7, 1e16, 1e17, 1e164])
def test_other_degrees_of_freedom_are_refused(df):
    with pytest.raises(nqm.InputError, match=r"df must be from 2\.75 to 1e\+12"):
        nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 10, sampling="per-sample", data="student-t", df=df)
