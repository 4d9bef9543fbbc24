"""The command line, ``nqm-fast``, whose commands are the modules of `commands`."""

from __future__ import annotations

import argparse
import importlib
import io
import pkgutil
import signal
import sys
from collections.abc import Sequence
from typing import Any

from .. import InputError, __version__
from ..kernels import BackendError
from ..output.progress import shown_on_terminal
from ..simulation.signals import Stopped
from . import commands
from .options import import_modules
from .outcome import discard_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, 2 for a mistake in the arguments."""
    _print_any_name()
    chosen = command_parser().parse_args(arguments)
    try:
        import_modules([*chosen.imported, *chosen.also_imported])
        with shown_on_terminal():
            return chosen.run(chosen) or 0
    except (InputError, BackendError, MemoryError) as error:
        for line in (str(error) or "memory is full").splitlines():
            print(f"nqm-fast {chosen.command}: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # The reader of the output, such as head, has ended.
        discard_output()
        return 128 + 13
    except OSError as error:
        where = error.filename or "output"
        if error.filename is None:
            discard_output()
        print(f"nqm-fast {chosen.command}: {where}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("interrupted", file=sys.stderr)
        return 128 + (interrupt.number if isinstance(interrupt, Stopped) else signal.SIGINT)


def _print_any_name() -> None:
    """Let names of files be printed on any terminal, escaped where it lacks their characters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def command_parser() -> argparse.ArgumentParser:
    """Make the parser, with all modules of `commands` in their order."""
    parser = argparse.ArgumentParser(
        prog="nqm-fast",
        allow_abbrev=False,
        description="The noisy quadratic model of minibatch training, solved and simulated.",
        epilog="Exit status: 0 complete; 2 a mistake, or a file that cannot be read or written; "
        "3 complete, and a setting has diverged; 4 points of a sweep, or shards of a run, have "
        "failed; 128 + n interrupted by signal n.",
    )
    parser.add_argument("--version", action="version", version=f"nqm-fast {__version__}")
    importing: dict[str, Any] = {
        "action": "append",
        "default": [],
        "metavar": "MODULE",
        "help": "first import a module, or a file MODULE.py, that defines algorithms or schedules",
    }
    parser.add_argument("--import", dest="imported", **importing)
    places = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    found = [
        importlib.import_module(f"{commands.__name__}.{module.name}")
        for module in pkgutil.iter_modules(commands.__path__)
    ]
    for module in sorted(found, key=lambda module: int(module.ORDER)):
        module.add(places)
    for command in places.choices.values():
        command.add_argument("--import", dest="also_imported", **importing)
    return parser
