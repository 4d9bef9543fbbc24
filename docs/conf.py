"""How the documentation is built: ``sphinx-build -W --keep-going -n docs site``.

Tutorials are text in MyST's Markdown, executed when the site is built; nothing of what they print
is stored. What an install of the extra ``[docs]`` has is enough, without a network: formulas become
MathML, and links to other sites are not followed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import numpydoc.xref

import nqm_fast

# types of Python and NumPy would link to other sites, whose lists of names are not here
numpydoc.xref.DEFAULT_LINKS.clear()

project = "nqm_fast"
author = "The nqm_fast developers"
copyright = "2026, the nqm_fast developers"
release = version = nqm_fast.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "mathml",
    "public_names",
]
exclude_patterns = ["_extensions", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # what tutorials write
nb_execution_timeout = 120
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_number_source_lines = False

autosummary_generate = True
autodoc_typehints = "none"  # docstrings have types, with shapes and units
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    name: f"nqm_fast.{name}"
    for name in nqm_fast.__all__
    if isinstance(getattr(nqm_fast, name), type)
}
default_role = "name"
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"nqm_fast {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
