# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of RAM that cost little: only chunks that hold anything are kept, and unchanged ones are shared."""

from __future__ import annotations

from collections.abc import Iterator

from kdumpsim.target import PAGE_SIZE

CHUNK = 1 << 16
_ZERO = bytes(CHUNK)


class Picture:
    """The contents of RAM at one instant."""

    def __init__(self, view: memoryview, earlier: Picture | None = None) -> None:
        """Copy what is not zero in `view` (address = offset); chunks equal to those of `earlier` are shared with it."""
        self.size = len(view)
        known: dict[int, bytes] = earlier._chunks if earlier is not None else {}
        self._chunks: dict[int, bytes] = {}
        for start in range(0, len(view), CHUNK):
            data = view[start : start + CHUNK].tobytes()
            if data == _ZERO[: len(data)]:
                continue
            before = known.get(start)
            self._chunks[start] = before if before == data and before is not None else data

    def chunk(self, start: int) -> bytes:
        """The chunk at `start` (a multiple of CHUNK)."""
        return self._chunks.get(start, _ZERO)

    def read(self, start: int, end: int) -> bytes:
        """Bytes from `start` to `end`; what lies outside the picture reads as zeros."""
        base = start & -CHUNK
        if end <= base + CHUNK:
            return self.chunk(base)[start - base : end - base]
        pieces = []
        while start < end:
            base = start & -CHUNK
            stop = min(end, base + CHUNK)
            pieces.append(self.chunk(base)[start - base : stop - base])
            start = stop
        return b"".join(pieces)

    def changed_pages(self, later: Picture) -> Iterator[int]:
        """Addresses of pages that differ in a later picture of the same RAM, in order."""
        for start in sorted(self._chunks.keys() | later._chunks.keys()):
            before, after = self.chunk(start), later.chunk(start)
            if before is not after and before != after:
                for at in range(0, min(CHUNK, self.size - start), PAGE_SIZE):
                    if before[at : at + PAGE_SIZE] != after[at : at + PAGE_SIZE]:
                        yield start + at

    @property
    def bytes_held(self) -> int:
        """Memory this picture refers to, shared chunks included."""
        return sum(map(len, self._chunks.values()))
