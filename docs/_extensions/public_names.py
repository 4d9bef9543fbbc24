"""The role of single backticks in docstrings: a link where it is a public name, else code."""

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.util.docutils import SphinxRole
from sphinx.util.typing import ExtensionMetadata

import nqm_fast


def public(name: str) -> Any:
    """Return what a dotted name in `nqm_fast` is, or None if it has no page."""
    first, *others = name.split(".")
    if first not in nqm_fast.__all__:
        return None
    found = getattr(nqm_fast, first)
    for part in others:
        if part.startswith("_") or part not in dir(found):
            return None
        found = getattr(found, part)
    return found


class Name(SphinxRole):
    """A public name as a link; a parameter or the like as code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the nodes of the role."""
        thing = public(self.text)
        if not callable(thing):
            return [nodes.literal(self.rawtext, self.text)], []
        xref: Sequence[Any] = PyXRefRole()(
            "py:obj",
            self.rawtext,
            f"{self.text} <nqm_fast.{self.text}>",
            self.lineno,
            self.inliner,
        )
        return xref[0], xref[1]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the role `name`."""
    app.add_role("name", Name())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
