"""Settings of the documentation's site: Sphinx with MyST; ``make docs`` builds it."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import reference_pages  # noqa: E402

import prunejax  # noqa: E402

project = "prunejax"
author = "the prunejax authors"
version = release = prunejax.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "myst_nb"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_attr_annotations = False
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True

toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "prunejax"
html_theme_options = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {page: [] for page in ("index", "gallery", "architecture", "jaxpruner")}
highlight_language = "text"


def list_results(app, docname, source):
    """Gives the list of recorded runs its pages for the menu; the file itself is read as it is."""
    if docname == "results/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def setup(app):
    """Writes the pages of the reference before Sphinx looks for pages."""
    reference_pages.write(DOCS / "reference" / "generated")
    app.connect("source-read", list_results)
    app.connect("autodoc-process-signature", reference_pages.as_written)
    # before napoleon, which splits a docstring into its sections
    app.connect("autodoc-process-docstring", reference_pages.as_rest, priority=100)
