# SPDX-License-Identifier: GPL-2.0-or-later
"""What is where in a dump's file."""

from __future__ import annotations

from dataclasses import dataclass

from kdumpsim.mechanisms.base import DumpHeader
from kdumpsim.vmcore.reader import Vmcore


@dataclass(frozen=True)
class DumpLayout:
    """What is where in a dump's file."""

    size: int
    head: int
    """Bytes of the ELF header with the program headers."""
    headers: tuple[DumpHeader, ...]
    """In the order of the file."""

    @classmethod
    def of(cls, core: Vmcore) -> DumpLayout:
        """That of an open dump."""
        notes = [DumpHeader("PT_NOTE", 0, offset, size) for offset, size in core.note_spans]
        loads = [DumpHeader("PT_LOAD", load.paddr, load.offset, load.size) for load in core.loads]
        end = max((header.offset + header.size for header in (*notes, *loads)), default=core.headers_size)
        return cls(end, core.headers_size, tuple(sorted([*notes, *loads], key=lambda header: header.offset)))
