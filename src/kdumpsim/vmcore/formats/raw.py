# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw memory: the offset in the file is the physical address, and what the dump lacks are zeros, holes of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from kdumpsim.target import PAGE_SIZE
from kdumpsim.vmcore.dump import Dump, pieces


def write_raw(dump: Dump, file: BinaryIO, *, left_out: Callable[[int], bool] | None = None) -> None:
    """Write memory without a header; registers and all other notes are lost."""
    for load in dump.loads:
        for inside, data in pieces(dump, load, 0, load.size):
            at = load.paddr + inside
            while data:
                take = PAGE_SIZE - at % PAGE_SIZE if left_out is not None else len(data)
                if left_out is None or not left_out(at // PAGE_SIZE):
                    file.seek(at)
                    file.write(data[:take])
                at, data = at + take, data[take:]
    file.truncate(max((load.paddr + load.size for load in dump.loads), default=0))
