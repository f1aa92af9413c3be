# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects merged to one, and where their sections are once that is loaded."""

from __future__ import annotations

from kdumpsim import images
from kdumpsim.compiler.elf import read_object, relocate_object

ADDRESS = 0x1F5C000


def test_sections_of_the_parts_are_where_their_symbols_are_loaded() -> None:
    """Purgatory: a function's place in its module's section, and its address in the merged object, agree."""
    _, symbols = relocate_object(images.purgatory(), ADDRESS)
    seen = 0
    for data, sections in images.purgatory_modules(ADDRESS):
        obj = read_object(data)
        for symbol in obj.symbols:
            if symbol.name in symbols and 0 < symbol.section < len(obj.sections):
                section = obj.sections[symbol.section]
                assert sections[section.name] + symbol.value == symbols[symbol.name]
                seen += 1
    assert seen >= 20
