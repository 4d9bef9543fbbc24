"""Spectra are read from the files of several programs, or refused in a sentence with the place."""

import codecs
import json
import pickle
import re

import numpy as np
import pytest
from helpers import assert_same_problem

import nqm_fast as nqm

H, C = [2.0, 0.5, 0.25], [0.1, 0.2, 0.3]
COUNT, MEAN0, VAR0 = [1.0, 2.0, 30.5], [0.0, -1.0, 1.0], [1.0, 0.0, 2.0]
WHOLE = nqm.Problem(H, C, count=COUNT, mean0=MEAN0, var0=VAR0)
ROWS = list(zip(H, C, COUNT, MEAN0, VAR0, strict=True))


def text(separator=" ", header=None, rows=ROWS):
    lines = [header] * (header is not None) + [separator.join(map(repr, row)) for row in rows]
    return "\n".join(lines) + "\n"


TEXTS = {
    "whitespace": text(),
    "tabs and a header": text("\t", "h\tc\tcount\tmean0\tvar0"),
    "commas": text(",", "h,c,count,mean0,var0"),
    "commas and spaces": text(" , ", "H, C, Count, Mean0, Var0"),
    "quoted": text(",", '"h","c","count","mean0","var0"'),
    "a header as a comment": text(" ", "# h c count mean0 var0"),
    "comments and empty lines": "# a spectrum\n\n" + text().replace("\n", " # a row\n\n"),
    "another order": text(
        ",", "var0,h,c,mean0,count", [(v, h, c, m, n) for h, c, n, m, v in ROWS]
    ),
    "another order as a comment": text(
        ",", "# measured yesterday\n# var0,h,c,mean0,count",
        [(v, h, c, m, n) for h, c, n, m, v in ROWS],
    ),
    "other names": text(" ", "eigenvalue noise multiplicity mean0 var0"),
    "lines of Windows": text().replace("\n", "\r\n"),
}  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """Writes a file, text or bytes or arrays, and gives its path."""

    def write(content, name="spectrum.txt", **arrays):
        path = tmp_path / name
        if isinstance(content, np.ndarray):
            with path.open("wb") as file:
                np.save(file, content)
        elif arrays or content is None:
            np.savez(path, **arrays)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_text(content, saved):
    assert_same_problem(nqm.read_spectrum(saved(content)), WHOLE)
    assert_same_problem(nqm.read_spectrum(str(saved(content, "no suffix"))), WHOLE)


@pytest.mark.parametrize(
    "encoded",
    [
        codecs.BOM_UTF8 + TEXTS["commas"].encode(),
        codecs.BOM_UTF8 + TEXTS["a header as a comment"].encode(),
        TEXTS["commas"].encode("utf-16"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_name(encoded, saved):
    assert_same_problem(nqm.read_spectrum(saved(encoded)), WHOLE)


def test_what_numpy_writes_as_text(tmp_path):
    path = tmp_path / "s.csv"
    np.savetxt(path, ROWS, delimiter=",", header="h,c,count,mean0,var0")
    assert_same_problem(nqm.read_spectrum(path), WHOLE)
    np.savetxt(path, ROWS)
    assert_same_problem(nqm.read_spectrum(path), WHOLE)


def test_fewer_columns(saved):
    assert_same_problem(nqm.read_spectrum(saved("2.0\n0.5\n0.25\n")), nqm.Problem(H))
    assert_same_problem(nqm.read_spectrum(saved("2 .1\n.5 .2\n.25 .3\n")), nqm.Problem(H, C))
    path = saved("h var0\n2 1\n0.5 0\n0.25 2\n")
    assert_same_problem(nqm.read_spectrum(path), nqm.Problem(H, var0=VAR0))


def test_files_of_numpy(saved):
    fields = {"h": H, "c": C, "count": COUNT, "mean0": MEAN0, "var0": VAR0}
    structured = np.array(ROWS, dtype=[(name, float) for name in fields])
    paths = [
        saved(None, "named.npz", **fields),
        saved(np.array(ROWS), "columns.npy"),
        saved(structured, "structured.npy"),
        saved(None, "unnamed.npz", arr_0=np.array(ROWS)),
    ]
    for path in paths:
        assert_same_problem(nqm.read_spectrum(path), WHOLE)
    numbers = nqm.read_spectrum(saved(None, "numbers.npz", h=H, c=0.5, var0=3))
    assert_same_problem(numbers, nqm.Problem(H, 0.5, var0=3.0))
    assert_same_problem(nqm.read_spectrum(saved(np.float32(H), "h.npy")), nqm.Problem(H))


@pytest.mark.parametrize("problem", [WHOLE, nqm.Problem.power_law(50, 0.5)], ids=str)
def test_a_saved_problem(problem, tmp_path):
    problem.save(tmp_path / "saved")
    assert_same_problem(nqm.read_spectrum(tmp_path / "saved"), problem)
    assert nqm.read_spectrum(tmp_path / "saved", damping=1.0).h == pytest.approx(problem.h + 1.0)
    with pytest.raises(nqm.InputError, match="problem by itself, so that dim cannot"):
        nqm.read_spectrum(tmp_path / "saved", dim=10)


def test_negative_and_damping(saved):
    for path in (
        saved("2 1\n-0.5 2\n0 3\n"),
        saved(np.array([[2.0, 1], [-0.5, 2], [0, 3]]), "s.npy"),
    ):
        for more in ({"negative": "drop"}, {"negative": "abs"}, {"damping": 1.0}):
            problem = nqm.read_spectrum(path, **more)
            wanted = nqm.Problem([2.0, -0.5, 0.0], [1.0, 2.0, 3.0], **more)
            assert_same_problem(problem, wanted)
            assert problem.dropped == wanted.dropped


# -- eigenvalues and weights -------------------------------------------------------------

MATRIX = np.diag([3.0, 2.0, 1.0, 0.5]) + np.diag([0.3, 0.2, 0.1], 1) + np.diag([0.3, 0.2, 0.1], -1)
EIGEN = np.array([np.linalg.eigvalsh(MATRIX), [0.1, 0.2, 0.3, 4.0]])
WEIGHT = np.array([np.linalg.eigh(MATRIX)[1][0] ** 2, [0.4, 0.3, 0.2, 0.1]])
DENSITY = nqm.Problem(EIGEN.ravel(), count=1000 * WEIGHT.ravel() / 2)


def assert_near(problem, wanted):
    for name in ("h", "c", "count"):
        np.testing.assert_allclose(getattr(problem, name), getattr(wanted, name), rtol=1e-6)


@pytest.mark.parametrize(
    "arrays",
    [
        {"eigen": EIGEN, "weight": WEIGHT},
        {"eigen": EIGEN.astype(complex), "weight": WEIGHT.astype(np.complex64)},
        {"eig_vals": EIGEN, "all_weights": WEIGHT.astype(np.float32)},
        {"arr_0": EIGEN, "arr_1": WEIGHT},
        {"raw_eigenvalues": EIGEN, "raw_weights": WEIGHT, "grid": np.ones(9), "density": np.ones(9),
         "sigma": 0.1},
        {"h": EIGEN.ravel(), "weight": WEIGHT.ravel()},
        {"h": EIGEN.ravel(), "weight": 500 * WEIGHT.ravel()},
        {"h": EIGEN.ravel(), "count": 500 * WEIGHT.ravel()},
        {"eigenvals": EIGEN.ravel(), "eigenvecs": np.ones((8, 3)), "weight": WEIGHT.ravel()},
    ],
)  # fmt: skip
def test_runs_of_lanczos_quadrature(arrays, saved):
    dim = None if "count" in arrays else 1000
    problem = nqm.read_spectrum(saved(None, "density.npz", **arrays), dim=dim)
    assert_near(problem, DENSITY)
    assert problem.count.sum() == pytest.approx(1000, rel=1e-6)


def test_runs_in_one_array(saved):
    assert_near(nqm.read_spectrum(saved(np.array([EIGEN, WEIGHT]), "s.npy"), dim=1000), DENSITY)
    rows = np.array([EIGEN.ravel(), WEIGHT.ravel()])
    columns = saved(rows.T.copy(), "c.npy")
    assert_near(nqm.read_spectrum(columns, dim=1000), DENSITY)
    long = np.array([np.arange(1.0, 9), np.full(8, 1 / 8)])
    problem = nqm.read_spectrum(saved(long, "r.npy"), dim=16)
    assert_same_problem(problem, nqm.Problem(np.arange(1.0, 9), count=2.0))


def test_two_short_rows_are_eigenvalues_and_weights(saved):
    path = saved(np.array([[3.0, 2.0, 1.0], [0.5, 0.3, 0.2]]), "s.npy")
    wanted = nqm.Problem([3.0, 2.0, 1.0], count=[5.0, 3.0, 2.0])
    assert_near(nqm.read_spectrum(path, dim=10), wanted)


@pytest.mark.parametrize(
    ("array", "dim", "said"),
    [
        ([H, C], None, r"has the shape (2, 3), and may have 2 rows of h and c and count, or 3 col"),
        (np.transpose([H, C]), None, "may have 3 rows of h and c, or 2 columns of h and c and cou"),
        ([[3.0, 0.5], [0.4, 0.6]], 10, "may have 2 rows of h and weight, or 2 columns of h and we"),
        (MATRIX[:3, :3], None, "symmetric array of shape (3, 3), which may be a matrix or 3 rows"),
        (MATRIX[:2, :2], 10, "symmetric array of shape (2, 2), which may be a matrix or 2 rows of"),
        (np.ones((3, 3)) + np.eye(3), None, "may be a matrix or 3 rows of h and c and count: save"),
        (np.ones((3, 3)) + np.eye(3), 10, "save eigenvalues for a matrix"),
    ],
)
def test_small_arrays_that_may_mean_two_things_are_refused(saved, array, dim, said):
    with pytest.raises(nqm.InputError, match=re.escape(said)):
        nqm.read_spectrum(saved(np.array(array), "s.npy"), dim=dim)


def test_tridiagonal_matrices(saved):
    """Three runs were planned, and two have been made, as spectral-density writes them."""
    runs = np.zeros((4, 4, 3))
    runs[:, :, 0], runs[:, :, 1] = MATRIX, MATRIX + np.eye(4)
    values = np.linalg.eigvalsh(MATRIX)
    wanted = nqm.Problem(np.concatenate([values, values + 1]), count=500 * np.tile(WEIGHT[0], 2))
    assert_near(nqm.read_spectrum(saved(runs, "tridiag_2"), dim=1000), wanted)
    made = np.moveaxis(runs, -1, 0)[:2]
    assert_near(nqm.read_spectrum(saved(made.copy(), "t.npy"), dim=1000), wanted)
    assert_near(nqm.read_spectrum(saved(None, "t.npz", tridiag=made), dim=1000), wanted)
    alone = nqm.Problem(values, count=1000 * WEIGHT[0])
    assert_near(nqm.read_spectrum(saved(MATRIX, "one.npy"), dim=1000), alone)
    one = nqm.read_spectrum(saved(None, "t.npz", T=MATRIX), dim=2)
    np.testing.assert_allclose(one.count * one.h @ np.ones(4), 2 * MATRIX[0, 0], rtol=1e-12)


def test_what_fills_up_runs_of_fewer_nodes_is_left_out(saved):
    eigen, weight = EIGEN.copy(), WEIGHT.copy()
    eigen[1, 3], weight[1] = np.nan, [0.5, 0.3, 0.2, 0.0]
    problem = nqm.read_spectrum(saved(None, "s.npz", eigen=eigen, weight=weight), dim=10)
    assert problem.dim == 7
    assert problem.count.sum() == pytest.approx(10)


def test_text_of_weights(saved):
    wanted = nqm.Problem([0.1, 2.0], count=[75.0, 25.0])
    assert_same_problem(nqm.read_spectrum(saved("h weight\n.1 .75\n2 .25\n"), dim=100), wanted)
    assert_same_problem(nqm.read_spectrum(saved(".1 .75\n2 .25\n"), dim=100), wanted)


# -- what is wrong -----------------------------------------------------------------------

WRONG_TEXT = {
    "h c\n1 2\n3 x\n": "', line 3, column 2: there must be a number, not 'x'",
    "h,c\n1,2\n3,\n": "', line 3, column 2: there must be a number, but there is nothing",
    "1 2\n3\n": "', line 2: there must be 2 columns as above, but there is 1",
    "h\n1 2\n": "', line 2: there must be 1 column as above, but there are 2",
    "h,speed\n1,2\n": "', line 1, column 2: 'speed' is no column: columns are h, c, count",
    ",h\n0,2\n": "', line 1, column 1: '' is no column",
    "h H\n1 2\n": "', line 1, column 2: 'H' is a second column for h",
    "# a comment\nh c\n1 2\n1 -2\n": "', line 4, column 2 (c): c must be >= 0, but is -2",
    "h count\n1 2\n1 0\n": "', line 3, column 2 (count): count must be > 0, but is 0",
    "h var0\n1 2\n1 -1\n": "', line 3, column 2 (var0): var0 must be >= 0, but is -1",
    "h weight\n1 -2\n": "', line 2, column 2 (weight): weight must be >= 0, but is -2",
    "1\n\n-3\n0\n": "', line 3, column 1 (h): h must be > 0, but element 1 is -3, the least of 2",
    "1\nnan\n": "', line 2, column 1 (h): h must be finite, but is nan",
    "1\n1e999\n": "', line 2, column 1 (h): h must be finite, but is inf",
    "1\n1_0\n": "', line 2, column 1: there must be a number, not '1_0'",
    "1;2\n": "', line 1, column 1: '1;2' is no column",
    "c\n1\n": "' has no column h of curvatures, but c",
    "h count weight\n1 1 1\n": "' has both counts and weights",
    "": "' has no line with numbers",
    "# h c\n": "' has no line with numbers",
    "h c\n": "' has no line with numbers",
    "1 2 3 4 5 6\n": "', line 1: 6 columns need a first line with their names",
    "1 .5\n2 .5\n": "' has two columns without names, of which the second sums to 1: give dim",
    "h weight\n1 .5\n2 .5\n": "' has weights that are shares of a spectrum: give dim",
    "h weight\n1 .5\n2 .2\n": "' has weights that sum to 0.7, not to 1",
    "h weight\n1 0\n": "' has weights that are all zero",
}


@pytest.mark.parametrize("content", WRONG_TEXT, ids=repr)
def test_mistakes_in_text_have_a_place(content, saved):
    path = saved(content)
    with pytest.raises(nqm.InputError) as caught:
        nqm.read_spectrum(path)
    assert str(caught.value).startswith(f"path {str(path)!r}"[:-1] + WRONG_TEXT[content])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"c": C}, "has no column h of curvatures, but c"),
        ({"h": H, "speed": C}, "has the unknown column 'speed': columns are h, c, count or weight"),
        ({"h": H, "sigma": C}, "has the unknown column 'sigma'"),
        ({"h": H, "weight": [0.5, 0.25, 0.25], "sigma": C}, "has the unknown column 'sigma'"),
        ({"h": H, "eigen": H}, "has two columns for h, one of them named 'eigen'"),
        ({"h": H, "c": [1.0]}, "has c of the shape (1,), which must be that of h, (3,)"),
        ({"h": [H]}, "has curvatures h of the shape (1, 3)"),
        ({"h": 1.0}, "has curvatures h of the shape ()"),
        ({"h": []}, "has curvatures h of the shape (0,)"),
        ({"h": [1j]}, "has a column h that is not of real numbers, but complex numbers"),
        ({"h": ["a"]}, "has a column h that is not of real numbers"),
        ({"h": H, "weight": 0.5}, "has weight of the shape ()"),
        ({"h": [H, H], "weight": [[0.5, 0.5, 0.0], [0.5, 0.0, 0.0]]}, "has weights that sum to"),
        ({"h": [H, H], "weight": [[5, 5, 0], [5, 0, 0]]}, "has weights beyond 1 in several runs"),
        ({"T": np.ones((4, 4))}, "has a tridiagonal matrix that is not"),
        ({"arr_0": np.ones((2, 7))}, "has the shape (2, 7), which must be"),
        ({"arr_0": np.ones((3, 3, 3, 3))}, "has the shape (3, 3, 3, 3)"),
        ({"arr_0": np.array(["x"])}, "holds no numbers"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_in_arrays(arrays, said, saved):
    path = saved(None, "s.npz", **arrays)
    with pytest.raises(nqm.InputError) as caught:
        nqm.read_spectrum(path)
    assert str(caught.value).startswith(f"path {str(path)!r} {said}")


def test_a_place_in_arrays(saved):
    with pytest.raises(nqm.InputError, match=r"npz', h\[1\]: h must be > 0, but element 1 is -1"):
        nqm.read_spectrum(saved(None, "s.npz", h=[1.0, -1.0]))
    with pytest.raises(nqm.InputError, match=r"npz', h\[0, 1\]: h must be > 0"):
        nqm.read_spectrum(saved(None, "s.npz", h=[[1.0, -1.0]], weight=[[0.5, 0.5]]), dim=3)
    with pytest.raises(nqm.InputError, match=r"npz', c\[2\]: c must be >= 0, but is -1"):
        nqm.read_spectrum(saved(None, "s.npz", h=H, c=[1, 2, -1]))


def test_dim_is_for_weights(saved):
    with pytest.raises(nqm.InputError, match="has no weights, so that it is a problem by itself"):
        nqm.read_spectrum(saved("h c\n1 2\n"), dim=10)
    with pytest.raises(nqm.InputError, match="dim must be > 0, not 0"):
        nqm.read_spectrum(saved("h weight\n1 1\n"), dim=0)


def test_other_files_are_refused(saved, tmp_path):
    content = {
        "pickle": pickle.dumps({"h": H}),
        "old pickle": pickle.dumps(np.array(H), protocol=0),
        "objects": None,
        "binary": bytes(range(128, 256)),
        "zeros": b"\0" * 50,
        "archive": b"PK\x03\x04 and no more",
        "array": b"\x93NUMPY\x01\x00 and no more",
        "json": json.dumps({"h": H}).encode(),
    }
    for name, data in content.items():
        path = saved(data, name) if data is not None else tmp_path / name
        if data is None:
            np.save(path.with_suffix(".npy"), np.array([None]), allow_pickle=True)
            path = path.with_suffix(".npy")
        with pytest.raises(nqm.InputError) as caught:
            nqm.read_spectrum(path)
        assert str(caught.value).startswith(f"path {str(path)!r}")
        assert "allow_pickle" not in str(caught.value)
        if "pickle" in name or name == "objects":
            assert "save plain arrays of numbers" in str(caught.value)
    with pytest.raises(nqm.InputError, match="cannot be read"):
        nqm.read_spectrum(tmp_path)
    with pytest.raises(FileNotFoundError):
        nqm.read_spectrum(tmp_path / "missing.csv")


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_damaged_file_is_refused_or_still_whole(kind, saved):
    path = saved(np.array(ROWS), "s.npy") if kind == "npy" else saved(None, "s.npz", h=H, c=C)
    whole = nqm.read_spectrum(path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(nqm.InputError, match="path "):
            nqm.read_spectrum(path)
    rng = np.random.default_rng(3)
    for position in rng.choice(len(content), 200):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            problem = nqm.read_spectrum(path)
        except nqm.InputError:
            continue
        if kind == "npz":  # An .npy file has no checksum.
            assert problem == whole
