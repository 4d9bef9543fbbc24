"""Fixtures of the tests of the command line."""

import pytest

from nqm_fast import cli


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def nqm_fast(capsys, here):
    """Run a command in a folder of its own: status, output, errors."""

    def run(*arguments):
        status = cli.main(list(arguments))
        out, err = capsys.readouterr()
        return status, out, err

    return run
