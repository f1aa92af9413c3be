# SPDX-License-Identifier: GPL-2.0-or-later
"""makedumpfile's compressed format, "KDUMP   ", version 6, as it is for a 32-bit machine (makedumpfile's IMPLEMENTATION
file; diskdump_mod.h).

Blocks of 4 KiB: the header; the sub-header with notes and VMCOREINFO; two bitmaps (pages that the machine has, pages
that are in the file); a descriptor for each page of the second; the pages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from kdumpsim.target import PAGE_SIZE
from kdumpsim.vmcore.dump import ZERO_PAGE, Dump, present_pages

from .compressors import Compression
from .elf import pack_notes
from .pages import pages

SIGNATURE = b"KDUMP   "
VERSION = 6
INCOMPLETE = 0x8
"""Status of a file that its disk had no room for."""

MAX_PAGES = (1 << 40) // PAGE_SIZE
"""What bitmaps are made for."""
_GATHER = 1 << 8
"""Pages that are written at once."""
_UTS_FIELD = 65
_HEADER = struct.Struct(f"<8si{6 * _UTS_FIELD}s2xqIiiIIIIIIi")
_SUB_HEADER = struct.Struct("<IiiIIQIQIQIQQQ")
_DESCRIPTOR = struct.Struct("<QIIQ")

Uts = tuple[str, str, str, str, str, str]
"""struct new_utsname: sysname, nodename, release, version, machine, domainname."""


class Sink(Protocol):
    """Where a dump is written to; BinaryIO is one."""

    def seek(self, offset: int, /) -> int: ...
    def write(self, data: bytes, /) -> int: ...
    def truncate(self, size: int, /) -> int: ...


def write_compressed(
    dump: Dump,
    file: BinaryIO | Sink,
    compression: Compression,
    *,
    uts: Uts,
    level: int = 0,
    left_out: Callable[[int], bool] = lambda pfn: False,
    incomplete: bool = False,
) -> None:
    """Write a dump whose pages are compressed one by one; those that would not get smaller are stored as they are.

    `level` is what the header says of the pages that are left out.  With level 1, pages of zeros share one descriptor's
    data, as makedumpfile has it.  `incomplete`: half of the pages are missing, and the header says so.
    """
    runs = present_pages(dump)
    top = runs[-1][1] if runs else 0
    if top > MAX_PAGES:
        raise ValueError(f"the dump has memory at {(top - 1) * PAGE_SIZE:#x}: this format is written up to 1 TiB")
    stored = [pfn for first, end in runs for pfn in range(first, end) if not left_out(pfn)]
    bitmap_blocks = _blocks(-(-top // 8))
    notes = pack_notes(dump.notes)
    info_at, info_size = _vmcoreinfo(dump, PAGE_SIZE + _SUB_HEADER.size)
    sub_blocks = _blocks(_SUB_HEADER.size + len(notes))
    bitmaps_at = (1 + sub_blocks) * PAGE_SIZE
    descriptors_at = bitmaps_at + 2 * bitmap_blocks * PAGE_SIZE
    data_at = descriptors_at + len(stored) * _DESCRIPTOR.size

    status = compression.flag | (INCOMPLETE if incomplete else 0)
    cpus = sum(note.owner == "CORE" for note in dump.notes)
    utsname = b"".join(text.encode()[: _UTS_FIELD - 1].ljust(_UTS_FIELD, b"\0") for text in uts)
    total = sum(end - first for first, end in runs)
    file.write(
        _HEADER.pack(
            SIGNATURE, VERSION, utsname, 0, status, PAGE_SIZE, sub_blocks, 2 * bitmap_blocks, top,
            total & 0xFFFFFFFF, 0, 0, 0, cpus,
        )
    )  # fmt: skip
    file.seek(PAGE_SIZE)
    notes_at = PAGE_SIZE + _SUB_HEADER.size if notes else 0
    file.write(_SUB_HEADER.pack(0, level, 0, 0, 0, info_at, info_size, notes_at, len(notes), 0, 0, 0, 0, top) + notes)
    for block, numbers in ((0, [range(first, end) for first, end in runs]), (bitmap_blocks, [stored])):
        file.seek(bitmaps_at + block * PAGE_SIZE)
        file.write(_bitmap(numbers, bitmap_blocks * PAGE_SIZE))
    file.seek(data_at)
    written = stored[: len(stored) // 2] if incomplete else stored
    descriptors, end = _write_pages(dump, file, compression, written, data_at, share_zeros=bool(level & 1))
    file.truncate(end)
    file.seek(descriptors_at)
    file.write(bytes(descriptors).ljust(data_at - descriptors_at, b"\0"))


def _write_pages(
    dump: Dump, file: BinaryIO | Sink, compression: Compression, wanted: Sequence[int], at: int, *, share_zeros: bool
) -> tuple[bytearray, int]:
    """Pages from offset `at` on; their descriptors, and where they end."""
    compress, flag, describe = compression.compressor(), compression.flag, _DESCRIPTOR.pack
    descriptors = bytearray()
    zero, zero_at = bytes(compress(ZERO_PAGE)), 0
    gathered: list[bytes] = []
    numbers = iter(wanted)
    awaited = next(numbers, None)
    for pfn, page in pages(dump):
        if pfn != awaited:
            continue
        awaited = next(numbers, None)
        if page is ZERO_PAGE:
            if zero_at:
                descriptors += describe(zero_at, len(zero), flag, 0)
                continue
            packed = zero
            zero_at = at if share_zeros else 0
        else:
            packed = compress(page)
        size = len(packed)
        if size < PAGE_SIZE:
            descriptors += describe(at, size, flag, 0)
            gathered.append(packed)
        else:
            size = PAGE_SIZE
            descriptors += describe(at, size, 0, 0)
            gathered.append(page)
        at += size
        if len(gathered) == _GATHER:
            file.write(b"".join(gathered))
            gathered.clear()
        if awaited is None:
            break
    file.write(b"".join(gathered))
    return descriptors, at


def _vmcoreinfo(dump: Dump, notes_at: int) -> tuple[int, int]:
    """Offset and size of VMCOREINFO's text, in notes that begin at that offset; zeros without it."""
    at = notes_at
    for note in dump.notes:
        packed = pack_notes([note])
        if note.owner == "VMCOREINFO":
            return at + len(packed) - -(-len(note.data) // 4) * 4, len(note.data)
        at += len(packed)
    return 0, 0


def _bitmap(numbers: Sequence[Sequence[int]], size: int) -> bytes:
    bits = bytearray(size)
    for part in numbers:
        for pfn in part:
            bits[pfn >> 3] |= 1 << (pfn & 7)
    return bytes(bits)


def _blocks(size: int) -> int:
    return -(-size // PAGE_SIZE)
