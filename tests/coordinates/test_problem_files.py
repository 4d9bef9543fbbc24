"""A problem comes back from its file as it was, or is refused."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same_problem

import nqm_fast as nqm

RNG = np.random.default_rng(13)
LEAST_SQUARES = nqm.Problem.from_least_squares(RNG.normal(size=(20, 3)), RNG.normal(size=20))
KINDS = {
    "default c": nqm.Problem([1.0, 0.5]),
    "numbers": nqm.Problem([1.0, 0.5], 0.25, mean0=2.0, var0=0.0, count=3.5),
    "arrays": nqm.Problem([1.0, 0.5], [0.0, 2.0], mean0=[1, 2], var0=[0, 1], count=[1, 0.1]),
    "sigma": nqm.Problem([1.0, 0.5], sigma=[0.1, 0.2]),
    "power law": nqm.Problem.power_law(1000, exponent=0.7),
    "matrices": nqm.Problem.from_matrices(
        [[2.0, 0.5], [0.5, 1.0]], np.eye(2), mean0=[1.0, 0.0], second_moment0=2 * np.eye(2)
    ),
    "least squares": LEAST_SQUARES,
}


@pytest.mark.parametrize("problem", KINDS.values(), ids=KINDS)
def test_a_saved_problem_comes_back(problem, tmp_path):
    path = tmp_path / "problem.npz"
    problem.save(path)
    assert_same_problem(nqm.Problem.load(path), problem)
    problem.save(str(path))
    assert_same_problem(nqm.Problem.load(str(path)), problem)


def test_a_file_holds_plain_arrays_exactly_at_its_path(tmp_path):
    path = tmp_path / "no suffix"
    KINDS["arrays"].save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["no suffix"]
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["h"], [1.0, 0.5])
        assert all(file[name].dtype != object for name in file.files)


def test_a_billion_coordinates_fit_in_a_small_file(tmp_path):
    path = tmp_path / "large.npz"
    nqm.Problem.power_law(10**9).save(path)
    assert path.stat().st_size < 2000
    assert nqm.Problem.load(path).dim == 10**9


def refused(path):
    """Loading fails with one clear error that names the file."""
    with pytest.raises(nqm.InputError, match="path") as caught:
        nqm.Problem.load(path)
    assert path.name in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    whole, part = tmp_path / "whole.npz", tmp_path / "part.npz"
    KINDS["arrays"].save(whole)
    content = whole.read_bytes()
    for length in range(0, len(content), 23):
        part.write_bytes(content[:length])
        refused(part)


@pytest.mark.parametrize("kind", ["arrays", "power law"])
def test_a_damaged_file_is_refused_or_still_whole(kind, tmp_path):
    path = tmp_path / "damaged.npz"
    KINDS[kind].save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(99)
    refusals = 0
    for position in rng.choice(len(content), 400, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            problem = nqm.Problem.load(path)
        except nqm.InputError:
            refusals += 1
        else:
            assert_same_problem(problem, KINDS[kind])  # the flip hit a date, say
    assert refusals > 200


def test_foreign_files_are_refused(tmp_path):
    npz = tmp_path / "foreign.npz"
    np.savez(npz, h=np.ones(3), c=np.ones(3))
    refused(npz)
    npy = tmp_path / "array.npy"
    np.save(npy, np.ones(3))
    refused(npy)
    text = tmp_path / "text.npz"
    text.write_text("h = 1, 2, 3\n")
    refused(text)
    archive = tmp_path / "archive.npz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("h.npy", "not an array")
        file.writestr("readme.txt", "nor is this")
    refused(archive)
    refused(tmp_path)


def save_fields(path, **fields):
    """A file in the format of `save`, with other content."""
    KINDS["arrays"].save(path)
    with np.load(path) as file:
        fields = {name: file[name] for name in file.files} | fields
    np.savez(path, **{name: x for name, x in fields.items() if x is not None})


@pytest.mark.parametrize(
    "fields",
    [
        {"h": [1.0, -1.0]},
        {"h": [1.0, np.nan]},
        {"h": [[1.0, 1.0]]},
        {"h": ["a", "b"]},
        {"h": None},
        {"var0": [-1.0, 1.0]},
        {"c": [1.0, 1.0, 1.0]},
        {"count": 0.0},
        {"other": 1.0},
        {"format": "nqm_fast problem 99"},
        {"exponent": 1.0, "dim": "many"},
        {"exponent": 1.0, "dim": 0},
        {"exponent": 1.0},
        {"exponent": np.ones(2), "dim": 3},
    ],
    ids=str,
)
def test_impossible_content_is_refused(fields, tmp_path):
    path = tmp_path / "impossible.npz"
    save_fields(path, **fields)
    refused(path)


class Intruder:
    """An object that runs code when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def test_nothing_is_unpickled(tmp_path):
    trace = tmp_path / "trace"
    pickled = pickle.dumps(Intruder(trace))
    for name, content in {"plain.npz": pickled, "zipped.npz": None}.items():
        path = tmp_path / name
        if content is None:
            save_fields(path, h=np.array([Intruder(trace)], dtype=object))
        else:
            path.write_bytes(content)
        refused(path)
    assert not trace.exists()
    pickle.loads(pickled)
    assert trace.exists()  # it would have shown


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        nqm.Problem.load(tmp_path / "missing.npz")
