"""The command line, ``nqm-fast``, whose commands are the modules of `commands`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence

from .. import InputError, __version__
from ..kernels import BackendError
from ..progress import shown_on_terminal
from . import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, 2 for a mistake in the arguments."""
    chosen = command_parser().parse_args(arguments)
    try:
        with shown_on_terminal():
            return chosen.run(chosen) or 0
    except (InputError, BackendError, MemoryError) as error:
        for line in (str(error) or "memory is full").splitlines():
            print(f"nqm-fast {chosen.command}: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # The reader of the output, such as head, has ended.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        where = error.filename or "output"
        print(f"nqm-fast {chosen.command}: {where}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def command_parser() -> argparse.ArgumentParser:
    """Make the parser, with all modules of `commands` in their order."""
    parser = argparse.ArgumentParser(
        prog="nqm-fast",
        allow_abbrev=False,
        description="The noisy quadratic model of minibatch training, solved and simulated.",
    )
    parser.add_argument("--version", action="version", version=f"nqm-fast {__version__}")
    places = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    found = [
        importlib.import_module(f"{commands.__name__}.{module.name}")
        for module in pkgutil.iter_modules(commands.__path__)
    ]
    for module in sorted(found, key=lambda module: int(module.ORDER)):
        module.add(places)
    return parser
