# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump disk: how the capture kernel's savecore leaves a vmcore on it (docs/kernel.md, "Dump disk").

Sector 0 is written last, so a disk whose header is whole holds a whole dump.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.files import atomic_file

MAGIC = b"KDUMPSIM-VMCORE1"
DATA_OFFSET = 4096
STATUS_COMPLETE = 1
_HEADER = struct.Struct("<16sIIQQ")
_CHUNK_SECTORS = 2048


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


def save_image(disk: Disk, path: Path) -> None:
    """Write all of a disk to `path` as a raw image, with holes for what is zero."""
    extract(disk, DumpHeader(disk.size, lba=0), path)


def extract(disk: Disk, header: DumpHeader, path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """Copy the dump to `path`; its sha256 in hex.

    The file appears under its name only when it is whole: it is written beside and renamed.  Pages of zeros become
    holes in the file.
    """
    digest = hashlib.sha256()
    zero = bytes(_CHUNK_SECTORS * SECTOR)
    with atomic_file(path) as file:
        done = 0
        while done < header.size:
            count = min(_CHUNK_SECTORS, -(-(header.size - done) // SECTOR))
            data = disk.read(header.lba + done // SECTOR, count)[: header.size - done]
            digest.update(data)
            if data == zero[: len(data)]:  # bytes with bytes: a memoryview is compared item by item
                file.seek(len(data), os.SEEK_CUR)
            else:
                file.write(data)
            done += len(data)
            if progress is not None:
                progress(done, header.size)
        file.truncate(header.size)
    return digest.hexdigest()
