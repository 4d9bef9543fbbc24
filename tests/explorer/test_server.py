"""The explorer's server: who may connect, what it loads, and what is wrong with a port."""

import re
import socket
import urllib.error
import urllib.request
from importlib.util import find_spec

import pytest
from helpers import python

pytestmark = pytest.mark.slow
if find_spec("panel") is None or find_spec("panel_material_ui") is None:
    pytest.skip("panel is not installed: pip install 'nqm-fast[explore]'", allow_module_level=True)


def port_of(address):
    return int(re.search(r":(\d+)/", address).group(1))


def test_it_listens_on_the_loopback_address_alone(address):
    """Another address of this machine, also of its loopback network, has nobody who answers."""
    port = port_of(address)
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    for other in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
        if other != "127.0.0.1":
            with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
                socket.create_connection((other, port), timeout=5).close()


def test_all_that_a_page_loads_is_served_here(address):
    with urllib.request.urlopen(f"{address}risk") as answer:
        text = answer.read().decode()
    loaded = re.findall(r"""<(?:script|link|img)[^>]*\b(?:src|href)=["']([^"']+)""", text)
    assert len(loaded) > 5
    assert not [url for url in loaded if re.match(r"(?:https?:)?//", url)]


def test_what_files_are_dropped_on_is_only_where_it_is_needed(address):
    """As it draws all the time; also after the page that needs it was opened."""
    found = []
    for name in ("data", "", "risk"):
        with urllib.request.urlopen(address + name) as answer:
            found.append("filepond" in answer.read().decode())
    assert found == [True, False, False]


@pytest.mark.parametrize(
    ("origin", "status"), [("http://{host}", 101), ("http://evil.example", 403), (None, 403)]
)
def test_pages_of_others_cannot_talk_to_it(address, origin, status):
    """What a page of another origin would send, to connect to the socket of a session."""
    host = f"127.0.0.1:{port_of(address)}"
    with urllib.request.urlopen(address) as answer:
        token = re.search(r'"token":"([^"]+)"', answer.read().decode()).group(1)
    lines = [
        "GET /ws HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: bokeh, {token}",
        f"Origin: {(origin or 'null').format(host=host)}", "", "",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", port_of(address)), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).split(b" ")[1] == str(status).encode()


def test_no_file_of_the_machine_is_served(address):
    for path in ("../../../../etc/passwd", "static/../../../../../etc/passwd", "etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match=r"404|403"):
            urllib.request.urlopen(address + path)


def test_a_port_that_is_in_use_is_said(address):
    port = str(port_of(address))
    ended = python("-m", "nqm_fast", "explore", "--no-browser", "--port", port, status=2)
    assert ended.stderr == (
        f"nqm-fast explore: --port {port} is in use: choose another, or 0 for any that is free\n"
    )
