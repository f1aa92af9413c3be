# SPDX-License-Identifier: GPL-2.0-or-later
"""Are the registers in a dump the ones the machine saw?

* A CPU that was stopped by the NMI must have in its note exactly what it held when it took that NMI.
* The crashing CPU, when an exception led to the crash, must have the exception's frame, which the dump mechanism's
  entry got.
  At a double fault the CPU pushes none: the kernel made one from the registers in its task state segment.
* The crashing CPU, when ``panic`` was called, saves its registers inside the entry itself: they must lie in that
  function or one called for it (`Oracle.savers`), on the stack it was called on, in the frame of that very call.

Each CPU is held to the note that it wrote; a note in another CPU's area is wrong whatever it holds, since to all who
read the dump it is the other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdumpsim.records import HEX, LIST, Record, optional, stored
from kdumpsim.target import (
    FRAME_POINTER,
    GENERAL_REGISTERS,
    PROGRAM_COUNTER,
    STACK_POINTER,
    registers_at_exception,
    significant_bits,
)

from .notes import CpuNote, note_of
from .oracle import CRASHING, FRAME_REACH, EntryCall, Oracle
from .owners import OwnerMap


@dataclass
class RegisterCheck(Record):
    """One CPU's registers in the dump, judged."""

    cpu: int
    role: str
    """What became of it (`Oracle.role`)."""
    ok: bool
    problems: list[str] = field(default_factory=list, metadata=stored(LIST))
    eip: int | None = field(default=None, metadata=stored(optional(HEX)))
    where: str = ""
    """The function the dump shows the CPU in."""
    thread: int | None = None
    """gdb's number for its registers; None if the dump has none of it."""


def check_registers(notes: Sequence[CpuNote], oracle: Oracle, owners: OwnerMap) -> list[RegisterCheck]:
    """One check for every CPU the machine has."""
    checks = []
    for cpu in oracle.machine.cpus:
        index = cpu.index
        check = RegisterCheck(index, oracle.role(index), False)
        note = note_of(index, notes)
        if note is None:
            check.problems.append(_missing(index, notes, oracle))
        else:
            registers = note.status.registers
            check.thread, check.eip = note.thread, registers[PROGRAM_COUNTER]
            check.where = owners.symbol(check.eip)[0] or "outside the kernel"
            if note.area != index:
                check.problems.append(f"it took itself for CPU {note.area}, in whose note its registers are")
            check.problems += _problems(registers, index, check.role, oracle, check.where)
        check.ok = not check.problems
        checks.append(check)
    return checks


def _missing(index: int, notes: Sequence[CpuNote], oracle: Oracle) -> str:
    """Why there is no note of a CPU."""
    text = "the dump has no registers of this CPU"
    strays = [note for note in notes if note.area == index]
    if strays:
        text += f": those in its note are CPU {strays[-1].writer}'s"
    saves = [save for save in oracle.saves if save.cpu == index]
    if saves and saves[-1].number != index:
        text += f"; it took itself for CPU {saves[-1].number}"
    return text


def _problems(note: Mapping[str, int], index: int, role: str, oracle: Oracle, where: str) -> list[str]:
    if index in oracle.nmi and role != CRASHING:
        seen = oracle.nmi[index]
        return _compare(note, {name: getattr(seen, name) for name in GENERAL_REGISTERS})
    if role != CRASHING:
        return ["the machine saw no NMI that stopped this CPU"]
    call = oracle.entry_call
    if call is None:
        return [f"the machine saw no call of {oracle.entry}"]
    if call.frame is not None:
        pushed = call.frame_address not in oracle.double_faults
        return _compare(note, registers_at_exception(call.frame, call.frame_address, pushed=pushed))
    return _in_the_entry(note, call, where, oracle)


def _compare(note: Mapping[str, int], truth: Mapping[str, int]) -> list[str]:
    problems = []
    for name, value in truth.items():
        mask = significant_bits(name)
        if (note[name] ^ value) & mask:
            problems.append(f"{name} is {note[name] & mask:#x} in the dump and was {value & mask:#x}")
    return problems


def _in_the_entry(note: Mapping[str, int], entered: EntryCall, where: str, oracle: Oracle) -> list[str]:
    problems = []
    if where != oracle.entry and where not in oracle.savers:
        problems.append(f"{PROGRAM_COUNTER} {note[PROGRAM_COUNTER]:#x} lies in {where}, not in {oracle.entry}")
    top = entered.call.stack
    for name in (STACK_POINTER, FRAME_POINTER):
        if not top - FRAME_REACH <= note[name] <= top:
            problems.append(
                f"{name} {note[name]:#x} is not in the frame of {oracle.entry}, called at {STACK_POINTER} {top:#x}"
            )
    return problems
