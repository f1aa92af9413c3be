# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot parameters segment: a Multiboot 0.6.96 information structure (section 3.3) with strings and memory map."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .iomem import RangeType
from .segments import Range

LOADER_MAGIC = 0x2BADB002
"""In EAX when a Multiboot kernel is entered."""

_MEMORY, _CMDLINE, _MMAP, _LOADER_NAME = 1 << 0, 1 << 2, 1 << 6, 1 << 9
_INFO = struct.Struct("<IIIIIII16sIIIIIII")
_MMAP_ENTRY = struct.Struct("<IQQI")


def multiboot_info(address: int, command_line: str, memory_map: Sequence[tuple[Range, RangeType]]) -> bytes:
    """The structure and all it points to, for physical `address`."""
    name = b"kdumpsim kexec\0"
    line = command_line.encode("ascii") + b"\0"
    entries = b"".join(_MMAP_ENTRY.pack(_MMAP_ENTRY.size - 4, part.start, part.size, kind) for part, kind in memory_map)
    ram = [part for part, kind in memory_map if kind == RangeType.RAM]
    mmap_at = address + _INFO.size
    name_at = mmap_at + len(entries)
    line_at = name_at + len(name)
    lower = next((part.end >> 10 for part in ram if part.start == 0), 0)
    upper = next(((part.end - (1 << 20)) >> 10 for part in ram if part.start <= 1 << 20 < part.end), 0)
    info = _INFO.pack(
        _MEMORY | _CMDLINE | _MMAP | _LOADER_NAME, min(lower, 640), min(upper, 0xFFFFFFFF), 0, line_at, 0, 0, bytes(16),
        len(entries), mmap_at, 0, 0, 0, name_at, 0,
    )  # fmt: skip
    return info + entries + name + line
