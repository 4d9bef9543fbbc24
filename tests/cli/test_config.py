"""Runs that are described in TOML: the example is complete, and mistakes are named by line."""

import importlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same_problem

import nqm_fast as nqm
from nqm_fast import algorithms
from nqm_fast.cli import config, toml_source
from nqm_fast.simulation.settings import as_settings
from nqm_fast.store import serialization


def test_the_default_experiment_is_the_example(nqm_fast, here):
    assert nqm_fast("init")[0] == 0
    content = tomllib.loads((here / "nqm.toml").read_text())
    assert content["problem"] == {"dim": 10**6, "exponent": 1.0}
    kinds = [set(table) - {"lr"} for table in content["setting"]]
    assert kinds == [set(), {"momentum"}, {"ema"}, {"power"}]
    wanted, given = config.load(None), config.load(Path("nqm.toml"))
    assert str(wanted.arguments) == str(given.arguments)
    assert wanted.out == given.out == "run.h5"
    status, _, err = nqm_fast("init")
    assert status == 2
    assert "nqm.toml exists: give another name" in err


def test_keys_that_are_left_out_have_the_values_of_the_example():
    usual = tomllib.loads(config.default_text())
    fields = config.RunTable.model_fields
    assert {k: fields[k].default for k in usual.keys() - {"problem", "setting"}} == {
        k: v for k, v in usual.items() if k not in ("problem", "setting")
    }
    others = {"file", "noise_model", *config.ARRAYS, *config.SHAPE} - {"exponent"}
    assert config.ProblemTable().model_dump(exclude=others) == usual["problem"]
    assert config.ProblemTable().build() == config.Problem.power_law(**usual["problem"])


def test_a_power_law_for_each_field(tmp_path):
    laws = {"noise_exponent": 1.2, "start_exponent": 0.8, "scale": 2.0, "noise": 0.5, "start": 3.0}
    file = tmp_path / "laws.toml"
    table = "\n".join(f"{name} = {value}" for name, value in {"dim": 90, **laws}.items())
    file.write_text(f"steps = 3\n[problem]\n{table}\n[[setting]]\nlr = 0.1\n")
    assert config.load(file).arguments["problem"] == nqm.Problem.power_law(90, **laws)


# -- what is wrong -----------------------------------------------------------------------

WRONG = {
    "stepz = 5": "line 1: stepz is not a key (did you mean steps?): allowed are out, steps",
    "# a comment\n\nsteps = 'many'": "line 3: steps must be a valid integer, not 'many'",
    "steps = 1.5": "line 1: steps must be a valid integer, not 1.5",
    "record = [\n1,\n2]\nseed = -1": "line 4: seed must be greater than or equal to 0, not -1",
    "sampling = 'mini'": "line 1: sampling must be 'minibatch', 'per-sample', 'leap' or",
    "keep_state = 1": "line 1: keep_state must be a valid boolean, not 1",
    "problem.dim = 0": "line 1: problem.dim must be greater than or equal to 1, not 0",
    "problem.dims = 1": "line 1: problem.dims is not a key (did you mean dim?): allowed are dim",
    "problem.exponent = 900": "line 1: exponent 900 makes the last of 1000000 curvatures vanish",
    "problem.file = 'no.npz'": "line 1: file = 'no.npz' does not exist",
    "problem.file = 'p.npz'\nproblem.dim = 3": "line 1: file = 'p.npz' is a problem by itself, so "
    "that dim cannot be given too: remove one",
    "problem.exponent = 1.0\nproblem.file = 'p.npz'": "line 2: file = 'p.npz' is a problem by its",
    "batch_size = [64, 128, 3]": "line 1: batch_size has 3 values beside 1 table [[setting]]: give "
    'one for each, or { kind = "PerStep"',
    "steps = 1e30": "line 1: steps must be a whole number from 0 to 2^62, not 1000",
    "keep_state = 'no'": "line 1: keep_state must be a valid boolean",
    "batch_size = 0": "line 1: batch_size must be >= 1, not 0",
    "replicas = 0": "line 1: replicas must be a whole number >= 1, not 0",
    "record = 'all'": "line 1: record must be a whole number >= 1, not 'all'",
    "bands = [2, 1]": "line 1: bands must be two or more ascending edges, not [2, 1]",
    "df = 3.0": "line 1: df = 3.0 is for data='student-t'",
    "backend = 'gpu'": "line 1: backend must be one of auto, numba, cython, numpy, cuda, not 'gpu'",
    "steps = 10\nsteps = 10": "not valid TOML: Cannot overwrite a value (at line 2",
    "steps = ": "not valid TOML: Invalid value (at line 1",
}
WRONG |= {
    "problem.c = [1.0]": "line 1: c needs h, the list of curvatures",
    "problem.h = [1.0, 0.0]": "line 1: h must be > 0, but element 1 is 0",
    "[problem]\ndim = 5\nh = [1.0]": "line 2: dim = 5 contradicts h: a problem is either",
    "[problem]\nh = [1.0]\nfile = 'a.npz'": "line 3: file = 'a.npz' contradicts h",
    "note = '\u2028'\nsteps = 1.5": "line 2: steps must be a valid integer, not 1.5",
}
WRONG_SETTING = {
    "lr = -1": "line 2: lr must be >= 0, not -1",
    "\nlr = 1\nmomentum = 1.5": "line 4: momentum must be >= 0 and < 1, not 1.5",
    "lr = 1\nspeed = 3": "line 3: speed is not a parameter of SGD, which has lr, momentum, ema, p",
    "momentum = 0.5": "line 1: kind = 'SGD' needs lr",
    "kind = [1]": "Signum, not [1]",
    "kind = 'Adamant'": "line 2: kind must be one of Accumulate, ",
    "lr = { kind = 'Cosinus', peak = 1 }": "line 2: kind must be one of Constant, PerStep, Cosine",
    "lr = { kind = 'Cosine', peak = 1 }": "line 2: kind = 'Cosine' needs steps",
    "lr = { kind = 'Cosine', top = 1 }": "line 2: top is not a parameter of Cosine, which has pea",
    "lr = 1\nbatch_size = 0.5": "line 3: batch_size must be >= 1, not 0.5",
}


@pytest.mark.parametrize("text", [*WRONG, *WRONG_SETTING])
def test_what_is_wrong_is_named_with_its_line(nqm_fast, here, text):
    forms = ["{}\n[[setting]]\nlr = 1\n", "[[setting]]\n{}\n"]
    (here / "my.toml").write_text(forms[text in WRONG_SETTING].format(text))
    status, out, err = nqm_fast("run", "my.toml")
    assert (status, out) == (2, "")
    assert err.startswith("nqm-fast run: my.toml")
    assert (WRONG | WRONG_SETTING)[text] in err
    assert err.count("\n") == 1 + ("note" in text)
    assert os.listdir(here) == ["my.toml"]


def test_a_byte_order_mark_is_accepted(here):
    (here / "my.toml").write_bytes(b"\xef\xbb\xbfsteps = 7\r\n[[setting]]\r\nlr = 1\r\n")
    assert config.load(here / "my.toml").arguments["steps"] == 7


def test_a_problem_of_arrays(here):
    (here / "my.toml").write_text(
        "[problem]\nh = [1.0, 0.5]\nc = [0.2, 3]\nmean0 = [1, 0]\nvar0 = 0.0\n[[setting]]\nlr = 1\n"
    )
    expected = nqm.Problem([1.0, 0.5], [0.2, 3.0], mean0=[1, 0], var0=0.0)
    assert_same_problem(config.load(here / "my.toml").arguments["problem"], expected)


def test_another_problem_takes_the_place_of_the_default_one(here):
    expected = nqm.Problem([1.0, 0.5])
    expected.save(here / "mine.npz")
    for change in (f"problem.file={here / 'mine.npz'}", "problem.h=[1, .5]"):
        assert_same_problem(config.load(None, [change]).arguments["problem"], expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".5", 0.5),
        ("1.", 1.0),
        ("+.5", 0.5),
        ("1.e-2", 0.01),
        (".5E-1", 0.05),
        ("1_0.", 10.0),
        ("[.5, 1.]", [0.5, 1.0]),
        ('{a = .5, b = ".5"}', {"a": 0.5, "b": ".5"}),
        ("1.2.3", "1.2.3"),
        ("run.h5", "run.h5"),
        (".h5", ".h5"),
        (".", "."),
    ],
)
def test_values_of_set(text, value):
    parsed = toml_source._parsed(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_numbers_without_zeros_are_numbers(here):
    for text in (".5", "1."):
        algorithm = config.load(None, [f"setting.0.lr={text}"]).arguments["algorithm"][0]
        assert algorithm.lr.value == float(text)


def test_all_that_is_wrong_is_named_at_once(nqm_fast, here):
    (here / "my.toml").write_text("stepz = 1\nseed = -1\n")
    _, _, err = nqm_fast("run", "my.toml")
    assert len(err.splitlines()) == 3
    assert "setting must be one or more tables [[setting]]" in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("steps", "--set must be key=value, such as steps=100, not 'steps'"),
        ("steps=many", "--set steps=many: steps must be a valid integer, not 'many'"),
        ("setting.7.lr=1", "--set setting.7.lr=1: 7 must be a number from 0 to 3"),
        ("setting.0.lr=-1", "--set setting.0.lr=-1: lr must be >= 0, not -1"),
        ("setting.0.batch_size=0", "--set setting.0.batch_size=0: batch_size must be >= 1, not 0"),
        ("steps.x=1", "--set steps.x=1: steps has no x"),
        (["problem.file=p.npz", "problem.dim=4"], "so that dim cannot be given too: remove one"),
        ("steps=" + "9" * 5000, "steps must be a valid integer"),
        ("record=" + "[" * 9999, "record must be a whole number"),
        ("setting=[]", "--set setting=[]: setting must be one or more tables [[setting]]"),
    ],
)
def test_what_is_wrong_with_set_is_named(nqm_fast, change, said):
    changes = [change] if isinstance(change, str) else change
    status, _, err = nqm_fast("run", *(x for change in changes for x in ("--set", change)))
    assert status == 2
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "no.toml"], "no.toml: No such file"),
        (["resume", "no.h5"], "no.h5: No such file"),
        (["info", "no.h5"], "no.h5: No such file"),
        (["plot", "bad.h5"], "'bad.h5' is not an HDF5 file"),
        (["resume", "bad.h5"], "'bad.h5' is not an HDF5 file"),
        (["run", "bad.h5"], "bad.h5: not a text file, and so not TOML"),
        (["run", "--out", "no/run.h5"], "is in a folder that does not exist"),
    ],
)
def test_files_that_cannot_be_used(nqm_fast, here, arguments, said):
    (here / "bad.h5").write_bytes(b"\xff\xfe nothing")
    status, out, err = nqm_fast(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def batch_sizes(text):
    Path("my.toml").write_text(f"{text}\n[[setting]]\nlr = 1\n[[setting]]\nlr = 2\n")
    arguments = config.load(Path("my.toml")).arguments
    return as_settings(arguments["algorithm"], arguments["batch_size"], 3)


def test_batch_sizes_of_settings_in_toml(here):
    steps = np.arange(3)
    for text, each in {
        "batch_size = 8": [[8] * 3, [8] * 3],
        "batch_size = [8, 16]": [[8] * 3, [16] * 3],
        "batch_size = { kind = 'PerStep', array = [1, 2, 3] }": [[1, 2, 3]] * 2,
        "batch_size = [{ kind = 'PerStep', array = [1, 2, 3] }, 4]": [[1, 2, 3], [4] * 3],
    }.items():
        assert [s.batch_size.values(steps).tolist() for s in batch_sizes(text)] == each


def test_a_file_takes_the_place_of_the_default_power_law(here):
    nqm.Problem([1.0, 0.5]).save("problem.npz")
    wanted = config.load(None, ["problem.file=problem.npz"])
    assert wanted.arguments["problem"] == nqm.Problem([1.0, 0.5])


def test_text_that_no_parser_reads(here):
    for text in ("steps = " + "9" * 5000, "record = " + "[" * 9999):
        Path("my.toml").write_text(text)
        with pytest.raises(nqm.InputError, match="not valid TOML"):
            config.load(Path("my.toml"))


def test_noise_that_depends_on_the_iterate_in_toml(here):
    Path("noise.toml").write_text(
        "[problem]\ndim = 100\nnoise_model = { kind = 'Gaussian', label_noise = 0.3 }\n"
        "[[setting]]\nlr = 0.1\n"
    )
    problem = config.load(Path("noise.toml")).arguments["problem"]
    want = config.Problem.power_law(100).with_noise(
        config.described_noise({"kind": "Gaussian", "label_noise": 0.3})
    )
    assert problem == want


ODD_LAYOUT = """
a = 1 # [
b.c = "]["
d = [
  1, # x ]
  {k = "}"}, 2
]
e = '''
[[x]] ' '' '''
[t]
x = 1
[[w]]
z = 1
[w.q]
r = 1
[[w.p]]
k = 1
[[w.p]]
k = 2
[w.p.m]
n = 3
[[w]]
"z [" = 2
[w.q]
r.s = 1
"""


def test_values_are_found_in_any_layout():
    lines = toml_source.line_numbers(ODD_LAYOUT)
    assert {path: line for path, line in lines.items() if path[0] != "w"} == {
        ("a",): 2, ("b",): 3, ("b", "c"): 3, ("d",): 4, ("d", 0): 4, ("d", 1): 4, ("d", 1, "k"): 4,
        ("d", 2): 4, ("e",): 8, ("t",): 10, ("t", "x"): 11,
    }  # fmt: skip
    assert {path[1:]: line for path, line in lines.items() if path[0] == "w"} == {
        (): 12, (0,): 12, (0, "z"): 13, (0, "q"): 14, (0, "q", "r"): 15, (0, "p"): 16,
        (0, "p", 0): 16, (0, "p", 0, "k"): 17, (0, "p", 1): 18, (0, "p", 1, "k"): 19,
        (0, "p", 1, "m"): 20, (0, "p", 1, "m", "n"): 21, (1,): 22, (1, "z ["): 23, (1, "q"): 24,
        (1, "q", "r"): 25, (1, "q", "r", "s"): 25,
    }  # fmt: skip


def test_each_statement_is_parsed_once(monkeypatch):
    text = "h = [\n" + "1.0,\n" * 3000 + "]\n" + "[[setting]]\nlr = 1\n" * 500
    parsed = []
    loads = tomllib.loads
    monkeypatch.setattr(
        toml_source.tomllib, "loads", lambda part: parsed.append(part) or loads(part)
    )
    toml_source.line_numbers(text)
    assert "".join(parsed) == text


def test_curvatures_of_a_power_law_are_not_negative(here):
    (here / "my.toml").write_text('[problem]\ndim = 10\nnegative = "drop"\n[[setting]]\nlr = 1\n')
    with pytest.raises(nqm.InputError, match="line 3: negative = 'drop' is for a file or for h"):
        config.load(here / "my.toml")


@pytest.mark.parametrize("base", [nqm.schedules.Schedule, nqm.Algorithm])
def test_kinds_that_are_offered_are_public(base):
    """Classes within the package that stand for something else are not offered as kinds."""
    importlib.import_module("nqm_fast.exact.data.population")
    public = {*nqm.schedules.__all__, *algorithms.__all__}
    own = {kind for kind in serialization.kinds(base) if ":" not in kind}
    assert len(own) > 5
    assert own <= public


@dataclass(frozen=True)
class _Half(nqm.schedules.Schedule):
    """A kind of somebody else, who may name it as they like."""

    value: float

    def values(self, steps):
        return np.full(steps.shape, self.value)

    def piece(self, step):
        return np.inf, True

    @property
    def least(self):
        return self.value


def test_kinds_of_others_may_begin_with_an_underscore():
    kind = next(kind for kind in serialization.kinds(nqm.schedules.Schedule) if "_Half" in kind)
    built = serialization.build(nqm.schedules.Schedule, {"kind": kind, "value": 0.5})
    assert built == _Half(0.5)
