"""Formulas as MathML, which browsers and screen readers read without any script.

Browsers need a font with the measures of mathematics, which few machines have: the one that
`ziamath` brings is put beside the pages.
"""

from pathlib import Path

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula in a line of its own, which scrolls where a page is too narrow for it."""
    translator.body.append(translator.starttag(node, "div", CLASS="formula"))
    text = node.astext().replace("{aligned}", "{align*}")  # which is all that the converter knows
    translator.body.append(convert(text, display="block"))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the renderer "mathml"."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_static_path.append(str(Path(ziamath.__file__).parent / "fonts"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
