"""``nqm-fast explore``: the model in the browser."""

from __future__ import annotations

import argparse
from typing import Any

from ..tables import whole_number

ORDER = 20


def add(commands: Any) -> None:
    """Add the command to the parser."""
    explore = commands.add_parser(
        "explore",
        allow_abbrev=False,
        help="move the model in the browser: paths, risk curves, batch sizes, schedules, your data",
    )
    explore.set_defaults(run=_explore)
    explore.add_argument(
        "--port",
        type=whole_number,
        default=5006,
        metavar="N",
        help="port on this machine, 0 for any that is free (default: 5006)",
    )
    explore.add_argument(
        "--no-browser", action="store_true", help="print the address, and open nothing"
    )


def _explore(chosen: argparse.Namespace) -> None:
    from ...explorer.server import serve

    serve(chosen.port, not chosen.no_browser)
