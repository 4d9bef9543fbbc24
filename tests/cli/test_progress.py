"""What is said of a run while it goes on, in a pipe and on a terminal."""

import io
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
import types

import pytest
from helpers import LONG_RUN, command

import nqm_fast as nqm
from nqm_fast.output import progress


def test_in_a_pipe_progress_is_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with progress.shown_on_terminal(), progress.rated("simulation", 200, "steps") as report:
        for done in (50, 100, 150):
            time.sleep(0.01)
            report(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line, percent in zip(lines, (50, 75), strict=True):
        assert re.fullmatch(rf"simulation: {percent} %, [\d.]+ k? ?steps/s, 0:00:00 left", line)


def test_nobody_is_told_without_a_terminal(capsys):
    nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 10)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """An error stream that is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("wanted", "seen"), [(None, True), (True, True), (False, False)])
def test_the_library_shows_a_bar_on_a_terminal(monkeypatch, wanted, seen):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 100_000, progress=wanted)
    assert ("simulation" in sys.stderr.getvalue()) == seen


def test_the_library_shows_none_in_a_thread_of_others(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    arguments = nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 100_000
    thread = threading.Thread(target=nqm.simulate, args=arguments)
    thread.start()
    thread.join()
    assert sys.stderr.getvalue() == ""


def test_the_library_writes_lines_in_a_pipe_if_asked(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    arguments = nqm.Problem.power_law(2000), nqm.SGD(0.1), 8, 200_000
    nqm.simulate(*arguments, progress=True)
    assert "simulation: 100 %" in capsys.readouterr().err


def test_the_library_shows_a_bar_in_a_notebook(monkeypatch, capsys):
    """A kernel that is made up collects what would be in the cell."""
    cell = []

    class Handle:
        def update(self, html):
            cell.append(html)

    def display(html, display_id):
        cell.append(html)
        return Handle()

    notebook = types.ModuleType("IPython")
    notebook.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    notebook.display = types.ModuleType("IPython.display")
    notebook.display.HTML, notebook.display.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook.display)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 100_000)
    assert cell[0].startswith("<progress value=")
    assert "coordinate-steps/s" in cell[0]
    assert cell[-1] == ""
    cell.clear()
    nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 100_000, progress=False)
    assert (cell, capsys.readouterr()) == ([], ("", ""))


def screen(content):
    """The lines that are on a terminal after this output."""
    lines = [""]
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", content):
        if part == "\n":
            lines.append("")
        elif part == "\r" or part.startswith("\x1b["):
            lines[-1] = "" if part in ("\r", "\x1b[2K") else lines[-1]
        else:
            lines[-1] += part
    return lines


def test_the_bar_fits_a_terminal_of_80_columns(here):
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen(
        command("run", *LONG_RUN), stdout=child, stderr=child, stdin=child, env=environment
    )
    os.close(child)
    content, limit = "", time.monotonic() + 60
    while content.count("coordinate-steps/s") < 8 and time.monotonic() < limit:
        if select.select([parent], [], [], 1.0)[0]:
            content += os.read(parent, 4096).decode()
    process.kill()
    process.wait()
    os.close(parent)
    shown = [line for line in screen(content) if "coordinate-steps/s" in line]
    assert shown
    assert all(len(line) <= 80 for line in shown)
    assert re.search(
        r"simulation \S+ +\d+% [\d.]+ [kMG]? ?coordinate-steps/s (\d+:\d\d:\d\d|-:--:--)", shown[-1]
    )
