# SPDX-License-Identifier: GPL-2.0-or-later
"""Sphinx: the guide and the API reference.  `sphinx-build -W docs build/docs` builds them."""

from kdumpsim import __version__

project = "kdumpsim"
copyright = "the kdumpsim authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
html_theme = "furo"
html_title = f"kdumpsim {__version__}"
html_copy_source = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": True}
default_role = "code"
suppress_warnings = ["misc.highlighting_failure"]  # interfaces in design.md are Python with notes
