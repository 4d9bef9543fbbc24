"""A server of the explorer, and a browser, each started once for a module of tests."""

import pages
import pytest


@pytest.fixture(scope="module")
def address():
    with pages.served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with pages.browser() as browser:
        yield browser
