# SPDX-License-Identifier: GPL-2.0-or-later
"""Program headers: of a dump's file, and of those that were prepared for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kdumpsim.explain.pictures.layout import DumpLayout
from kdumpsim.explain.pictures.parts import Part, size_text
from kdumpsim.explain.pictures.svg import Svg
from kdumpsim.mechanisms.base import DumpHeader
from kdumpsim.target import hex_address

ROW, GAP = 32, 4
KINDS = {"PT_LOAD": "first", "PT_NOTE": "save"}


def header_panel(
    svg: Svg, headers: Sequence[DumpHeader], rows: Sequence[Part], row_y: Callable[[Part], float], *, left: float,
    x: float, y: float, width: float,
) -> None:  # fmt: skip
    """Prepared headers as a list, each with a bracket at the parts of memory that it is about."""
    svg.text(x, y - 12, "program headers, in their order", "s")
    lanes = (x - left - 16) / (len(headers) + 1)
    for number, header in enumerate(headers):
        top = y + number * (ROW + GAP)
        svg.rect(x, top, width, ROW, KINDS[header.kind], start=header.offset, end=header.offset + header.size,
                 paddr=header.paddr, name=header.kind, on="headers")  # fmt: skip
        svg.text(x + 8, top + 13, header.kind, "b")
        svg.text(x + width - 8, top + 13, size_text(header.size), "s", "end")
        moved = "  (moved)" if header.moved else ""
        svg.text(
            x + 8, top + 27, f"p_paddr {hex_address(header.paddr)}  p_offset {hex_address(header.offset)}{moved}", "m"
        )
        inside = [row_y(part) for part in rows if part.start < header.offset + header.size and header.offset < part.end]
        if not inside:
            continue
        lane = left + 6 + lanes * (number + 0.5)
        kind = "arrow" if header.moved else "link"
        if len(inside) > 1:
            for end in (min(inside) - 12, max(inside) + 12):
                svg.line(left + 2, end, lane, end)
            svg.line(lane, min(inside) - 12, lane, max(inside) + 12)
            svg.path([(lane, (min(inside) + max(inside)) / 2), (x - 8, top + ROW / 2), (x, top + ROW / 2)], "link")
        else:
            svg.path([(left, inside[0]), (lane, inside[0]), (x - 8, top + ROW / 2), (x, top + ROW / 2)], kind)


def file_panel(
    svg: Svg, layout: DumpLayout, y_of: Callable[[int], float], *, bar: float, x: float, top: float, bottom: float,
    width: float,
) -> None:  # fmt: skip
    """The file as a bar to scale, with bands from memory, and its parts as a list."""
    left, right = x - 130, x - 60
    svg.text(left, top - 12, "the file, to scale", "s")
    svg.text(x, top - 12, "the file's parts, from its end to its beginning", "s")

    def place(offset: int) -> float:
        return bottom - (bottom - top) * offset / layout.size

    parts = [("ELF header, program headers", "mech", 0, layout.head, "")]
    parts += [(header.kind, KINDS[header.kind], header.offset, header.size,
               f"p_paddr {hex_address(header.paddr)}" if header.kind == "PT_LOAD" else "CPU register states")
              for header in layout.headers]  # fmt: skip
    for number, (name, kind, offset, size, detail) in enumerate(reversed(parts)):
        first, last = place(offset + size), place(offset)
        svg.rect(left, first, right - left, last - first, kind, f"{name} {detail}", start=offset, end=offset + size,
                 on="file", name=name)  # fmt: skip
        row = top + number * (ROW + GAP)
        svg.path([(right, (first + last) / 2), (x - 14, row + ROW / 2), (x, row + ROW / 2)], "link")
        svg.rect(x, row, width, ROW, kind)
        svg.text(x + 8, row + 13, name, "b", room=width - 80)
        svg.text(x + width - 8, row + 13, size_text(size), "s", "end")
        svg.text(x + 8, row + 27, f"p_offset {hex_address(offset)}  {detail}", "m", room=width - 16)
    for header in layout.headers:
        if header.kind == "PT_LOAD":
            svg.path([(bar, y_of(header.paddr + header.size)), (left, place(header.offset + header.size)),
                      (left, place(header.offset)), (bar, y_of(header.paddr))], "band", closed=True)  # fmt: skip
