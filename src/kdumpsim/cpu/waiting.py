# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU that only waits is not run: the turns of its loop are counted (`spin.py` says which loops these are).

A loop is found by running it block by block for a turn. What is found is remembered: where the CPU is in a loop with
the very state, and the very memory that the loop looks at, that it was found with, it need not be found again.

It is looked for where long slices end near to where earlier ones have ended, and where the board asks for it
(`look_closer`); it changes no run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from . import descriptors as x86
from . import native, spin
from .bus import PAGE
from .engine import Engine
from .layout import BASE, CR0, DS, EFLAGS, EIP, HF_CS32, HF_INHIBIT_IRQ, HF_SS32, HFLAGS, LAZY_FLAGS, SS
from .listings import LOOK_IF
from .physical import PhysicalMemory
from .softtlb import SoftTlb

LONG_SLICE: Final = 20_000
"""Code bytes from which on it pays to look whether the CPU only waits."""
SPIN_PIECE: Final = 4_000
"""Code bytes between the first look and the second, a long handler; twice as many before each further one."""
SPIN_REST: Final = 16
LONGEST_REST: Final = 128
"""Long slices that are run without a look after one in which looking was in vain: twice as many each time, up to so
many.
"""
SPIN_BLOCKS: Final = 24
"""Blocks that are run one by one before a loop is given up that has not come around unchanged,"""
SPIN_TURNS: Final = 3
"""and turns: the first one may end with other flags than it began with."""
PLACES: Final = 8
"""Ends of slices that are remembered."""
LOOPS: Final = 4
"""Loops that are remembered."""
_WORD: Final = 0xFFFFFFFF


@dataclass
class Loop:
    """A loop that leaves everything as it was, as it was found.

    Whenever the CPU has one of its `states`, and memory what it had then, it stays in it, unless somebody else changes
    what it uses.
    """

    turn: int
    """Code bytes."""
    states: dict[int, bytes]
    """What the CPU's state is where a block begins, by EIP."""
    pages: list[tuple[int, int]]
    """Linear pages, and the entries of the CPU's TLB for them; 0 without paging."""
    constants: list[tuple[int, int, bytes]]
    """Code, and what is read but not written: physical address, size, what is there."""
    written: dict[int, list[tuple[int, int, bytes]]]
    """What is written, and what is there where a block begins, by EIP."""
    used: frozenset[int]
    changed: frozenset[int]
    """Words (physical address / 4) that it uses, and those of them that it writes."""

    def minds(self, other: Loop) -> bool:
        """Does the other one change what this one uses?"""
        return not self.used.isdisjoint(other.changed)


def _words(places: Iterable[tuple[int, int]]) -> frozenset[int]:
    return frozenset(word for at, size in places for word in range(at >> 2, (at + size - 1 >> 2) + 1))


class _Turn:
    """A turn of a loop that may be one, from where it begins."""

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self.states: dict[int, bytes] = {}
        self.pages: dict[int, int] = {}  # linear page -> physical page
        self.code: dict[tuple[int, int], bytes] = {}
        self.reads: list[tuple[int, int]] = []
        self.before: dict[tuple[int, int], bytes] = {}  # what it has overwritten
        self.snapshots: dict[int, dict[tuple[int, int], bytes]] = {}  # at the beginning of each block


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
        self._read_linear, self._walk = read_linear, translate
        self.piece = 0
        """Bytes to run before `start` looks for a loop that waits; 0: it does not."""
        self._long = False  # the slice is a long one
        self._ends: deque[int] = deque(maxlen=PLACES)  # where long slices, or those that were looked at, have ended
        self._dwells = False  # the last long one ended near to where another did
        self._unseen = 0  # how many more long slices are run without a look
        self._rest = SPIN_REST  # how many after the next one in vain
        self._found = False  # it was seen to wait in this slice
        self._asked = False  # look at once in the next slice
        self._looks = False  # in this slice
        self._loops: deque[Loop] = deque(maxlen=LOOPS)  # found last
        self._hooks = 0  # how often hooks had changed then

    def begin(self, *, may_skip: bool) -> None:
        """A slice begins.  `may_skip`: nobody wants to know of every block."""
        shared = self._slice
        self._long = shared.limit - shared.retired >= LONG_SLICE
        if not (self._asked or (self._long and self._dwells)):
            self.piece = 0
            return
        self._looks = may_skip and not shared.look & ~LOOK_IF
        self.piece = SPIN_PIECE if self._looks else 0

    def ended(self) -> None:
        """A slice is over.  A CPU that waits ends long ones at few places: only then it pays to look closer."""
        looked, found = self._looks, self._found
        self._asked = self._looks = self._found = False
        if not self._long:
            return
        if found:
            self._rest = SPIN_REST
        elif looked:
            self._unseen = self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
        elif self._unseen:
            self._unseen -= 1
        eip = self._engine.context.q[EIP]
        self._dwells = not self._unseen and self._near_an_end(eip)
        self._ends.append(eip)

    def _near_an_end(self, eip: int) -> bool:
        return any(abs(eip - end) < spin.LONGEST for end in self._ends)

    # For the board, between slices.

    def loop(self) -> Loop | None:
        """The loop that the CPU waits in, if it is known to do so now."""
        engine, soft = self._engine, self._engine.soft_tlb
        if engine.hook_changes != self._hooks or soft is None or not soft.active:
            return None
        eip, state = engine.context.q[EIP], self._state()
        for known in self._loops:
            if known.states.get(eip) == state:
                return known if self._finds(known, eip, soft) else None
        return None

    def _state(self) -> bytes:
        """All of the CPU's state that means anything."""
        data = self._engine.context.bytes
        return bytes(data[: LAZY_FLAGS.start]) + bytes(data[LAZY_FLAGS.stop :])

    def _finds(self, known: Loop, eip: int, soft: SoftTlb) -> bool:
        """Is memory as it was when a loop was found?"""
        read = self._memory.read
        for page, entry in known.pages:
            if soft.entry(page) != entry:
                return False
        for at, size, data in known.constants:
            if read(at, size) != data:
                return False
        return all(read(at, size) == data for at, size, data in known.written[eip])

    def dwells(self) -> bool:
        """Has it been seen at this place before?  It is remembered."""
        eip = self._engine.context.q[EIP]
        if eip in self._ends:
            return True
        self._ends.append(eip)
        return False

    def look_closer(self) -> None:
        """Look at the next slice from its beginning."""
        self._asked = True

    # Within a slice.

    def start(self) -> int:
        """See whether what comes next only waits; if not, run a piece of the slice: it may have left a handler then."""
        if self._asked or self._near_an_end(self._engine.context.q[EIP]):
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
        known = self.loop()
        if known is not None:
            self._count(known.turn)
            return native.REASON_LIMIT if shared.retired >= shared.limit else engine.start()
        eip, turn, turns = engine.context.q[EIP], _Turn(shared.retired), 0
        for _ in range(SPIN_BLOCKS):
            block = self._waiting_block(turn)
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
            if self._as_it_was(eip, turn):
                size = shared.retired - turn.begun
                self._remember(turn, size)
                self._count(size)
                return reason if shared.retired >= shared.limit else engine.start()
            turn, turns = _Turn(shared.retired), turns + 1
            if turns == SPIN_TURNS:
                break
        return engine.start()

    def _count(self, turn: int) -> None:
        shared, self._found = self._slice, True
        shared.retired += (shared.limit - shared.retired) // turn * turn

    def _waiting_block(self, turn: _Turn) -> spin.Block | None:
        """The block that comes next, if all it does is to wait; what it uses is noted in `turn`."""
        engine = self._engine
        q, d = engine.context.q, engine.context.d
        need = HF_CS32 | HF_SS32
        if q[EFLAGS] & (x86.TF | x86.RF | x86.VM) or d[HFLAGS] & (need | HF_INHIBIT_IRQ) != need:
            return None
        at = engine.linear_eip()
        code = self._read_linear(at, spin.LONGEST)
        if code is None:
            return None

        def load(address: int, size: int) -> int | None:
            place = self._place(turn, address, size)
            return None if place is None else int.from_bytes(self._memory.read(*place), "little")

        registers = [q[register] & _WORD for register in range(8)]
        block = spin.follow(code, registers, load, q[BASE[DS]], q[BASE[SS]])
        if block is None or engine.watched(at, at + block.size) or (engine.hooked and block.writes):
            return None
        first = self._place(turn, at, 1)
        last = self._place(turn, at + block.size - 1, 1)
        if first is None or last is None or last[0] - first[0] != block.size - 1:
            return None
        state = self._state()
        if turn.states.setdefault(q[EIP], state) != state:
            return None  # another time around within the turn
        turn.code[first[0], block.size] = code[: block.size]
        for address, size in block.reads:
            place = self._place(turn, address, size)
            assert place is not None
            turn.reads.append(place)
        turn.snapshots[q[EIP]] = {place: self._memory.read(*place) for place in turn.before}
        for address, size in block.writes:
            place = self._place(turn, address, size)
            if place is None:
                return None
            turn.before.setdefault(place, self._memory.read(*place))
        return block

    def _place(self, turn: _Turn, address: int, size: int) -> tuple[int, int] | None:
        """Where in RAM that is; None if it isn't there, or not in one piece."""
        address &= _WORD
        page = address // PAGE
        physical = turn.pages.get(page)
        if physical is None:
            soft = self._engine.soft_tlb
            entry = 0 if soft is None or not soft.active else soft.entry(page)
            found = entry if entry & 1 else self._walk(address)
            if found is None:
                return None
            physical = turn.pages[page] = found // PAGE
        at = physical * PAGE + address % PAGE
        return (at, size) if self._memory.holds(at, size) else None

    def _as_it_was(self, eip: int, turn: _Turn) -> bool:
        """Has the turn left the CPU's state and memory as they were, and its code alone?"""
        if self._state() != turn.states[eip]:
            return False
        if not _words(turn.before).isdisjoint(_words(turn.code)):
            return False
        return all(self._memory.read(*place) == data for place, data in turn.before.items())

    def _remember(self, turn: _Turn, size: int) -> None:
        engine, read = self._engine, self._memory.read
        soft = engine.soft_tlb
        if soft is None or not soft.active or engine.hooked:
            return
        pages = [(page, soft.entry(page)) for page in turn.pages]
        if engine.context.q[CR0] & x86.CR0_PG and any(
            not entry & 1 or entry // PAGE != turn.pages[page] for page, entry in pages
        ):
            return
        changed = _words(turn.before)
        constants = [(*place, data) for place, data in turn.code.items()]
        for place in dict.fromkeys(turn.reads):
            if _words((place,)).isdisjoint(changed):
                constants.append((*place, read(*place)))
            elif place not in turn.before:
                return
        written = {
            eip: [(*place, seen.get(place, before)) for place, before in turn.before.items()]
            for eip, seen in turn.snapshots.items()
        }
        used = changed | _words((at, length) for at, length, _ in constants)
        if self._hooks != engine.hook_changes:
            self._hooks = engine.hook_changes
            self._loops.clear()
        self._loops.appendleft(Loop(size, turn.states, pages, constants, written, used, changed))
