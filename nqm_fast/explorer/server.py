"""The server of the explorer: on the loopback address alone, and without the network."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..foundation.messages import InputError
from ..foundation.validation import integer
from .environment import check_installed, panel
from .page import serve_page
from .parameters import defaults
from .view import View
from .views import VIEWS

ADDRESS = "127.0.0.1"
PORT = 5006
"""The port, unless another is chosen."""
TITLE = "nqm_fast explorer"
MOST_MESSAGE = 100 << 20
"""Bytes of a message of the browser, which has a part of a file."""


class Gone(logging.Filter):
    """Drops what is logged of browsers that went away: to close a page is no error."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a record unless it is of a closed connection."""
        kind = record.exc_info[0] if record.exc_info else None
        closed = kind is not None and kind.__name__ in ("WebSocketClosedError", "StreamClosedError")
        return not closed and "connection was closed" not in record.getMessage()


def send_at_once() -> None:
    """Let the sockets of pages send every message at once.

    Small messages are held back otherwise until the browser has confirmed the one before, which it
    does 40 ms late, and an answer is several messages.
    """
    from bokeh.server.urls import per_app_patterns
    from bokeh.server.views.ws import WSHandler

    class PromptSocket(WSHandler):  # type: ignore[misc]
        """The socket of a page, without Nagle's algorithm."""

        def open(self) -> None:
            super().open()
            self.set_nodelay(True)

    per_app_patterns[:] = [
        (path, PromptSocket if handler is WSHandler else handler, *more)
        for path, handler, *more in per_app_patterns
    ]


def prepare(is_ready: threading.Event) -> None:
    """Compute every view once, so that all is compiled that pages need."""
    try:
        for view in VIEWS:
            view.numbers(defaults(view.parameters), None)
    finally:
        is_ready.set()


def _application(view: View, is_ready: threading.Event) -> Callable[[], Any]:
    """Return what makes the page of a view for a session; Panel serves functions alone so."""

    def application() -> Any:
        return serve_page(view, VIEWS, is_ready)

    return application


def make_server(port: int = PORT) -> Any:
    """Make a server of the pages, which is listening, but answers only when its loop is started.

    Parameters
    ----------
    port : int
        0 is any that is free.

    Raises
    ------
    InputError
        If a library is missing, or the port is in use or not allowed.
    """
    port = integer("--port", port, least=0, most=65535)
    check_installed()
    serve_pages = panel().serve  # Panel chooses handlers of its own when it is imported
    send_at_once()
    is_ready = threading.Event()
    pages: dict[str, Callable[[], Any]] = {
        "/" if view is VIEWS[0] else view.name: _application(view, is_ready) for view in VIEWS
    }
    port = port or _free_port()
    origins = [f"{host}:{port}" for host in (ADDRESS, "localhost")]
    try:
        server = serve_pages(
            pages,
            port=port,
            address=ADDRESS,
            websocket_origin=origins,
            websocket_max_message_size=MOST_MESSAGE,
            title=TITLE,
            show=False,
            start=False,
            verbose=False,
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"--port {port} is in use: choose another, or 0 for any that is free"
            ) from None
        if error.errno == errno.EACCES:
            raise InputError(
                f"--port {port} needs rights that you do not have: choose another"
            ) from None
        raise
    for name in ("asyncio", "tornado.application", "bokeh.server.views.ws"):
        logging.getLogger(name).addFilter(Gone())
    threading.Thread(target=prepare, args=(is_ready,), daemon=True).start()
    return server


def _free_port() -> int:
    """Return a port that is free; it must be known before, as pages of others are refused."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
    return port


def url(server: Any) -> str:
    """Return the address of the first page."""
    return f"http://{ADDRESS}:{server.port}/"


def _said(line: str) -> None:
    """Print a line at once, also where a program reads it."""
    print(line, flush=True)


def serve(port: int = PORT, browser: bool = True, say: Callable[[str], None] = _said) -> None:
    """Serve the pages until this is interrupted.

    Parameters
    ----------
    port : int
        0 is any that is free.
    browser : bool
        Whether a page is opened in the browser.
    say : callable
        Takes the line that names the address.

    Raises
    ------
    InputError
        As `make_server`.
    """
    server = make_server(port)
    say(f"The explorer is at {url(server)} for this machine alone; Ctrl-C ends it.")
    if browser:
        import webbrowser

        server.io_loop.add_callback(webbrowser.open, url(server))
    server.run_until_shutdown()
