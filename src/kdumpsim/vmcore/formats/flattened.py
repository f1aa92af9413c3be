# SPDX-License-Identifier: GPL-2.0-or-later
"""makedumpfile's flattened format: a file that can go through a pipe, as pieces with their offsets, in any order
(makedumpfile(8), option -F; makedumpfile's IMPLEMENTATION file).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

SIGNATURE = b"makedumpfile"
HEADER_SIZE = 4096
_HEADER = struct.Struct(">16sqq")
_PIECE = struct.Struct(">qq")
_TYPE = _VERSION = 1
_GATHER = 1 << 16


class Flattened:
    """Writes what is written to it into `file`, flattened; `close` marks the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._gathered = bytearray()
        file.write(_HEADER.pack(SIGNATURE, _TYPE, _VERSION).ljust(HEADER_SIZE, b"\0"))

    def seek(self, offset: int) -> int:
        """Where the next bytes belong."""
        self._flush()
        self._offset = offset
        return offset

    def write(self, data: bytes) -> int:
        """Bytes at the current offset."""
        self._gathered += data
        if len(self._gathered) >= _GATHER:
            self._flush()
        return len(data)

    def truncate(self, size: int) -> int:
        """Accepted: whoever puts the file together makes it as long as its last piece wants it."""
        return size

    def close(self) -> None:
        """Write what is left, and the end."""
        self._flush()
        self._file.write(_PIECE.pack(-1, -1))

    def _flush(self) -> None:
        if self._gathered:
            self._file.write(_PIECE.pack(self._offset, len(self._gathered)))
            self._file.write(self._gathered)
            self._offset += len(self._gathered)
            self._gathered.clear()
