"""Every public name has a page in the reference, and a law or a noise is where its page says."""

import inspect
import re
from pathlib import Path

import pytest
from nqm_fast.kernels.noise import LAWS

import nqm_fast as nqm

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="needs the checkout")


def public_names():
    """All public names, and those of public modules, but for the modules themselves."""
    for name in nqm.__all__:
        thing = getattr(nqm, name)
        if inspect.ismodule(thing):
            yield from (f"{name}.{member}" for member in thing.__all__)
        else:
            yield name


def listed():
    return re.findall(r"^   nqm_fast\.([\w.]+)$", (DOCS / "reference/index.md").read_text(), re.M)


def test_every_public_name_has_a_page():
    assert sorted(listed()) == sorted(public_names())
    assert {"noise.Gaussian", "bounds.theorem1", "networks.study", "tune"} <= set(listed())


def test_public_modules_say_what_is_public():
    for name in nqm.__all__:
        thing = getattr(nqm, name)
        if inspect.ismodule(thing):
            assert set(thing.__all__) == {x for x in dir(thing) if not x.startswith("__")}


def test_every_law_of_data_is_documented():
    page = (DOCS / "simulation.md").read_text()
    for law in LAWS:
        assert f'"{law}"' in page
        assert f'"{law}"' in inspect.getdoc(nqm.simulate)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_pages_name_only_functions_that_there_are(page):
    for name in re.findall(r"\bnqm\.([a-z_]+(?:\.[A-Za-z_]+)*)\(", page.read_text()):
        found = nqm
        for part in name.split("."):
            assert hasattr(found, part), f"nqm.{name} in {page.name}"
            found = getattr(found, part)


def test_tests_that_promises_name_are_there():
    text = (DOCS / "verification.md").read_text()
    named = set(re.findall(r"`((?:tests|\.ci)/[\w./]+)`", text))
    assert len(named) > 20
    assert all((DOCS.parent / name).exists() for name in named)
    figures = {
        name for row in re.findall(r"\| ([^|]*) \|$", text, re.M) for name in row.split(", ")
    }
    drawn = {name.strip("`") for name in figures if name.startswith("`")}
    assert drawn
    assert drawn <= set(nqm.figures.names())
