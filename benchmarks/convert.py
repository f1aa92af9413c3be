#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast dumps are converted: MB of memory for a second of CPU time.  ``python benchmarks/convert.py [RUNS]``

The memory is a kernel's, over and over: pages of vmlinux and none of zeros, which cost next to nothing.  Beside each
compressed format is what its compressor alone makes of the same pages.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from kdumpsim import images
from kdumpsim.vmcore.formats.compressors import COMPRESSIONS
from kdumpsim.vmcore.formats.convert import COMPRESSED, FORMATS, Suffering, convert
from kdumpsim.vmcore.reader import Load, Note

PAGE = 4096
SIZE = 64 << 20


class Memory:
    """A dump without a file."""

    machine, bits, abi = "EM_386", 32, 0
    notes: tuple[Note, ...] = ()
    loads = (Load(0, 0xC0000000, 0, SIZE),)

    def __init__(self, pages: list[bytes]) -> None:
        self._data = b"".join(pages)[: 1 << 18]
        self._piece = self._data + self._data

    def slice(self, load: Load, start: int, end: int) -> bytes:
        """Bytes `start` to `end`."""
        inside = start % len(self._data)
        return self._piece[inside : inside + end - start]


def memory() -> Memory:
    """The first 256 KiB of a kernel that are not zero, repeated."""
    elf = images.kernel().elf
    pages = [elf[at : at + PAGE] for at in range(0, len(elf) - PAGE, PAGE)]
    return Memory([page for page in pages if any(page)])


def rate(work: Callable[[], object]) -> float:
    """MB/s of CPU time."""
    before = time.process_time()
    work()
    return SIZE / 1e6 / (time.process_time() - before)


def converted(dump: Memory, form: str) -> float:
    """MB/s into a format."""
    with tempfile.TemporaryFile() as file:
        return rate(lambda: convert(dump, file, form, Suffering()))


def compressed(dump: Memory, name: str) -> float:
    """MB/s of a compressor alone, page by page."""
    compress = COMPRESSIONS[name].compressor()
    pages = [dump.slice(dump.loads[0], at, at + PAGE) for at in range(0, SIZE, PAGE)]
    return rate(lambda: [len(compress(page)) for page in pages])


def figures(runs: int) -> Iterator[tuple[str, float, float | None]]:
    """(format, MB/s, MB/s of its compressor alone), medians of runs in turn."""
    dump = memory()
    for form in FORMATS:
        name = form.removeprefix(COMPRESSED) if form.startswith(COMPRESSED) else None
        pairs = [(converted(dump, form), compressed(dump, name) if name else 0.0) for _ in range(runs)]
        ours, alone = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield form, ours, alone if name else None


if __name__ == "__main__":
    print(f"MB/s of CPU time, {os.cpu_count()} cores\n{'format':<14}{'convert':>8}{'compressor alone':>18}")
    for form, ours, alone in figures(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        print(f"{form:<14}{ours:>8.0f}{'' if alone is None else f'{alone:>18.0f}'}")
