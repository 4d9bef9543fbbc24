"""``nqm-fast completion``: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ... import InputError

ORDER = 9
SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    completion = commands.add_parser(
        "completion", allow_abbrev=False, help="print the completion script of a shell"
    )
    completion.set_defaults(run=_completion)
    completion.add_argument("shell", choices=SHELLS)


def _completion(chosen: argparse.Namespace) -> None:
    if find_spec("shtab") is None:
        raise InputError("completion needs shtab: pip install 'nqm-fast[completion]'")
    import shtab

    from .. import command_parser

    parser = command_parser()
    for command in _commands(parser).values():
        for action in command._actions:
            if action.type is Path:
                setattr(action, "complete", shtab.FILE)  # noqa: B010
    print(shtab.complete(parser, shell=chosen.shell))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of all commands by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
