"""Odd values in every argument of the public functions: answers or one sentence, never NaN.

NQM_ODD_ARGUMENTS says how many cases the slow test draws (1000).
"""

import contextlib
import io
import os
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast import bounds, cli, schedules
from nqm_fast.cli import config
from nqm_fast.problem import as_problem

CASES = int(os.environ.get("NQM_ODD_ARGUMENTS", "1000"))
FEW = 60

# -- odd values --------------------------------------------------------------------------

BY_HAND = [
    None, True, False, np.True_, "", "x", "0.5", b"1", (), [], {}, set(), object, Ellipsis,
    0, -1, 1, 2, 3, 0.5, -0.5, 1e-320, 5e-324, 1e-200, 1e-160, 1e160, 1e200, 1.7e308, -0.0,
    float("nan"), float("inf"), float("-inf"), 2**31, 2**53 + 1, 2**62 - 1, 2**62, 2**62 + 1, 2**63,
    2**64, 10**19, 10**30, 10**400, 10**5000, 1e19, 1e30, 1j, np.float32(0.5), np.float16(3),
    np.longdouble("1e400"), np.int8(-1), np.uint64(2**63), np.datetime64("2020"), np.array(0.5),
    np.array([]), np.array([], dtype=object), np.array([], dtype=str), np.zeros((0, 3)),
    np.array(["a"]), np.array([None]), np.array([1, "a"], dtype=object), np.zeros((2, 2)),
    np.ones((1, 1, 1)), np.array([10**30, 1], dtype=object), np.ma.masked, [1, np.ma.masked],
    np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([1.0, 2.0]), [[1.0], [1.0, 2.0]], [[[]]],
    [1, [2, 3]], [0.5, None], [1e200, 1e-200], [1.0, float("nan")], [10**30, 10**400], range(3),
    iter([1]), np.zeros(2, dtype=[("a", float)]), [0.1, 0.2], [1, 2], np.array([3, 4]), slice(3),
    memoryview(b"12"), bytearray(b"12"), "lr", ["lr", "momentum"],
    nqm.SGD, nqm.SGD(0.1), [nqm.SGD(0.1)], nqm.Problem, schedules.PerStep([1.0, 2.0]),
    schedules.Cosine(1.0, 3), schedules.Step(1.0, 1e200, 1), schedules.Step(0.0, 10.0, 1),
    schedules.Warmup(2, 1.0), ["a"] * 3, lambda: 3, int, float,
]  # fmt: skip
NUMBERS = st.floats() | st.integers() | st.floats(0.0, 2.0) | st.integers(0, 5)
ODD = (
    st.sampled_from(BY_HAND) | NUMBERS | st.lists(NUMBERS, max_size=3) | st.text(max_size=3)
    | st.lists(st.floats(0.0, 10.0), max_size=3).map(np.array)
)  # fmt: skip
"""No number of steps is here that a schedule would be followed through for hours."""

PROBLEMS = st.sampled_from(
    [
        nqm.Problem([1.0, 0.5]), nqm.Problem.power_law(3), nqm.Problem([1e-300, 1e300]),
        nqm.Problem([1.0], c=0.0, var0=0.0), nqm.Problem([1e160], mean0=1e150),
        nqm.Problem([5e-324], sigma=1.0), nqm.Problem([1.0, 1.0], var0=[0.0, 1e300], count=0.5),
    ]
)  # fmt: skip
MATRIX = [[1.0, 0.0], [0.0, 2.0]]
ALGORITHMS = st.sampled_from(
    [nqm.SGD(0.1), nqm.SGD(0.0), nqm.SGD(1e200), nqm.SGD(0.5, momentum=0.9, ema=0.5),
     nqm.SGD(0.1, power=400.0), nqm.SGD(schedules.Step(0.1, 1e200, 2)), nqm.SGD([0.1] * 5)]
)  # fmt: skip


def usual(**more):
    return {name: x if isinstance(x, st.SearchStrategy) else st.just(x) for name, x in more.items()}


BATCH_SIZES, RATES = st.sampled_from([1, 4, 1e300]), st.sampled_from([0.1, 1e-300, 3.0])
SETTING = {"problem": PROBLEMS, "algorithm": ALGORITHMS, "batch_size": BATCH_SIZES}
BOUND = {"problem": PROBLEMS, "lr": RATES, "batch_size": 4, "steps": 5}
SEARCH = {"problem": nqm.Problem([1.0, 0.5]), "batch_size": 16, "target": 0.1, "max_steps": 200}
FRONT = {name: x for name, x in SEARCH.items() if name != "batch_size"} | {"over": ["lr"]}
TAKES = {
    "Problem": (nqm.Problem, usual(h=[1.0, 0.5], c=None, mean0=0.0, var0=1.0, count=1.0)),
    "sigma": (nqm.Problem, usual(h=[1.0, 0.5], sigma=1.0)),
    "power_law": (
        nqm.Problem.power_law,
        usual(dim=3, exponent=1.0, noise_exponent=None, start_exponent=None, scale=1.0, noise=None,
              start=None, damping=0.0),
    ),
    "compressed": (
        lambda problem, nodes: as_problem(problem).compressed(nodes),
        usual(problem=nqm.Problem.power_law(10**12), nodes=20),
    ),
    "from_matrices": (
        nqm.Problem.from_matrices,
        usual(H=MATRIX, C=MATRIX, mean0=[0.0, 1.0], second_moment0=MATRIX, P=None),
    ),
    "from_least_squares": (
        nqm.Problem.from_least_squares, usual(X=[[1.0, 2.0], [2.0, 1.0]], y=[1.0, 2.0], ridge=0.0),
    ),
    "sample_loss": (
        lambda problem, w, x: as_problem(problem).sample_loss(w, x),
        usual(problem=PROBLEMS, w=[1.0], x=[1.0]),
    ),
    "population_loss": (
        lambda problem, w: as_problem(problem).population_loss(w), usual(problem=PROBLEMS, w=[1.0]),
    ),
    "sample_gradient": (
        lambda problem, w, x: as_problem(problem).sample_gradient(w, x),
        usual(problem=PROBLEMS, w=[1.0, 1.0], x=[0.0, 1.0]),
    ),
    "SGD": (nqm.SGD, usual(lr=0.1, momentum=0.0, ema=0.0, power=0.0)),
    "Constant": (schedules.Constant, usual(value=1.0)),
    "PerStep": (schedules.PerStep, usual(array=[1.0])),
    "Linear": (schedules.Linear, usual(start=1.0, end=0.0, steps=4)),
    "Cosine": (schedules.Cosine, usual(peak=1.0, steps=4, end=0.5)),
    "WSD": (
        schedules.WarmupStableDecay, usual(peak=1.0, warmup=3, stable=2, decay=3, end=0.0),
    ),
    "Piecewise": (schedules.Piecewise, usual(values_=[1.0, 2.0], lengths=[1, 2])),
    "Step": (schedules.Step, usual(initial=1.0, factor=0.5, every=2)),
    "Warmup": (schedules.Warmup, usual(steps=2, then=1.0, start=0.0)),
    "expected_risk": (nqm.expected_risk, usual(**SETTING, steps=[0, 1, 5])),
    "risk_distribution": (nqm.risk_distribution, usual(**SETTING, steps=[0, 1, 5])),
    "steps_to_target": (
        nqm.steps_to_target, usual(**SETTING, target=st.sampled_from([0.1, 1e-300]), max_steps=200),
    ),
    "tune": (nqm.tune, usual(**SEARCH, over=["lr"], momentum=0.0, power=0.0)),
    "optimal_schedule": (nqm.optimal_schedule, usual(**SEARCH, pieces=2, power=0.0)),
    "best_risk": (
        nqm.best_risk, usual(problem=SEARCH["problem"], batch_size=16, steps=20, over=["lr"]),
    ),
    "noise_scale": (nqm.noise_scale, usual(**SETTING, steps=[0, 1, 5])),
    "frontier": (nqm.frontier, usual(**FRONT, batch_sizes=[4, 64], pieces=None)),
    "critical_batch_size": (
        nqm.critical_batch_size,
        usual(**FRONT, definition="noise-scale", overhead=0.2, reference=16.0, step=None),
    ),
    "optimal_control": (
        lambda problem, **named: nqm.optimal_control(as_problem(problem), **named),
        usual(problem=PROBLEMS, steps=st.sampled_from([None, 5, 1000]), samples=2000, pieces=4,
              target=None, over=("lr", "batch_size"), monotone=False, min_batch=1, max_batch=None,
              max_lr=None, warmup=None),
    ),
    "control target": (
        nqm.optimal_control,
        usual(problem=nqm.Problem([1.0, 0.5]), steps=st.sampled_from([None, 20]), target=0.1,
              max_batch=st.sampled_from([None, 8]), pieces=3),
    ),
    "compare_schedules": (
        lambda **named: [x.risk for x in nqm.compare_schedules(**named).schedules],
        usual(problem=nqm.Problem([1.0, 0.5]), samples=100, steps=10, names=["constant", "optimal"],
              horizons=[0.5, 1.0], power=0.0),
    ),
    "batch_ramp": (
        lambda **named: nqm.batch_ramp(**named)[1:],
        usual(**SETTING, steps=5, micro_batch=2, tokens_per_sample=None, stages=None),
    ),
    "plain_risk": (bounds.plain_risk, usual(**BOUND, power=0.0)),
    "theorem1": (bounds.theorem1, usual(**BOUND, momentum=0.9, power=0.0)),
    "theorem2": (bounds.theorem2, usual(**BOUND, ema=0.9, power=0.0)),
    "cramer_rao": (bounds.cramer_rao_samples, usual(problem=PROBLEMS, target=0.1)),
    "bayes_risk": (bounds.bayes_risk, usual(problem=PROBLEMS, samples=10.0)),
    "bayes_samples": (bounds.bayes_samples, usual(problem=PROBLEMS, target=0.1)),
    "simulate": (
        nqm.simulate,
        usual(**SETTING, steps=5, replicas=2, seed=0, record=None, sampling="minibatch",
              data="normal", df=None, backend="numpy", threads=1, devices=None, bands=None,
              observe=("risk",), keep_state=False),
    ),
    "per-sample": (
        nqm.simulate,
        usual(**SETTING | {"batch_size": 2}, steps=3, sampling="per-sample", data="student-t",
              df=5.0, backend="numpy"),
    ),
    "collapsed": (
        nqm.simulate,
        usual(**SETTING, steps=3, sampling="collapsed", record=[1, 3], replicas=2, seed=0),
    ),
    "first_passage_distribution": (
        nqm.first_passage_distribution,
        usual(**SEARCH, algorithm=ALGORITHMS, replicas=2, seed=0, every=None),
    ),
    "leaps": (
        nqm.simulate, usual(**SETTING, steps=3, sampling="leap", record=[1, 3], backend="numpy"),
    ),
}  # fmt: skip


def numbers_in(answer):
    """All numbers in an answer, flat."""
    if isinstance(answer, nqm.Run):
        return np.concatenate([x.ravel() for x in answer.observed.values()])
    if isinstance(answer, list | tuple):
        return np.concatenate([np.zeros(0), *(numbers_in(x) for x in answer)])
    if isinstance(answer, schedules.Schedule):
        steps = np.array([0, 1, 2, 1000, 2**40])
        return answer.values(steps[steps < answer.length])
    if isinstance(answer, nqm.Problem):
        names = ("h", "c", "sigma", "mean0", "var0", "count") if answer.dim < 1000 else ()
        return numbers_in([getattr(answer, name) for name in names])
    if isinstance(answer, nqm.RiskDistribution):
        probabilities = [answer.cdf(1.0), answer.sf(0.1), answer.quantile(0.5)]
        return numbers_in([answer.mean, answer.std, answer.skewness, *probabilities])
    if isinstance(answer, nqm.NoiseScale):
        return numbers_in([answer.weighted, answer.simple, answer.noise, answer.curved_noise])
    if isinstance(answer, nqm.Frontier):
        return numbers_in([answer.steps, answer.samples, answer.least_steps, [*answer.hyperbola]])
    if isinstance(answer, nqm.CriticalBatchSize):
        return numbers_in([answer.value, answer.curve])
    if isinstance(answer, nqm.FirstPassage):
        return numbers_in([answer.steps, answer.of_expected_risk])
    if isinstance(answer, nqm.SGD):
        return numbers_in([answer.lr, answer.momentum, answer.ema, answer.power])
    return np.ravel(np.asarray(answer, dtype=float))


def check(call, arguments):
    try:
        answer = call(**arguments)
        assert repr(answer)
    except nqm.InputError as error:
        said = str(error)
    else:
        said = "an answer, which has numbers"
        assert not np.isnan(numbers_in(answer)).any(), answer
    assert "\n" not in said
    assert 10 < len(said) < 400


@st.composite
def calls(draw):
    """A public function, and arguments of which one or two are odd."""
    name = draw(st.sampled_from(sorted(TAKES)))
    call, strategies = TAKES[name]
    arguments = {key: draw(strategy) for key, strategy in strategies.items()}
    for key in draw(st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        arguments[key] = draw(ODD)
    replicas = arguments.get("replicas")
    assume(not (isinstance(replicas, int | float) and 100 < replicas < 2**24))  # which takes long
    return call, arguments


def drawing(examples):
    """Settings of so many cases, each as slow as it is."""
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


@drawing(FEW)
@given(calls())
def test_odd_arguments_get_an_answer_or_one_sentence(call):
    check(*call)


@pytest.mark.slow
@drawing(CASES)
@given(calls())
def test_many_odd_arguments_get_an_answer_or_one_sentence(call):
    check(*call)


# -- texts, command lines and files ------------------------------------------------------

KEYS = [
    "out", "steps", "batch_size", "replicas", "seed", "record", "sampling", "data", "df", "bands",
    "observe", "keep_state", "checkpoint_every", "backend", "threads", "devices", "problem",
    "problem.dim", "problem.exponent", "problem.file", "setting", "setting.0.lr", "setting.0.kind",
    "setting.0.batch_size", "setting.0.momentum", "setting.1.lr", "stepz", "", "setting.9", "a.b.c",
]  # fmt: skip
TOML_VALUES = [
    "1", "0", "-1", "1e6", "1.5", "nan", "inf", "true", "'x'", "''", "[]", "[1, 2]", "[[1]]", "{}",
    "{ a = 1 }", "{ kind = 'Cosine', peak = 1, steps = 3 }", "{ kind = 'PerStep', array = [] }",
    "{ kind = [1] }", "{ kind = 3 }", "1979-05-27", "07:32:00", "9" * 30, "9" * 5000, "1e400", "",
    "{ kind = 'Warmup', steps = 3, then = { kind = 'Warmup' } }", "'numpy'", "'no.npz'", "[" * 9999,
    "'minibatch'", "['risk', 'weight_norm']", "{ kind = 'SGD', lr = 1 }", "0x10", "[1, 'a']", "=",
]  # fmt: skip
LINES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(TOML_VALUES)).map(" = ".join)
    | st.sampled_from(["[[setting]]", "[problem]", "lr = 1", "steps = 2", "#", "\0", "\ufeff"])
    | st.text(max_size=6),
    max_size=6,
).map("\n".join)
OPTIONS = [
    "risk", "tune", "resume", "info", "plot", "init", "--dim", "--exponent", "--batch-size",
    "--steps", "--lr", "--momentum", "--ema", "--power", "--target", "--over", "--json", "--set",
    "--out", "--problem", "--devices", "--threads", "--overwrite", "0", "1", "2", "-1", "1e6",
    "nan", "inf", "1e999", "1e9999999",
    "x", "", "0.5", "lr", "momentum", "steps=3", "problem.dim=3",
    "steps", "no.npz", "9007199254740993", "9" * 5000, "--help", "--version", ".", "/dev/null",
]  # fmt: skip
RISK = ["risk", "--dim", "3", "--batch-size", "4", "--lr", "0.1", "--steps", "3"]
TUNE = ["tune", "--dim", "3", "--batch-size", "4", "--target", "0.1"]
COMMANDS = st.builds(
    lambda begin, more: [*begin, *more],
    st.sampled_from([[], RISK, TUNE, ["run", "--set", "steps=2", "--set", "problem.dim=3"]]),
    st.lists(st.sampled_from(OPTIONS), max_size=4),
)


def check_text(folder, text):
    (folder / "odd.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(nqm.InputError):
        config.load(folder / "odd.toml")


def check_command(folder, arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(arguments)
        except SystemExit as exit_:
            status = exit_.code
    assert status in (0, 2), (status, err.getvalue())
    assert "Traceback" not in err.getvalue()
    for path in folder.iterdir():
        path.unlink() if path.is_file() else None


def check_bytes(folder, content):
    path = folder / "odd"
    path.write_bytes(content)
    for read in (nqm.Problem.load, nqm.open_run, config.load):
        with contextlib.suppress(nqm.InputError):
            read(path)


def damaged(whole, position, change, length):
    place = position % max(len(whole), 1)
    content = bytearray(whole[: length % (len(whole) + 1)] if length else whole)
    content[place : place + len(change)] = change
    return bytes(content)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    nqm.Problem([1.0, 0.5], mean0=2.0).save(folder / "problem.npz")
    nqm.simulate(
        nqm.Problem([1.0, 0.5]), nqm.SGD(0.1), 4, 3, out=folder / "run.h5", backend="numpy"
    )
    return [(folder / name).read_bytes() for name in ("problem.npz", "run.h5")]


def texts_commands_and_bytes(examples):
    """A test that draws so many of each."""

    @drawing(examples)
    @given(
        st.one_of(
            LINES.map(lambda x: (check_text, x)),
            COMMANDS.map(lambda x: (check_command, x)),
            st.tuples(
                st.integers(0, 1),
                st.integers(0, 10**6),
                st.binary(max_size=8),
                st.integers(0, 9999),
            ).map(lambda x: (check_bytes, x)),
        )
    )
    def test(folder, whole_files, drawn):
        kind, value = drawn
        if kind is check_bytes:
            which, position, change, length = value
            value = damaged(whole_files[which], position, change, length)
        kind(folder, value)

    return test


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder; nothing is drawn, which takes longer than all else."""
    monkeypatch.setattr("nqm_fast.cli.outcome.draw_run", lambda run, picture: str(picture))
    monkeypatch.setattr(sys, "argv", ["nqm-fast"])
    return tmp_path


test_odd_texts = texts_commands_and_bytes(FEW)
test_many_odd_texts = pytest.mark.slow(texts_commands_and_bytes(CASES))
