"""Everything public is documented, and the examples in docstrings are true."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import nqm_fast as nqm

ROOT = Path(__file__).parents[1]
PUBLIC = sorted((ROOT / "nqm_fast").rglob("*.py"))


def documented():
    """All that is public: names, members of public modules, methods of public classes."""
    for name in nqm.__all__:
        thing = getattr(nqm, name)
        yield name, thing
        members = vars(thing) if inspect.ismodule(thing) or inspect.isclass(thing) else {}
        for member, value in members.items():
            if member.startswith("_"):
                continue
            if inspect.ismodule(thing):
                if f"{getattr(value, '__module__', None)}.".startswith(f"{thing.__name__}."):
                    yield f"{name}.{member}", value
            elif callable(value) or isinstance(value, (property, classmethod)):
                yield f"{name}.{member}", value


DOCUMENTED = dict(documented())


def test_the_public_names_are_there():
    assert {"Problem", "SGD", "expected_risk", "steps_to_target", "tune"} <= set(nqm.__all__)
    assert {"optimal_schedule", "bounds", "schedules", "InputError"} <= set(nqm.__all__)
    assert {"bounds.theorem1", "bounds.bayes_samples", "Problem.from_matrices"} <= set(DOCUMENTED)
    assert {"schedules.Cosine", "LinearAlgorithm.recurrence"} <= set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_names_have_a_docstring(name):
    assert (inspect.getdoc(DOCUMENTED[name]) or "").strip()


ENTRY_POINTS = [
    name
    for name, thing in DOCUMENTED.items()
    if inspect.isfunction(thing) and (name in nqm.__all__ or name.startswith("bounds."))
] + ["SGD", "Problem", "Problem.power_law", "Problem.from_matrices", "Problem.from_least_squares"]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points_document_every_argument_and_their_errors(name):
    thing = DOCUMENTED[name]
    text = inspect.getdoc(thing)
    for part in ("Parameters\n---", "Raises\n---", "InputError"):
        assert part in text
    for argument in inspect.signature(getattr(thing, "__func__", thing)).parameters:
        assert argument in ("cls", "self") or argument in text


@pytest.mark.parametrize(
    "name",
    [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in PUBLIC
        if path.stem != "__init__" and ">>>" in path.read_text()
    ],
)
def test_examples_in_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples():
    modules = ("exact.risk", "exact.first_passage", "exact.tuning", "problem")
    modules += ("exact.control.piecewise_schedule", "runs.api", "algorithms.base")
    found = [
        doctest.DocTestFinder().find(importlib.import_module(f"nqm_fast.{m}")) for m in modules
    ]
    assert all(any(test.examples for test in tests) for tests in found)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "nqm_fast" / "py.typed").exists()
