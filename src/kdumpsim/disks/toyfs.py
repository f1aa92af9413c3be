# SPDX-License-Identifier: GPL-2.0-or-later
"""toyfs on the host: making the system disk's file system (docs/toyfs.md).

The guest's half is kernel/fs/toyfs.py; neither imports the other, they meet at the bytes on the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

SECTOR = 512
BLOCK_SIZE = 4096
MAGIC = b"TOYFS001"
INODE_SIZE = 128
NAME_MAX = 59
ROOT_INODE = 1
MODE_DIR = 0x4000
MODE_FILE = 0x8000

_SUPER = struct.Struct("<8s8I")
_INODE = struct.Struct("<HHIII8x")
_EXTENT = struct.Struct("<II")
_ENTRY = struct.Struct("<I60s")
_SECTORS_PER_BLOCK = BLOCK_SIZE // SECTOR
_BITS_PER_BLOCK = BLOCK_SIZE * 8


class ToyfsError(Exception):
    """A file system that does not fit, or a path that cannot be."""


class SectorWriter(Protocol):
    """Where mkfs can write besides a bytearray: `kdumpsim.board.disk.Disk` is one."""

    def write(self, lba: int, data: bytes, /) -> None: ...


@dataclass
class _Node:
    """A file or directory that is being laid out."""

    data: bytes = b""
    children: dict[str, int] | None = None
    start: int = 0

    @property
    def blocks(self) -> int:
        return -(-len(self.data) // BLOCK_SIZE)


def _components(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if not parts or not path.startswith("/"):
        raise ToyfsError(f"{path!r} is not the absolute path of a file")
    for part in parts:
        raw = part.encode()
        if len(raw) > NAME_MAX or part in (".", "..") or b"\0" in raw:
            raise ToyfsError(f"{path!r}: {part!r} cannot be a file name (at most {NAME_MAX} bytes)")
    return parts


def _tree(files: Mapping[str, bytes]) -> list[_Node]:
    """All nodes; the index is the inode number minus ROOT_INODE."""
    nodes = [_Node(children={})]
    for path, data in sorted(files.items()):
        at = 0
        parts = _components(path)
        for part in parts[:-1]:
            children = nodes[at].children
            if children is None:
                raise ToyfsError(f"{path!r} lies below a file")
            if part not in children:
                children[part] = len(nodes)
                nodes.append(_Node(children={}))
            at = children[part]
        children = nodes[at].children
        if children is None or parts[-1] in children:
            raise ToyfsError(f"{path!r} clashes with another path")
        children[parts[-1]] = len(nodes)
        nodes.append(_Node(data=bytes(data)))
    for node in nodes:
        if node.children is not None:
            node.data = b"".join(_ENTRY.pack(i + ROOT_INODE, name.encode()) for name, i in node.children.items())
    return nodes


def mkfs(target: bytearray | memoryview | SectorWriter, sectors: int, files: Mapping[str, bytes]) -> None:
    """Make a toyfs of `sectors` sectors that holds `files` (absolute paths; directories are made as needed).

    `target` is the disk's bytes or something with `write(lba, data)`.
    """
    nodes = _tree(files)
    blocks = sectors // _SECTORS_PER_BLOCK
    per_block = BLOCK_SIZE // INODE_SIZE
    inode_blocks = max(4, -(-(len(nodes) + ROOT_INODE + 32) // per_block))
    bitmap_blocks = -(-blocks // _BITS_PER_BLOCK) or 1
    bitmap_start = 1
    inode_start = bitmap_start + bitmap_blocks
    data_start = inode_start + inode_blocks
    at = data_start
    for node in nodes:
        node.start = at
        at += node.blocks
    if at >= blocks:
        raise ToyfsError(f"{at + 1} blocks of {BLOCK_SIZE} bytes are needed, the disk has {blocks}")

    def put(block: int, data: bytes) -> None:
        data = data.ljust(-(-len(data) // BLOCK_SIZE) * BLOCK_SIZE, b"\0")
        if isinstance(target, (bytearray, memoryview)):
            target[block * BLOCK_SIZE : block * BLOCK_SIZE + len(data)] = data
        elif data:
            target.write(block * _SECTORS_PER_BLOCK, data)

    inodes = bytearray(inode_blocks * BLOCK_SIZE)
    for index, node in enumerate(nodes):
        directory = node.children is not None
        size = node.blocks * BLOCK_SIZE if directory else len(node.data)
        offset = (index + ROOT_INODE) * INODE_SIZE
        mode = MODE_DIR if directory else MODE_FILE
        _INODE.pack_into(inodes, offset, mode, 1, size, node.blocks, 1 if node.blocks else 0)
        if node.blocks:
            _EXTENT.pack_into(inodes, offset + _INODE.size, node.start, node.blocks)
        put(node.start, node.data)
    bitmap = bytearray(bitmap_blocks * BLOCK_SIZE)
    bitmap[: at // 8] = b"\xff" * (at // 8)
    bitmap[at // 8] = (1 << at % 8) - 1
    put(bitmap_start, bytes(bitmap))
    put(inode_start, bytes(inodes))
    fields = (BLOCK_SIZE, blocks, inode_blocks * per_block, bitmap_start, bitmap_blocks, inode_start, inode_blocks)
    put(0, _SUPER.pack(MAGIC, *fields, data_start))
