# SPDX-License-Identifier: GPL-2.0-or-later
"""Are the registers in a dump the ones the machine saw?

* A CPU that was stopped by the NMI must have in its note exactly what it held when it took that NMI.
* The crashing CPU, when an exception led to the crash, must have the exception's frame, which ``crash_kexec`` got.
* The crashing CPU, when ``panic`` was called, saves its registers inside ``crash_kexec`` itself: they must lie in
  that function, on the stack it was called on, in the frame of that very call.

Each CPU is held to the note that it wrote; a note in another CPU's area is wrong whatever it holds, since to all who
read the dump it is the other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdumpsim.target import PT_REGS

from .notes import CpuNote, note_of
from .oracle import CRASH_KEXEC, CRASHING, KexecCall, Oracle
from .owners import OwnerMap

GENERAL = ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags", "cs", "ds", "es")
_SAVERS = ("crash_kexec", "crash_setup_regs", "crash_save_self", "machine_crash_shutdown")
"""Functions in which the crashing CPU may take its own registers."""
FRAME_REACH = 1024
"""Bytes below the return address of crash_kexec in which the stack pointer must lie."""
RF = 1 << 16
"""EFLAGS.RF is set in the image a fault pushes and is not part of what the program saw (SDM vol. 3, 18.3.1.1)."""


@dataclass
class RegisterCheck:
    """One CPU's registers in the dump, judged."""

    cpu: int
    role: str
    """What became of it (`Oracle.role`)."""
    ok: bool
    problems: list[str] = field(default_factory=list)
    eip: int | None = None
    where: str = ""
    """The function the dump shows the CPU in."""
    thread: int | None = None
    """gdb's number for its registers; None if the dump has none of it."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for result.json."""
        eip = None if self.eip is None else f"{self.eip:#x}"
        return {
            "cpu": self.cpu, "role": self.role, "ok": self.ok, "problems": self.problems, "eip": eip,
            "where": self.where, "thread": self.thread,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RegisterCheck:
        """The way back from `as_dict`."""
        eip = None if data["eip"] is None else int(data["eip"], 16)
        return cls(data["cpu"], data["role"], data["ok"], list(data["problems"]), eip, data["where"], data["thread"])


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
            check.thread, check.eip = note.thread, registers["eip"]
            check.where = owners.symbol(registers["eip"])[0] or "outside the kernel"
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
        return _compare(note, {name: getattr(seen, name) for name in GENERAL})
    if role != CRASHING:
        return ["the machine saw no NMI that stopped this CPU"]
    call = oracle.kexec_call
    if call is None:
        return [f"the machine saw no call of {CRASH_KEXEC}"]
    return _compare(note, _from_frame(call)) if call.frame is not None else _in_crash_kexec(note, call, where)


def _compare(note: Mapping[str, int], truth: Mapping[str, int]) -> list[str]:
    problems = []
    for name, value in truth.items():
        mask = 0xFFFF if name in ("cs", "ds", "es", "ss") else ~RF & 0xFFFFFFFF if name == "eflags" else 0xFFFFFFFF
        if (note[name] ^ value) & mask:
            problems.append(f"{name} is {note[name] & mask:#x} in the dump and was {value & mask:#x}")
    return problems


def _from_frame(call: KexecCall) -> dict[str, int]:
    """Registers at an exception, from its frame; without a change of rings ESP pointed right behind EFLAGS."""
    assert call.frame is not None
    values = PT_REGS.unpack(call.frame)
    if not values["cs"] & 3:
        values["esp"] = call.frame_address + PT_REGS.offset("esp")
    return {name: values[name] for name in GENERAL}


def _in_crash_kexec(note: Mapping[str, int], call: KexecCall, where: str) -> list[str]:
    problems = []
    if where not in _SAVERS:
        problems.append(f"eip {note['eip']:#x} lies in {where}, not in crash_kexec")
    top = call.registers.esp
    for name in ("esp", "ebp"):
        if not top - FRAME_REACH <= note[name] <= top:
            problems.append(f"{name} {note[name]:#x} is not in the frame of crash_kexec, called at esp {top:#x}")
    return problems
