# SPDX-License-Identifier: GPL-2.0-or-later
"""Sphinx: the guide and the API reference.  `sphinx-build -W docs build/docs` builds them."""

from dataclasses import MISSING
from typing import get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

import kdumpsim
from kdumpsim import Scenario, __version__
from kdumpsim.scenario.settings import settings_of

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
smartquotes = False  # options begin with two dashes
suppress_warnings = ["misc.highlighting_failure"]  # interfaces in design.md are Python with notes


class Settings(SphinxDirective):
    """``.. settings:: NAME``: the fields of a part of a scenario, as they describe themselves."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        part = getattr(kdumpsim, self.arguments[0])
        named = {"modules" if each.name == "guest_modules" else each.name: each for each in settings_of(Scenario)}
        lines = []
        for name, kind in (get_type_hints(Scenario) | get_type_hints(part)).items():
            if name in named and (part is Scenario or name in part.__annotations__):
                setting = named[name]
                lines += [f".. py:attribute:: {name}", f"   :type: {stringify_annotation(kind, 'smart')}"]
                if setting.default is not MISSING:
                    lines.append(f"   :value: {setting.default!r}")
                lines += ["", f"   {setting.help} Option: ``{setting.option}``.", ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> None:
    """For Sphinx."""
    app.add_directive("settings", Settings)
