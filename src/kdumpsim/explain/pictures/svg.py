# SPDX-License-Identifier: GPL-2.0-or-later
"""SVG 1.1, as much of it as the pictures need.

A picture stands in a page, whose style knows light and dark, or by itself (`by_itself`). Colours are Okabe and
Ito's, which colour-blind readers can tell apart; what a colour says is said by words or a shape as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

NAMESPACE: Final = "http://www.w3.org/2000/svg"
TEXT, SMALL = 12, 10.5
"""Sizes of letters, in px of the picture."""
_WIDE, _WIDE_OF_CODE = 0.56, 0.605
"""Of a letter, by its size: an average that most texts stay below, and that of letters that are all as wide."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

LIGHT: Final = {
    "ink": "#1b1b1b", "soft": "#595959", "paper": "#ffffff", "grid": "#d0d0d0", "first": "#cfe3f5", "second": "#fbdfb5",
    "free": "#f2f2f2", "hole": "#d9d9d9", "mech": "#ecd5e3", "save": "#bfe5d6", "reserved": "#fdf3c4",
    "blue": "#0072b2", "orange": "#d55e00", "green": "#00795a", "purple": "#9c4a80", "amber": "#b37400",
    "sky": "#56b4e9",
}  # fmt: skip
DARK: Final = {
    "ink": "#ececec", "soft": "#b3b3b3", "paper": "#181a1b", "grid": "#4a4a4a", "first": "#17405f", "second": "#5d3f0c",
    "free": "#2b2d2e", "hole": "#4b4b4b", "mech": "#59304a", "save": "#0b4c3b", "reserved": "#4a4212",
    "blue": "#64b5ec", "orange": "#ff8a3d", "green": "#35c79b", "purple": "#dc8fbf", "amber": "#eab54e",
    "sky": "#7cc7f2",
}  # fmt: skip
_RULES: Final = """
.pic { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
.pic text { fill: var(--ink) } .pic text.s { font-size: 10.5px; fill: var(--soft) } .pic .b { font-weight: 600 }
.pic text.m { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 10.5px }
.pic text.h { font-size: 14px; font-weight: 600 } .pic text.hot { fill: var(--orange); font-weight: 600 }
.pic rect, .pic path, .pic line { stroke-width: 1; fill: none; stroke: none }
.pic .paper { fill: var(--paper) } .pic .box { stroke: var(--ink) } .pic .grid { stroke: var(--grid) }
.pic .axis { stroke: var(--soft) } .pic .thick { stroke-width: 2.5; stroke: var(--orange) }
.pic .arrow { stroke: var(--orange); stroke-width: 2 } .pic .tip { fill: var(--orange); stroke: none }
.pic .tip.axis { fill: var(--soft) }
.pic .link { stroke: var(--soft); stroke-dasharray: 3 2 }
.pic .band { fill: var(--sky); fill-opacity: .18; stroke: var(--blue); stroke-opacity: .5 }
.pic .first { fill: var(--first); stroke: var(--blue) } .pic .second { fill: var(--second); stroke: var(--amber) }
.pic .free { fill: var(--free); stroke: var(--grid) } .pic .hole { fill: var(--hole); stroke: var(--soft) }
.pic .mech { fill: var(--mech); stroke: var(--purple) } .pic .save { fill: var(--save); stroke: var(--green) }
.pic .reserved { fill: var(--reserved); stroke: var(--amber) } .pic .new { fill: var(--orange) }
.pic .nmi { fill: var(--orange) } .pic .fault { fill: var(--purple) } .pic .irq { fill: var(--sky) }
.pic .timer { fill: var(--soft) } .pic .event { fill: var(--amber) } .pic .soft { fill: var(--green) }
.pic .crash { stroke: var(--orange); stroke-width: 2 } .pic text.on { fill: var(--paper); font-size: 10.5px }
.pic text.onirq { fill: #111; font-size: 10.5px }
"""


def page_style() -> str:
    """For a page with pictures in it."""
    light, dark = ("; ".join(f"--{name}: {value}" for name, value in each.items()) for each in (LIGHT, DARK))
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{_RULES}"


def by_itself(svg: str) -> str:
    """A picture as a file: with its style, in the colours of paper, which programs without CSS variables know, too."""
    style = re.sub(r"var\(--(\w+)\)", lambda found: LIGHT[found[1]], _RULES)
    return svg.replace("</desc>", f"</desc><style>{style}</style>", 1) + "\n"


def number(value: float) -> str:
    """As SVG has it, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def clean(text: str) -> str:
    """Text without what XML cannot hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def width_of(text: str, size: float = TEXT, *, code: bool = False) -> float:
    """About how wide a text is, in px; it is rarely wider."""
    return len(text) * size * (_WIDE_OF_CODE if code else _WIDE)


def fitting(text: str, room: float, size: float = TEXT, *, code: bool = False) -> str:
    """A text, cut so that it fits into so many px."""
    most = max(int(room / width_of("n", size, code=code)), 1)
    return text if len(text) <= most else text[: most - 1] + "…"


def plural(count: int, noun: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Drawing:
    """A picture with what is said of it."""

    name: str
    """For files and links: lower-case words with hyphens."""
    title: str
    caption: str
    svg: str
    script: str = ""
    """Data for the page's script, as JSON; empty for a picture that stands still."""


class Svg:
    """A picture that is being drawn; lengths in px, the origin at the upper left."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        size = f"0 0 {number(width)} {number(height)}"
        self._root = ET.Element("svg", {"xmlns": NAMESPACE, "viewBox": size, "class": "pic", "role": "img",
                                        "width": number(width), "height": number(height)})  # fmt: skip
        self._in = [self._root]
        self._add("title", clean(title))
        self._add("desc", clean(description))
        self.rect(0, 0, width, height, "paper")
        self.width, self.height = width, height

    def _add(self, tag: str, text: str = "", **attributes: str) -> ET.Element:
        names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value}
        element = ET.SubElement(self._in[-1], tag, names)
        if text:
            element.text = text
        return element

    @contextmanager
    def group(self, **attributes: str) -> Iterator[None]:
        """What is drawn inside belongs together."""
        self._in.append(self._add("g", **attributes))
        yield
        self._in.pop()

    def rect(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "", **data: object) -> None:
        """A box; `tip` is shown where the pointer rests on it, `data` are attributes data-…"""
        named = {f"data-{name}": clean(str(value)) for name, value in data.items()}
        element = self._add("rect", x=number(x), y=number(y), width=number(max(width, 0.5)),
                            height=number(max(height, 0.5)), class_=kind, **named)  # fmt: skip
        if tip:
            ET.SubElement(element, "title").text = clean(tip)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "", room: float = 0) -> None:
        """A line of text from (or, by `anchor`, to or around) a point on its base line, cut to `room` px if given."""
        kinds = set(kind.split())
        size = SMALL if {"s", "m", "on", "onirq"} & kinds else TEXT
        shown = fitting(words, room, size, code="m" in kinds) if room else words
        element = self._add("text", clean(shown), x=number(x), y=number(y), class_=kind, text_anchor=anchor)
        if shown != words:
            tip = ET.SubElement(element, "title")
            tip.text = clean(words)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> None:
        """A straight line."""
        self._add("line", x1=number(x1), y1=number(y1), x2=number(x2), y2=number(y2), class_=kind)

    def path(self, points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> None:
        """A line from point to point."""
        words = [f"{'L' if at else 'M'}{number(x)} {number(y)}" for at, (x, y) in enumerate(points)]
        self._add("path", d=" ".join(words) + ("Z" if closed else ""), class_=kind)

    def arrow(self, points: Sequence[tuple[float, float]], kind: str = "arrow") -> None:
        """A line with a tip at its end."""
        self.path(points, kind)
        (x0, y0), (x, y) = points[-2], points[-1]
        length = max(((x - x0) ** 2 + (y - y0) ** 2) ** 0.5, 0.01)
        ux, uy = (x - x0) / length, (y - y0) / length
        back, side = 9, 4.5
        left = x - ux * back - uy * side, y - uy * back + ux * side
        right = x - ux * back + uy * side, y - uy * back - ux * side
        self.path([(x, y), left, right], "tip" if kind == "arrow" else f"tip {kind}", closed=True)

    def __str__(self) -> str:
        return ET.tostring(self._root, encoding="unicode")
