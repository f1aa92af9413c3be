# SPDX-License-Identifier: GPL-2.0-or-later
"""Every instruction of all CPUs of a machine, numbered in one order, and calls before those that are asked for.

The CPUs share a host thread, so the order is total. It holds along one run and what is forked from it. An instruction
that the engine begins twice (`sites.py`, `softtlb.py`) has two numbers, a repeated one a number for each turn.

Whoever is called back may look at everything, fork the process, and return: the guest's run is the one there would be
without. A run takes five times its time, most of it the engine's for calling the hook at each instruction.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import native
from .cpu import Cpu

NEVER: Final = (1 << 64) - 1
MOST_WORDS: Final = 8
"""Of memory that can be watched, 8 bytes each."""
_LINEAR: Final = 0xFFFFFFFF
PLACES: Final = 1 << 16
"""An instruction's address is looked up by its halves, xored: a kernel's copy elsewhere has other places."""

# void step(uc %rdi, address %rsi, size %edx, Record *%rcx)
LISTING: Final = """
    movq (%rcx), %rax
    cmpl $0, 24(%rax)
    jne out
    movq (%rax), %r8
    movq %r8, 424(%rax)
    movq 8(%rcx), %rax
    movq (%rax), %r8
    incq %r8
    movq %r8, (%rax)
    movl %esi, %r9d
    shrl $16, %r9d
    xorl %esi, %r9d
    movzwl %r9w, %r9d
    movb $1, 65760(%rax,%r9)
    cmpq 8(%rax), %r8
    jae call
    cmpl $0, 24(%rcx)
    jne call
    cmpb $0, 224(%rax,%r9)
    jne call
    movl 16(%rax), %r9d
    testl %r9d, %r9d
    jne watch
note:
    movq %r8, 32(%rcx)
    movq %rcx, 24(%rax)
    movl %esi, 20(%rax)
out:
    ret
watch:
    leaq 32(%rax), %r10
again:
    movq (%r10), %r11
    movq (%r11), %r11
    xorq 8(%r10), %r11
    testq 16(%r10), %r11
    jne call
    addq $24, %r10
    decl %r9d
    jne again
    jmp note
call:
    jmpq *16(%rcx)
"""
CODE: Final = (
    "488b018378180075594c8b004c8980a8010000488b41084c8b0049ffc04c89004189f141c1e9104131f1450fb7c942c68408e000010001"
    "4c3b4008734583791800753f4280bc08e0000000007534448b48104585c9750c4c89412048894818897014c34c8d50204d8b1a4d8b1b4d"
    "335a084d855a10750b4983c21841ffc975e7ebd5ff6110"
)

_STEP: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)


class _Word(ctypes.Structure):
    _fields_ = (("host", ctypes.c_uint64), ("seen", ctypes.c_uint64), ("mask", ctypes.c_uint64))
    host: int
    seen: int
    mask: int


class _Shared(ctypes.Structure):
    """What all CPUs' hooks share. The machine code knows these offsets."""

    _fields_ = (
        ("number", ctypes.c_uint64),  # 0: of the instruction that comes next, or is being run
        ("alarm", ctypes.c_uint64),  # 8: call back from this number on
        ("words_used", ctypes.c_uint32),  # 16
        ("address", ctypes.c_uint32),  # 20: where the last instruction was
        ("record", ctypes.c_uint64),  # 24: and the record of its CPU
        ("words", _Word * MOST_WORDS),  # 32
        ("places", ctypes.c_uint8 * PLACES),  # 224: call back before instructions here
        ("ran", ctypes.c_uint8 * PLACES),  # 65760: there were instructions here
    )
    number: int
    alarm: int
    words_used: int
    address: int
    record: int
    words: ctypes.Array[_Word]
    places: ctypes.Array[ctypes.c_uint8]
    ran: ctypes.Array[ctypes.c_uint8]


class _Record(ctypes.Structure):
    """One CPU's."""

    _fields_ = (
        ("slice", ctypes.c_uint64),  # 0
        ("shared", ctypes.c_uint64),  # 8
        ("callback", ctypes.c_uint64),  # 16
        ("each", ctypes.c_uint32),  # 24: call back before each instruction of this CPU
        ("pad", ctypes.c_uint32),
        ("last", ctypes.c_uint64),  # 32: number of its last instruction
    )
    each: int
    last: int


@dataclass(frozen=True)
class Change:
    """A watched word has changed since the last instruction of any CPU began."""

    address: int
    """Physical."""
    old: bytes
    new: bytes


class Steps:
    """The instructions of a machine's CPUs, from now on until `stop`; once in the life of a machine.

    `before` is called with the CPU's index and the instruction's linear address; what it raises comes out of the
    machine's `run`.
    """

    def __init__(self, cpus: list[Cpu], before: Callable[[int, int], None]) -> None:
        self._shared = _Shared(alarm=NEVER)
        self._cpus, self._before = cpus, before
        self._records: list[_Record] = []
        self._keep: list[object] = []
        self._watched: list[tuple[int, int]] = []
        compiled = native.hooks().compiled
        if compiled:
            area, addresses = native.executable({"step": bytes.fromhex(CODE)})
            self._keep.append(area)
        for index, cpu in enumerate(cpus):
            record = _Record(shared=ctypes.addressof(self._shared), slice=ctypes.addressof(cpu.slice))
            keep, function = native.callback(_STEP, self._called(index, record))
            record.callback = function
            hook = addresses["step"] if compiled else self._portable(record, function)
            self._records.append(record)
            self._keep.append(keep)
            cpu.hook_instructions(hook, ctypes.addressof(record))

    def _called(self, index: int, record: _Record) -> Callable[[int, int, int, int], None]:
        cpu = self._cpus[index]

        def call(_uc: int, address: int, _size: int, _data: int) -> None:
            try:
                self._before(index, address)
            except BaseException as error:
                cpu.fail(error)
            finally:
                self._done(record, address)

        return call

    def _done(self, record: _Record, address: int) -> None:
        """This CPU's instruction there is the last one now."""
        shared = self._shared
        record.last, shared.record, shared.address = shared.number, ctypes.addressof(record), address & _LINEAR

    def _portable(self, record: _Record, called: int) -> int:
        """The machine code above, in Python."""
        call, shared = _STEP(called), self._shared

        def step(uc: int, address: int, size: int, data: int) -> None:
            state = native.Slice.from_address(record.slice)
            if state.reason:
                return
            state.hooked = state.retired
            shared.number += 1
            shared.ran[place_of(address)] = 1
            if (
                shared.number >= shared.alarm
                or record.each
                or shared.places[place_of(address)]
                or any(_word(word) for word in shared.words[: shared.words_used])
            ):
                call(uc, address, size, data)
            else:
                self._done(record, address)

        keep, function = native.callback(_STEP, step)
        self._keep += [keep, call]
        return function

    def stop(self) -> None:
        """Count no longer, from the next slice of each CPU on at the latest: the machine has its speed back."""
        self.alarm(None)
        self.each(None)
        self.places(set())
        self.watch([])
        for cpu in self._cpus:
            cpu.unhook_instructions()

    # Where it is.

    @property
    def number(self) -> int:
        """Of the instruction that is being called back for; else of the last one begun.  The first is 1."""
        return self._shared.number

    def last(self, index: int | None = None) -> int:
        """The number of the last instruction of a CPU (None: of any) that is done, or begun; 0: none."""
        if index is not None:
            return self._records[index].last
        return max(record.last for record in self._records)

    def last_cpu(self) -> int | None:
        """The CPU whose instruction was the last one."""
        for index, record in enumerate(self._records):
            if self._shared.record == ctypes.addressof(record):
                return index
        return None

    def take_ran(self) -> bytes:
        """Which instructions there were since this was asked last: a byte for each place, 1 if there were some."""
        ran = bytes(self._shared.ran)
        ctypes.memset(self._shared.ran, 0, PLACES)
        return ran

    def last_address(self) -> int:
        """The linear address of the last instruction."""
        return self._shared.address

    def begins_again(self, index: int, address: int) -> bool:
        """Is the instruction that is called back for the one before, which the engine begins a second time?"""
        return self._cpus[index].begins_again(address)

    # When to call back.

    def alarm(self, number: int | None) -> None:
        """Call back before each instruction from this number on; None: never mind."""
        self._shared.alarm = NEVER if number is None else number

    def each(self, index: int | None) -> None:
        """Call back before each instruction of this CPU alone; None: of no CPU."""
        for at, record in enumerate(self._records):
            record.each = at == index

    def places(self, addresses: set[int]) -> None:
        """Call back before instructions at these linear addresses, and at some others."""
        ctypes.memset(self._shared.places, 0, PLACES)
        for address in addresses:
            self._shared.places[place_of(address)] = 1

    def watch(self, ranges: list[tuple[int, int, int]]) -> None:
        """Call back before the first instruction that finds one of these changed: (physical address, host address,
        bytes) each.  ValueError for more than there is room for.
        """
        words: list[_Word] = []
        self._watched = []
        for physical, host, size in ranges:
            at = host
            while at < host + size:
                base = at & ~7
                end = min(base + 8, host + size)
                mask = ((1 << 8 * (end - at)) - 1) << 8 * (at - base)
                words.append(_Word(base, _load(base), mask))
                self._watched.append((physical + at - host, end - at))
                at = end
        if len(words) > MOST_WORDS:
            raise ValueError(f"no more than {8 * MOST_WORDS} bytes can be watched at once")
        self._shared.words[: len(words)] = words
        self._shared.words_used = len(words)

    def changes(self) -> list[Change]:
        """Which of the watched words have changed since they were looked at last; they are taken as they are now."""
        found = []
        for word, (physical, size) in zip(self._shared.words, self._watched, strict=False):
            if _word(word):
                new = _load(word.host)
                shift = (word.mask & -word.mask).bit_length() - 1
                old_bytes, new_bytes = ((value >> shift).to_bytes(8, "little")[:size] for value in (word.seen, new))
                found.append(Change(physical, old_bytes, new_bytes))
                word.seen = new
        return found


def words_spanned(address: int, size: int) -> int:
    """How many of the words that can be watched a range takes."""
    return (address % 8 + size + 7) // 8


def place_of(address: int) -> int:
    """Where a linear address is looked up."""
    return (address ^ address >> 16) & PLACES - 1


def _load(host: int) -> int:
    return ctypes.c_uint64.from_address(host).value


def _word(word: _Word) -> bool:
    """Has it changed?"""
    return bool((_load(word.host) ^ word.seen) & word.mask)
