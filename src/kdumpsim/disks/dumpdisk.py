# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump disk: how the capture kernel's savecore leaves a vmcore on it (docs/kernel.md, "Dump disk").

Sector 0 is written last, so a disk whose header is whole holds a whole dump.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.zeros import zeros
from kdumpsim.files import atomic_file

MAGIC = b"KDUMPSIM-VMCORE1"
DATA_OFFSET = 4096
STATUS_COMPLETE = 1
_HEADER = struct.Struct("<16sIIQQ")
_PIECE = 1 << 16


@dataclass(frozen=True)
class DumpHeader:
    """A whole dump on the disk: where it begins and how long it is, in bytes."""

    size: int
    lba: int


def format_header(size: int) -> bytes:
    """Sector 0 for a complete dump of `size` bytes, as savecore writes it."""
    body = _HEADER.pack(MAGIC, STATUS_COMPLETE, DATA_OFFSET, size, DATA_OFFSET // SECTOR)
    body = body.ljust(SECTOR - 4, b"\0")
    return body + struct.pack("<I", zlib.crc32(body))


def parse_header(sector: bytes) -> DumpHeader | None:
    """The header in sector 0, or None where there is no whole dump."""
    if len(sector) != SECTOR or not sector.startswith(MAGIC):
        return None
    (checksum,) = struct.unpack_from("<I", sector, SECTOR - 4)
    if checksum != zlib.crc32(sector[: SECTOR - 4]):
        return None
    _, status, _, size, lba = _HEADER.unpack_from(sector)
    return DumpHeader(size, lba) if status == STATUS_COMPLETE and size else None


def find_dump(disk: Disk) -> DumpHeader | None:
    """The dump that lies on the disk, or None; a header that points outside the disk counts as none."""
    header = parse_header(bytes(disk.read(0, 1)))
    if header is None or header.lba * SECTOR + header.size > disk.size:
        return None
    return header


class DumpOnDisk:
    """A dump as it is on the disk (a `vmcore.reader.Storage`)."""

    def __init__(self, disk: Disk, header: DumpHeader) -> None:
        self._disk, self._start = disk, header.lba * SECTOR
        self.size = header.size

    def extents(self) -> Iterator[tuple[int, int]]:
        """(start, end) of what may be anything but zeros."""
        for start, end in self._disk.stored():
            first, last = max(start - self._start, 0), min(end - self._start, self.size)
            if first < last:
                yield first, last

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        at = self._start + offset
        end = at + max(min(size, self.size - offset), 0)
        first, skip = divmod(at, SECTOR)
        data = self._disk.read(first, -(-end // SECTOR) - first) if at < end else b""
        return data[skip : skip + end - at]

    def close(self) -> None:
        """The disk is its machine's."""


def save_image(disk: Disk, path: Path) -> None:
    """Write all of a disk to `path` as a raw image, with holes for what is zero."""
    extract(disk, DumpHeader(disk.size, lba=0), path)


def digest(disk: Disk, header: DumpHeader) -> str:
    """The dump's sha256 in hex."""
    sha = hashlib.sha256()
    for data in _pieces(disk, header):
        sha.update(data)
    return sha.hexdigest()


def extract(disk: Disk, header: DumpHeader, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy the dump to `path`.

    The file appears under its name only when it is whole: it is written beside and renamed.  Pages of zeros become
    holes in the file.
    """
    with atomic_file(path) as file:
        done = 0
        for data in _pieces(disk, header):
            if data == zeros(len(data)):
                file.seek(len(data), os.SEEK_CUR)
            else:
                file.write(data)
            done += len(data)
            if progress is not None:
                progress(done, header.size)
        file.truncate(header.size)


def _pieces(disk: Disk, header: DumpHeader) -> Iterator[bytes]:
    """The dump from first to last; what the disk does not store is not read."""
    dump = DumpOnDisk(disk, header)
    at = 0
    for start, end in (*dump.extents(), (header.size, header.size)):
        while at < end:
            piece = zeros(min(start - at, _PIECE)) if at < start else dump.read(at, min(end - at, _PIECE))
            yield piece
            at += len(piece)
