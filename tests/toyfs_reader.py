# SPDX-License-Identifier: GPL-2.0-or-later
"""A referee for toyfs: reads and checks an image by docs/toyfs.md alone, whoever wrote it, however damaged it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

BLOCK_SIZE, SECTORS = 4096, 8
INODE_SIZE, EXTENTS, ROOT = 128, 13, 1
DIRECTORY = 0x4000
SUPERBLOCK = struct.Struct("<8s8I")
INODE = struct.Struct("<HHIII8x")
EXTENT = struct.Struct("<II")
ENTRY = struct.Struct("<I60s")


class Damaged(Exception):
    """The image holds no sound toyfs; the only exception that reading one raises, FileNotFoundError aside."""


class SectorReader(Protocol):
    """Where an image can be read from besides bytes."""

    def read(self, lba: int, count: int, /) -> bytes: ...


class Toyfs:
    """The bytes of a disk, or something with `read(lba, count)`."""

    def __init__(self, source: bytes | bytearray | memoryview | SectorReader) -> None:
        self._source = source
        self.blocks = 1  # for the superblock
        magic, block_size, *fields = SUPERBLOCK.unpack_from(self._block(0))
        if magic != b"TOYFS001" or block_size != BLOCK_SIZE:
            raise Damaged("no toyfs on this disk")
        self.blocks, self.inodes, self.bitmap_start, self.bitmap_blocks, *fields = fields
        self.inode_start, self.inode_blocks, self.data_start = fields
        self._block(self.blocks - 1)  # so the disk is that large, and what is counted in blocks is bounded
        for start, count in ((self.bitmap_start, self.bitmap_blocks), (self.inode_start, self.inode_blocks)):
            if start + count > self.data_start:
                raise Damaged(f"blocks {start} to {start + count} are not before the data")
        if self.data_start > self.blocks or self.inodes * INODE_SIZE > self.inode_blocks * BLOCK_SIZE:
            raise Damaged("the superblock contradicts itself")
        if self.bitmap_blocks * BLOCK_SIZE * 8 < self.blocks:
            raise Damaged("the bitmap is too short")

    def _block(self, block: int) -> bytes:
        if not 0 <= block < self.blocks:
            raise Damaged(f"block {block} of {self.blocks}")
        if isinstance(self._source, (bytes, bytearray, memoryview)):
            data = bytes(self._source[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE])
        else:
            data = bytes(self._source.read(block * SECTORS, SECTORS))
        if len(data) != BLOCK_SIZE:
            raise Damaged(f"block {block} lies beyond the end of the disk")
        return data

    def _inode(self, ino: int) -> tuple[int, int, list[tuple[int, int]]]:
        """Mode, size and extents."""
        if not 0 < ino < self.inodes:
            raise Damaged(f"inode {ino} does not exist")
        block, at = divmod(ino * INODE_SIZE, BLOCK_SIZE)
        data = self._block(self.inode_start + block)
        mode, _, size, _, count = INODE.unpack_from(data, at)
        if count > EXTENTS:
            raise Damaged(f"inode {ino} has {count} extents")
        extents = [EXTENT.unpack_from(data, at + INODE.size + i * EXTENT.size) for i in range(count)]
        if sum(length for _, length in extents) > self.blocks:
            raise Damaged(f"inode {ino} has more blocks than the disk")
        return mode, size, extents

    def _contents(self, ino: int) -> bytes:
        _, size, extents = self._inode(ino)
        data = b"".join(self._block(start + i) for start, count in extents for i in range(count))
        if len(data) < size:
            raise Damaged(f"inode {ino} has {len(data)} bytes of blocks for {size} bytes")
        return data[:size]

    def _entries(self, ino: int) -> Iterator[tuple[str, int]]:
        data = self._contents(ino)
        if len(data) % ENTRY.size:
            raise Damaged(f"directory {ino} has {len(data)} bytes")
        for child, name in ENTRY.iter_unpack(data):
            if child:
                yield name.partition(b"\0")[0].decode("utf-8", "surrogateescape"), child

    def _is_directory(self, ino: int) -> bool:
        return bool(self._inode(ino)[0] & DIRECTORY)

    def read_file(self, path: str) -> bytes:
        """A file's contents; FileNotFoundError if there is none."""
        ino = ROOT
        for part in path.strip("/").split("/"):
            if not self._is_directory(ino):
                raise FileNotFoundError(path)
            ino = dict(self._entries(ino)).get(part, 0)
            if not ino:
                raise FileNotFoundError(path)
        if self._is_directory(ino):
            raise IsADirectoryError(path)
        return self._contents(ino)

    def files(self) -> dict[str, bytes]:
        """All files by path; an inode that two entries name is damage."""
        found: dict[str, bytes] = {}
        seen, left = {ROOT}, [(ROOT, "/")]
        while left:
            directory, prefix = left.pop()
            for name, child in self._entries(directory):
                if child in seen:
                    raise Damaged(f"inode {child} is in two places, one of them {prefix}{name}")
                seen.add(child)
                if self._is_directory(child):
                    left.append((child, f"{prefix}{name}/"))
                else:
                    found[prefix + name] = self._contents(child)
        return found

    def check(self) -> list[str]:
        """What is wrong: blocks used twice, used but free in the bitmap, or outside the disk. Empty if sound."""
        problems: list[str] = []
        bitmap = b"".join(self._block(self.bitmap_start + i) for i in range(self.bitmap_blocks))
        owner: dict[int, int] = {}
        for ino in range(ROOT, self.inodes):
            try:
                mode, _, extents = self._inode(ino)
            except Damaged as damage:
                problems.append(str(damage))
                continue
            for start, count in extents if mode else []:
                for block in range(start, start + count):
                    if not self.data_start <= block < self.blocks:
                        problems.append(f"inode {ino}: block {block} is outside the data area")
                    elif block in owner:
                        problems.append(f"block {block} belongs to inodes {owner[block]} and {ino}")
                    elif not bitmap[block // 8] >> block % 8 & 1:
                        problems.append(f"inode {ino}: block {block} is free in the bitmap")
                    owner[block] = ino
        return problems
