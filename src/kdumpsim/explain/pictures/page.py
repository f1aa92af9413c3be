# SPDX-License-Identifier: GPL-2.0-or-later
"""A run's page: what is told of it and its pictures, in one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from kdumpsim._version import __version__
from kdumpsim.explain.pictures.svg import Drawing, clean, number, page_style

SCRIPT = "timeline.js"
HEADING = 28
"""px of a picture that its own heading takes."""
ZOOMED = "timeline"
"""The picture that the script takes over."""
_CSS = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper) }
h1 { font-size: 1.5rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
a { color: var(--blue) } p { max-width: 46rem } .small { color: var(--soft); font-size: 13px }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--free); padding: .5rem .7rem;
  font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace }
figure { margin: 1.2rem 0 1.8rem } figcaption { color: var(--soft); font-size: 13px; max-width: 46rem }
.wide { overflow-x: auto } .wide svg { display: block; width: 100%; min-width: 760px; height: auto }
ul.told { max-width: 46rem; padding-left: 1.2rem } .told li { margin: .35rem 0 } .told small { color: var(--soft) }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--grid); white-space: nowrap }
tr:target { background: var(--reserved) }
nav a { margin-right: .9rem } #timeline svg { touch-action: pan-y; cursor: grab }
#timeline-controls button { font: inherit; font-size: 13px; margin: 0 .3rem .3rem 0; padding: .1rem .5rem;
  color: var(--ink); background: var(--free); border: 1px solid var(--soft); border-radius: 3px; cursor: pointer }
"""


def page(title: str, command: str, told: tuple[str, str], drawings: Sequence[Drawing]) -> str:
    """The file's text; `told` is HTML for before the pictures and for after them."""
    named, (before, after) = escape(clean(title)), told
    links = "".join(f'<a href="#{drawing.name}">{escape(drawing.title)}</a> ' for drawing in drawings)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{named}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<style>\n{page_style()}{_CSS}</style>\n<h1>{named}</h1>",
        f"<pre>{escape(clean(command))}</pre>",
        f"<nav>Pictures: {links}</nav>" if drawings else "",
        before,
        *map(_figure, drawings),
        after,
        f'<p class="small">kdumpsim {escape(__version__)}</p>',
    ]
    zoomed = next((drawing.script for drawing in drawings if drawing.name == ZOOMED), "")
    if zoomed:
        safe = clean(zoomed).replace("<", "\\u003c")
        script = (files("kdumpsim.explain.pictures") / SCRIPT).read_text()
        parts.append(f'<script type="application/json" id="timeline-data">{safe}</script>\n<script>\n{script}</script>')
    return "\n".join([*parts, "</html>\n"])


def _without_heading(svg: str) -> str:
    """The page has it already: what is seen begins below."""
    found = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg)
    assert found is not None, "Svg writes one"
    width, height = found[1], number(float(found[2]) - HEADING)
    svg = svg.replace(found[0], f'viewBox="0 {HEADING} {width} {height}"', 1)
    return svg.replace(f'height="{found[2]}"', f'height="{height}"', 1)


def _figure(drawing: Drawing) -> str:
    controls = ""
    if drawing.name == ZOOMED:
        controls = ('<div id="timeline-controls" hidden><span class="small"> <span id="timeline-where"></span>; '
                    "drag it, Ctrl and the wheel or a double click zoom</span></div>\n")  # fmt: skip
    drawn = f'{controls}<div class="wide">{_without_heading(drawing.svg)}</div>'
    caption = f"<figcaption>{escape(clean(drawing.caption))}</figcaption>"
    return f'<h2>{escape(drawing.title)}</h2>\n<figure id="{drawing.name}">\n{drawn}\n{caption}\n</figure>'
