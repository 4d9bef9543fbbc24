"""What the README and the pages of docs/ say to type is typed: blocks of Python and of a shell.

Notebooks among the pages are executed when the site is built, and not here. A block that cannot be
executed everywhere has the comment ``<!-- not run: why -->`` in the line before it. Blocks of a
page are executed in order, those of Python in one namespace, all in one empty folder.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the checkout")

NOTEBOOK = "file_format: mystnb"
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
FENCE = re.compile(r"^( *)(`{3,}|:{3,})(.*)$")
EXECUTED = ("python", "sh")
SLOW = {"README.md"} | {
    f"docs/{page}.md" for page in ("batch_size", "machines", "schedules", "simulation", "start")
}
"""Pages with searches that take seconds; `.ci/jobs/whole` runs them with the slow tests."""


class Block(NamedTuple):
    line: int
    language: str
    code: str
    not_run: str


def blocks_of(text):
    """The fenced blocks of a page in Markdown, in order."""
    found, before, lines = [], "", enumerate(text.splitlines(), 1)
    for number, line in lines:
        fence = FENCE.match(line)
        if not fence:
            before = line
            continue
        indent, mark, language = fence.groups()
        inside = []
        for _, inner in lines:
            if inner.strip() == mark:
                break
            inside.append(inner[len(indent) :])
        else:
            raise AssertionError(f"the block of line {number} has no end")
        marked = NOT_RUN.fullmatch(before.strip())
        code = "\n".join(inside) + "\n"
        found.append(Block(number, language.strip(), code, marked.group(1) if marked else ""))
        before = ""
    return found


def pages():
    every = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in every}


PAGES = pages() if (ROOT / "docs").exists() else {}
TYPED = {
    name: [x for x in blocks_of(text) if x.language in EXECUTED]
    for name, text in PAGES.items()
    if NOTEBOOK not in text
}
CASES = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
    for name, blocks in TYPED.items()
    if any(not block.not_run for block in blocks)
]


def run_python(block, name, namespace):
    """Execute a block, with the lines of errors as they are in the page."""
    code = compile("\n" * block.line + block.code, name, "exec")
    exec(code, namespace)


def run_shell(block, name, folder):
    """Type a block into a shell, which stops at the first command that fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "MPLBACKEND": "agg"}
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", block.code],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}, line {block.line}: {done.stderr[-2000:]}"


@pytest.mark.parametrize("name", CASES)
def test_what_a_page_says_to_type(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    namespace = {"__name__": "page"}
    for block in TYPED[name]:
        if block.not_run:
            continue
        if block.language == "python":
            run_python(block, name, namespace)
        else:
            run_shell(block, name, tmp_path)
    if "matplotlib.pyplot" in sys.modules:
        matplotlib.pyplot.close("all")


def test_a_notebook_has_cells_and_no_other_blocks_of_python():
    """A block that is neither a cell nor marked would be executed by nobody."""
    for name, text in PAGES.items():
        if NOTEBOOK in text:
            languages = [block.language for block in blocks_of(text) if not block.not_run]
            assert "{code-cell} python" in languages, name
            assert not set(EXECUTED) & set(languages), name


def test_notebooks_are_stored_without_their_outputs():
    assert not list((ROOT / "docs").rglob("*.ipynb"))


# -- the reader of pages ---------------------------------------------------------------------


def test_blocks_are_found_with_their_lines_and_marks():
    text = "a\n```python\nx = 1\n```\n<!-- not run: needs a GPU -->\n```sh\nls\n```\n"
    assert blocks_of(text) == [
        Block(2, "python", "x = 1\n", ""),
        Block(6, "sh", "ls\n", "needs a GPU"),
    ]


def test_a_mistake_in_a_page_is_seen_with_its_line(tmp_path):
    wrong = blocks_of("one\n\n```python\na = 1\nb = undefined\n```\n")[0]
    with pytest.raises(NameError) as error:
        run_python(wrong, "docs/wrong.md", {})
    assert error.traceback[-1].lineno + 1 == 5
    (failing,) = blocks_of("```sh\ntrue\nfalse\ntrue\n```\n")
    with pytest.raises(AssertionError, match="line 1"):
        run_shell(failing, "docs/wrong.md", tmp_path)


# -- links -----------------------------------------------------------------------------------


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.S | re.M)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_of_the_readme_lead_somewhere():
    """Those of the pages are checked when the site is built."""
    links = re.findall(r"\]\(([^)\s]+)\)", PAGES["README.md"])
    assert len(links) > 5
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        assert not anchor or anchor in anchors((ROOT / path).read_text()), link
