# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing ET_REL files for the target (System V ABI, chapter 4)."""

from __future__ import annotations

from collections.abc import Sequence

from .elf import EHDR, ET_REL, REL, SHDR, SHT_NOBITS, SHT_REL, SHT_SYMTAB, SYM
from .target import TARGET

Header = tuple[int, int, int, int, int, int, int]
"""A section's name (its offset in the last section), type, flags, size, link, info and alignment."""


def write_relocatable(headers: Sequence[Header], bodies: Sequence[bytes]) -> bytes:
    """ELF header, bodies, section headers; the last section holds the section names."""
    image = bytearray(EHDR.size)
    table = bytearray(SHDR.size)
    for (name, kind, flags, size, link, info, align), body in zip(headers, bodies, strict=True):
        image += bytes(-len(image) % align)
        entry = REL.size if kind == SHT_REL else SYM.size if kind == SHT_SYMTAB else 0
        table += SHDR.pack(name, kind, flags, 0, len(image), size, link, info, align, entry)
        if kind != SHT_NOBITS:
            image += body
    image += bytes(-len(image) % 4)
    count = len(headers) + 1
    EHDR.pack_into(
        image, 0, TARGET.elf.ident, ET_REL, TARGET.machine, 1, 0, 0, len(image), 0, EHDR.size, 0, 0, SHDR.size, count,
        count - 1,
    )  # fmt: skip
    return bytes(image + table)
