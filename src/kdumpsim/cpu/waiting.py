# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU that only waits is not run: the turns of its loop are counted (`spin.py` says which loops these are).

It is looked for only where two long slices have ended at one place, and changes no run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import descriptors as x86
from . import native, spin
from .engine import Engine
from .layout import BASE, DS, EFLAGS, EIP, HF_CS32, HF_INHIBIT_IRQ, HFLAGS
from .listings import LOOK_IF
from .physical import PhysicalMemory

LONG_SLICE: Final = 20_000
"""Code bytes from which on it pays to look whether the CPU only waits."""
SPIN_PIECE: Final = 4_000
"""Code bytes between the first look and the second, a long handler; twice as many before each further one."""
SPIN_REST: Final = 16
"""Long slices that are run without a look after one in which looking was in vain."""
SPIN_BLOCKS: Final = 8
"""Blocks that are run one by one before a loop is given up that has not come around unchanged."""


class Waiting:
    """Looks at the slices of one CPU."""

    def __init__(
        self,
        engine: Engine,
        memory: PhysicalMemory,
        read_linear: Callable[[int, int], bytes | None],
        translate: Callable[[int], int | None],
    ) -> None:
        self._engine, self._slice, self._memory = engine, engine.slice, memory
        self._read_linear, self._translate = read_linear, translate
        self.piece = 0
        """Bytes to run before `start` looks for a loop that waits; 0: it does not."""
        self._long = False  # the slice is a long one
        self._ended_at = 0  # where the last long slice ended
        self._dwells = False  # the one before it ended there, too
        self._unseen = 0  # how many more long slices are run without a look

    def begin(self, *, may_skip: bool) -> None:
        """A slice begins.  `may_skip`: nobody wants to know of every block."""
        shared = self._slice
        self._long = shared.limit - shared.retired >= LONG_SLICE
        looks = self._long and self._dwells and may_skip and not shared.look & ~LOOK_IF and not shared.stop_at_iret
        self.piece = SPIN_PIECE if looks else 0

    def ended(self) -> None:
        """A slice is over.  A CPU that waits ends long ones at one place: only then it pays to look closer."""
        if not self._long:
            return
        if self.piece:
            self._unseen = SPIN_REST  # it was looked at, and did not wait
        elif self._unseen:
            self._unseen -= 1
        self._dwells = not self._unseen and self._near_the_last_end()
        self._ended_at = self._engine.context.q[EIP]

    def _near_the_last_end(self) -> bool:
        return abs(self._engine.context.q[EIP] - self._ended_at) < spin.LONGEST

    def start(self) -> int:
        """See whether what comes next only waits; if not, run a piece of the slice: it may have left a handler then."""
        if self._near_the_last_end():
            self.piece = 0
            return self._skip_turns()
        self.piece *= 2
        return self._run_piece(self.piece // 2)

    def _run_piece(self, size: int) -> int:
        """Run so many bytes of a slice; what is left of it stays in `limit_after_pause`."""
        shared, engine = self._slice, self._engine
        engine.limit_after_pause = shared.limit
        shared.limit = min(shared.retired + size, shared.limit)
        return engine.start()

    def _skip_turns(self) -> int:
        """Run on; if this is a loop that leaves everything as it was, count its turns instead of running them."""
        shared, engine = self._slice, self._engine
        eip, state, begun = engine.context.q[EIP], bytes(engine.context.bytes), shared.retired
        for _ in range(SPIN_BLOCKS):
            block = self._waiting_block()
            if block is None:
                break
            at = engine.linear_eip()
            reason = self._run_piece(1)
            shared.limit, engine.limit_after_pause = engine.limit_after_pause or 0, None
            if reason != native.REASON_LIMIT or shared.retired >= shared.limit:
                return reason
            if (shared.address, shared.size) != (at, block.size):
                break
            if engine.context.q[EIP] != eip:
                continue
            if bytes(engine.context.bytes) == state:
                turn = shared.retired - begun
                shared.retired += (shared.limit - shared.retired) // turn * turn
                return reason if shared.retired >= shared.limit else engine.start()
            state, begun = bytes(engine.context.bytes), shared.retired
        return engine.start()

    def _waiting_block(self) -> spin.Block | None:
        """The block that comes next, if all it does is to look at registers and RAM."""
        engine = self._engine
        q, d = engine.context.q, engine.context.d
        if q[EFLAGS] & (x86.TF | x86.RF | x86.VM) or d[HFLAGS] & HF_INHIBIT_IRQ or not d[HFLAGS] & HF_CS32:
            return None
        at = engine.linear_eip()
        code = self._read_linear(at, spin.LONGEST)
        block = None if code is None else spin.decode(code)
        if block is None or engine.watched(at, at + block.size):
            return None
        for base, displacement in block.operands:
            linear = q[BASE[DS]] + displacement + (q[base] if base != spin.NO_BASE else 0)
            physical = self._translate(linear & 0xFFFFFFFF)
            if physical is None or not self._memory.holds(physical, 4):
                return None
        return block
