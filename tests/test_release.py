"""What a release says of itself: one version, the same dependencies, and a citation."""

import re
import tomllib
from pathlib import Path

import pytest

import nqm_fast as nqm

ROOT = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml")
pytestmark = pytest.mark.skipif(not (ROOT / "recipe").exists(), reason="needs the checkout")

NAMES_IN_CONDA = {"matplotlib": "matplotlib-base"}


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def read_yaml(name):
    """A file in YAML, in which `${{ name }}` stays as it is."""
    return yaml.safe_load((ROOT / name).read_text())


def needs(lines):
    """The least version of each package, of lines as they are in pyproject.toml or in a recipe."""
    found = {}
    for line in lines:
        name, least = re.fullmatch(r"([\w-]+) ?(?:>=([\w.]+))?(?:;.*)?", line).groups()
        found[NAMES_IN_CONDA.get(name, name)] = least
    return found


def test_the_version_is_in_one_place():
    project = pyproject()
    assert project["project"]["dynamic"] == ["version"]
    attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "nqm_fast.version.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", nqm.__version__)


def test_other_files_have_the_same_version():
    assert read_yaml("recipe/recipe.yaml")["context"]["version"] == nqm.__version__
    assert read_yaml("CITATION.cff")["version"] == nqm.__version__
    (newest, *_) = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest == nqm.__version__


def test_the_recipe_for_conda_has_the_dependencies_of_the_package():
    project = pyproject()
    parts = read_yaml("recipe/recipe.yaml")["requirements"]
    run = needs(parts["run"])
    assert run.pop("python") == project["project"]["requires-python"].removeprefix(">=")
    assert run == needs(project["project"]["dependencies"])
    host = needs(parts["host"])
    assert host.pop("python", "") is host.pop("pip", "") is None
    assert host == needs(project["build-system"]["requires"])
    extras = project["project"]["optional-dependencies"]
    optional = needs([*extras["figures"], extras["xarray"][0]])
    assert needs(parts["run_constraints"]) == optional


def test_the_citation_has_what_its_format_asks_for():
    """Keys and types of the Citation File Format 1.2.0, as far as they are used here."""
    cited = read_yaml("CITATION.cff")
    project = pyproject()["project"]
    assert cited["cff-version"] == "1.2.0"
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert [author["name"] for author in cited["authors"]] == [
        x["name"] for x in project["authors"]
    ]
    assert cited["license"] == project["license"]
    assert cited["keywords"] == project["keywords"]
    for reference in cited["references"]:
        assert {"authors", "title", "type"} <= reference.keys()
        assert all({"given-names", "family-names"} == set(x) for x in reference["authors"])


def test_wheels_are_built_for_all_later_pythons():
    """One for each platform, by the oldest Python, with an extension that must not fail."""
    options = pyproject()["tool"]["cibuildwheel"]
    oldest = pyproject()["project"]["requires-python"].removeprefix(">=").replace(".", "")
    assert options["build"] == f"cp{oldest}-*"
    for part in (options, options["macos"]):
        assert part["environment"]["NQM_ABI3"] == part["environment"]["NQM_REQUIRE_EXT"] == "1"
    assert f'"cp{oldest}"' in (ROOT / "setup.py").read_text()
