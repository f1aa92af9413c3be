# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs on one memory."""

from __future__ import annotations

import weakref
from typing import Protocol

from .bus import PAGE
from .native import Slice
from .softtlb import WRITTEN, CodeSharing, SoftTlb


class Sharing(Protocol):
    """What a CPU's engine is to the others."""

    slice: Slice
    soft_tlb: SoftTlb | None
    flush_code_pending: bool

    def invalidate(self, begin: int, end: int) -> None:
        """Forget what is translated from a physical range."""


class Neighbours:
    """CPUs on one memory, so that each sees the code the others have written."""

    def __init__(self) -> None:
        self.sharing = CodeSharing()
        self.engines: list[weakref.ref[Sharing]] = []
        self.ran_last: weakref.ref[Sharing] | None = None

    def tracking(self) -> bool:
        """Does every CPU note its stores into code? Under PAE, and without fills in machine code, it does not."""
        engines = [engine for reference in self.engines if (engine := reference()) is not None]
        return all(engine.soft_tlb is not None and engine.soft_tlb.active for engine in engines)

    def publish(self, writer: Sharing) -> None:
        """The writer has stored into pages that code was translated from: the others forget that code."""
        shared = writer.slice
        count, shared.written_count = shared.written_count, 0
        pages = shared.written[:count]
        for reference in self.engines:
            engine = reference()
            if engine is None or engine is writer or engine.soft_tlb is None:
                continue
            if count > WRITTEN:
                engine.flush_code_pending = True
                continue
            marks = engine.soft_tlb.marks
            for page in pages:
                if marks[page]:
                    engine.invalidate(page * PAGE, (page + 1) * PAGE)
