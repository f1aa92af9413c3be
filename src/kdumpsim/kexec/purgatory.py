# SPDX-License-Identifier: GPL-2.0-or-later
"""Placing purgatory: relocation, and filling in what it has to know (``kdumpsim/purgatory``)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from kdumpsim.compiler.elf import ElfError, relocate_object
from kdumpsim.target import TARGET

from .errors import KexecError
from .segments import Range

ENTRY = "purgatory_start"
MAX_REGIONS = 16
BACKUP_UNIT = 32


def _words(*values: int) -> bytes:
    """Purgatory's variables are words of the machine."""
    return struct.pack(f"<{len(values)}{TARGET.word_format}", *values)


class Purgatory:
    """One copy of purgatory at its place in physical memory."""

    def __init__(self, obj: bytes, address: int) -> None:
        try:
            image, self.symbols = relocate_object(obj, address)
        except ElfError as error:
            raise KexecError(f"purgatory: {error}") from None
        self.address = address
        self._image = bytearray(image)
        self.memsz = len(image)

    @property
    def entry(self) -> int:
        """Physical address of the first instruction."""
        return self._symbol(ENTRY)

    @property
    def image(self) -> bytes:
        """Contents; trailing zeros (bss) are left off, the loader fills them."""
        return bytes(self._image).rstrip(b"\0")

    def set_regions(self, regions: Sequence[tuple[int, bytes]]) -> None:
        """What the digest covers: (physical address, contents), in this order."""
        if len(regions) > MAX_REGIONS:
            raise KexecError(f"purgatory can check {MAX_REGIONS} regions, not {len(regions)}")
        digest = hashlib.sha256()
        table = bytearray()
        for address, data in regions:
            digest.update(data)
            table += _words(address, len(data))
        self._patch("sha256_regions", bytes(table.ljust(MAX_REGIONS * 2 * TARGET.word, b"\0")))
        self._patch("sha256_digest", digest.digest())

    def set_backup(self, source: Range, target: int) -> None:
        """Copy `source` to `target` before the kernel starts."""
        if source.size % BACKUP_UNIT:
            raise KexecError(f"purgatory copies in units of {BACKUP_UNIT} bytes, not {source.size}")
        self._patch("backup_src_start", _words(source.start))
        self._patch("backup_src_size", _words(source.size))
        self._patch("backup_start", _words(target))

    def set_kernel(self, entry: int, eax: int, ebx: int) -> None:
        """The next kernel's entry and the registers it is to find."""
        for name, value in (("kernel_entry", entry), ("kernel_eax", eax), ("kernel_ebx", ebx)):
            self._patch(name, _words(value))

    def _symbol(self, name: str) -> int:
        try:
            return self.symbols[name]
        except KeyError:
            raise KexecError(f"purgatory: the object has no symbol {name}") from None

    def _patch(self, name: str, value: bytes) -> None:
        at = self._symbol(name) - self.address
        self._image[at : at + len(value)] = value


def purgatory_size(obj: bytes) -> int:
    """Bytes of memory it will take at a page boundary."""
    return Purgatory(obj, 0).memsz
