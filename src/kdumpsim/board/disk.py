# SPDX-License-Identifier: GPL-2.0-or-later
"""What a disk holds: 512-byte sectors in memory or in a host file.

A disk in memory is a mapping from 4 KiB chunk to its bytes, so sectors never written cost nothing and a snapshot is one
shallow copy of that mapping (the chunks themselves are immutable and shared). A writable file is written through
at once. A read-only file is never changed: what the guest writes stays in memory, above the file, until the Disk goes.

Not modelled: bad sectors, a volatile write cache (a completed write is on the disk), medium change.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdumpsim.board.zeros import zeros

SECTOR = 512
CHUNK = 4096
_SECTORS_PER_CHUNK = CHUNK // SECTOR
_ZERO = bytes(CHUNK)

Buffer = bytes | bytearray | memoryview


class DiskError(Exception):
    """A disk image that cannot be used, or an access outside the disk."""


class Disk:
    """Sectors, and a cheap way back to an earlier state. Make one with `Disk.memory` or `Disk.file`."""

    def __init__(self, sectors: int, *, fd: int | None = None, through: bool = False, label: str = "memory") -> None:
        if sectors <= 0:
            raise DiskError(f"{label}: a disk needs at least one sector")
        self.sectors = sectors
        self.label = label
        self.written = 0
        """Bytes the machine has written since the disk was made."""
        self._fd = fd
        self._through = through
        # Memory and read-only files: every chunk written. Written-through files: those since the first snapshot.
        self._chunks: dict[int, bytes] = {}
        # Written-through files only, from the first snapshot on: what the file held before.
        self._pristine: dict[int, bytes] | None = None

    @classmethod
    def memory(cls, sectors: int) -> Disk:
        """A disk full of zeros that lives in memory."""
        return cls(sectors)

    @classmethod
    def shared(cls, sectors: int) -> Disk:
        """A disk full of zeros in a file without a name, for another process to open through `fileno()`."""
        fd = os.memfd_create("disk")
        os.ftruncate(fd, sectors * SECTOR)
        return cls(sectors, fd=fd, through=True, label="shared memory")

    @classmethod
    def file(cls, path: str | os.PathLike[str], readonly: bool = False) -> Disk:
        """A raw image, rounded up to whole sectors. `readonly` protects the file; the guest can still write."""
        name = str(Path(path))
        try:
            # Without O_NONBLOCK a pipe, which is no disk, would wait for its other end.
            fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise DiskError(f"{name}: {error.strerror}") from error
        try:
            mode = os.fstat(fd).st_mode
            size = os.lseek(fd, 0, os.SEEK_END) if stat.S_ISREG(mode) or stat.S_ISBLK(mode) else 0
            return cls((size + SECTOR - 1) // SECTOR, fd=fd, through=not readonly, label=name)
        except (OSError, DiskError) as error:
            os.close(fd)
            raise DiskError(f"{name}: is empty or cannot be used as a disk image") from error

    @property
    def size(self) -> int:
        """Bytes."""
        return self.sectors * SECTOR

    def read(self, lba: int, count: int) -> bytes:
        """`count` sectors from `lba` on."""
        self._check(lba, count)
        first, skip = divmod(lba, _SECTORS_PER_CHUNK)
        last = (lba + count - 1) // _SECTORS_PER_CHUNK
        if first == last:
            return self._chunk(first)[skip * SECTOR : (skip + count) * SECTOR]
        if self._fd is not None and not self._chunks:
            return self._pread(lba * SECTOR, count * SECTOR)
        whole = b"".join([self._chunk(index) for index in range(first, last + 1)])
        if skip == 0 and len(whole) == count * SECTOR:
            return whole
        return whole[skip * SECTOR : (skip + count) * SECTOR]

    def write(self, lba: int, data: Buffer) -> None:
        """Write whole sectors from `lba` on."""
        count, rest = divmod(len(data), SECTOR)
        if rest:
            raise DiskError(f"{self.label}: a write of {len(data)} bytes is not whole sectors")
        if not count:
            return
        self._check(lba, count)
        self.written += len(data)
        if self._through:
            if self._pristine is None:
                self._pwrite(lba * SECTOR, data)
                return
            for index in range(lba // _SECTORS_PER_CHUNK, (lba + count - 1) // _SECTORS_PER_CHUNK + 1):
                if index not in self._pristine:
                    self._pristine[index] = self._chunk(index)
        offset, end = lba * SECTOR, (lba + count) * SECTOR
        if self._fd is None and not offset % CHUNK and not end % CHUNK:
            self._store_chunks(range(offset // CHUNK, end // CHUNK), data)
            return
        position = 0
        view = memoryview(data)
        while offset < end:
            index, inside = divmod(offset, CHUNK)
            take = min(CHUNK - inside, end - offset)
            piece = bytes(view[position : position + take])
            if take < CHUNK:
                old = self._chunk(index)
                piece = old[:inside] + piece + old[inside + take :]
            self._store(index, piece)
            offset += take
            position += take
        if self._through:
            self._pwrite(lba * SECTOR, data)

    def stored(self) -> Iterator[tuple[int, int]]:
        """(start, end) in bytes of what may be anything but zeros, in order."""
        if self._fd is not None:
            yield 0, self.size
            return
        start = end = 0
        for index in sorted(self._chunks):
            if index * CHUNK != end:
                if end:
                    yield start, end
                start = index * CHUNK
            end = (index + 1) * CHUNK
        if end:
            yield start, end

    def fileno(self) -> int:
        """The descriptor of the file that holds it; DiskError for a disk in memory."""
        if self._fd is None:
            raise DiskError(f"{self.label}: there is no file")
        return self._fd

    def flush(self) -> None:
        """FLUSH CACHE: everything is already where it belongs; a file is handed to the host's own cache."""

    def state(self) -> dict[str, Any]:
        """Plain data: by chunk number what differs from the empty disk, or from the file as it was at the first
        `state()`; and how many bytes were written.
        """
        if self._through and self._pristine is None:
            self._pristine = {}
        return {"chunks": dict(self._chunks), "written": self.written}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a `state()`."""
        chunks: dict[int, bytes] = state["chunks"]
        self.written = state["written"]
        if self._through:
            if self._pristine is None:
                self._pristine = {}
            for index in self._chunks.keys() | chunks.keys():
                if index not in self._pristine:
                    self._pristine[index] = self._chunk(index)
                wanted = chunks.get(index, self._pristine[index])
                if self._chunk(index) is not wanted:
                    self._pwrite(index * CHUNK, memoryview(wanted)[: self.size - index * CHUNK])
        self._chunks = dict(chunks)

    def clone(self) -> Disk:
        """A disk in memory that starts with this one's contents and goes its own way."""
        if self._through:
            raise DiskError(f"{self.label}: a writable file cannot be cloned; open it read-only")
        copy = Disk(self.sectors, fd=None if self._fd is None else os.dup(self._fd), label=self.label)
        copy._chunks = dict(self._chunks)
        return copy

    def digest(self) -> str:
        """SHA-256 of the whole disk, in hexadecimal."""
        sha = hashlib.sha256()
        for lba in range(0, self.sectors, 2048):
            sha.update(self.read(lba, min(2048, self.sectors - lba)))
        return sha.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"Disk({self.label}, {self.sectors} sectors)"

    def _check(self, lba: int, count: int) -> None:
        if lba < 0 or count <= 0 or lba + count > self.sectors:
            raise DiskError(f"{self.label}: sectors {lba}+{count} are not on a disk of {self.sectors}")

    def _chunk(self, index: int) -> bytes:
        chunk = self._chunks.get(index)
        if chunk is not None:
            return chunk
        return _ZERO if self._fd is None else self._pread(index * CHUNK, CHUNK)

    def _store(self, index: int, chunk: bytes) -> None:
        if chunk == _ZERO and self._fd is None:
            self._chunks.pop(index, None)
        else:
            self._chunks[index] = chunk

    def _store_chunks(self, indices: range, data: Buffer) -> None:
        """Of a disk in memory."""
        chunks = self._chunks
        if data == zeros(len(data)):
            for index in chunks.keys() & indices:
                del chunks[index]
            return
        whole = bytes(data)
        for at, index in enumerate(indices):
            self._store(index, whole[at * CHUNK : (at + 1) * CHUNK])

    def _pread(self, offset: int, size: int) -> bytes:
        assert self._fd is not None
        with self._named_errors():
            data = os.pread(self._fd, size, offset)
        return data if len(data) == size else data + bytes(size - len(data))

    def _pwrite(self, offset: int, data: Buffer) -> None:
        assert self._fd is not None
        view = memoryview(data)
        while view:
            with self._named_errors():
                done = os.pwrite(self._fd, view, offset)
            offset += done
            view = view[done:]

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """The host's disk may be full or broken: its OSError shall name the image."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.label) from error
