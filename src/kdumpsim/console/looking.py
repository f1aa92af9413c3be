# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of the console that look at the machine, in the present or in the past, and change nothing in it."""

from __future__ import annotations

import re

from kdumpsim.console.command import Action, Command, Shell, no_words
from kdumpsim.console.debugging import Debugging
from kdumpsim.console.places import check_place, program_counter
from kdumpsim.cpu.registers import Registers
from kdumpsim.target import (
    ADDRESS_DIGITS,
    DWARF_REGISTERS,
    FLAGS,
    FRAME_POINTER,
    GENERAL_REGISTERS,
    PAGE_SIZE,
    SEGMENTS,
    STACK_POINTER,
    hex_address,
    stack_pointer,
)  # fmt: skip
from kdumpsim.vmcore.disassembly import MAX_INSTRUCTION, disassemble

MOST_BYTES = 1 << 16
DEFAULT_BYTES = 64
THREAD_INFO = "thread_info"
_FLAGS = {0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF", 14: "NT", 16: "RF"}
"""Bits of EFLAGS (SDM vol. 1, 3.4.3)."""
_ROWS = (GENERAL_REGISTERS[:4], GENERAL_REGISTERS[4:8], ("cr0", "cr2", "cr3", "cr4"), SEGMENTS)


class NotHere(ValueError):
    """The command is for a console."""


def debugging(shell: Shell) -> Debugging:
    """What a console has; NotHere without one."""
    if shell.debugging is None:
        raise NotHere("that is for kdumpsim console, where somebody watches; this runs commands only")
    return shell.debugging


def here(look: Debugging, index: int) -> str:
    """Where a CPU is: its next instruction, with the source line."""
    at = program_counter(look.past.ask("where")[index])
    found = look.kernels.at(at)
    lines = [f"CPU {index} at {look.kernels.text(at)}"]
    if found is not None and (source := look.kernels.source(found[1])):
        lines.append(f"    {found[1].rpartition(':')[2]:>5}  {source}")
    if instructions := disassemble(look.past.ask("memory", index, at, MAX_INSTRUCTION), at):
        lines.append(f"    =>     {hex_address(at)}  {instructions[0].text}")
    return "\n".join(lines) + "\n"


def _cpu(words: list[str], name: str) -> int | None:
    if len(words) > 1 or (words and not re.fullmatch("[0-9]{1,9}", words[0])):
        raise ValueError(f"{name} takes one CPU's number, or nothing")
    return int(words[0]) if words else None


def _check_cpu(shell: Shell, index: int) -> int:
    if index >= shell.session.pc.cpus:
        raise ValueError(f"there is no CPU {index}; the last one is {shell.session.pc.cpus - 1}")
    return index


def _regs(words: list[str]) -> Action:
    one = _cpu(words, "regs")

    def act(shell: Shell) -> None:
        look = debugging(shell)
        states, every = look.past.ask("cpus"), look.past.ask("where")
        for index in [_check_cpu(shell, one)] if one is not None else sorted(every):
            registers: Registers = every[index]
            shell.say(f"CPU {index}: {states[index]}, at {look.kernels.text(program_counter(registers))}\n")
            for row in _ROWS:
                width = 4 if row is SEGMENTS else ADDRESS_DIGITS
                shell.say("  " + "  ".join(f"{name} {getattr(registers, name):0{width}x}" for name in row) + "\n")
            flags = int(getattr(registers, FLAGS))
            names = " ".join(name for bit, name in _FLAGS.items() if flags >> bit & 1)
            shell.say(f"  {FLAGS} {hex_address(flags)} {names}, in ring {registers.cs & 3}\n")

    return act


def resolve(shell: Shell, text: str) -> int:
    """The address that a word means: a place in a kernel, or with a $ a register or thread_info of the CPU shown."""
    look = debugging(shell)
    if not text.startswith("$"):
        return look.kernels.find(text)[0]
    name, _, offset = text[1:].partition("+")
    registers = look.past.ask("where")[look.looked_at()]
    stack: int = stack_pointer(registers) & -shell.session.first.stack_size
    value: int = stack if name == THREAD_INFO else getattr(registers, name)
    return value + int(offset or "0", 0) & 0xFFFFFFFF


def check_address(text: str) -> None:
    """ValueError for a word that means no address."""
    if not text.startswith("$"):
        check_place(text)
        return
    name = re.fullmatch(r"\$(\w+)(?:\+(?:0x[0-9a-f]{1,8}|[0-9]{1,9}))?", text)
    if name is None or (name[1] != THREAD_INFO and name[1] not in Registers.__dataclass_fields__):
        raise ValueError(f"'{text[:40]}' is no register: write ${STACK_POINTER}, ${FRAME_POINTER}, … or $thread_info")


def size_of(text: str, most: int) -> int:
    """A number of bytes, decimal or 0x…; ValueError."""
    if not re.fullmatch(r"0x[0-9a-f]{1,6}|[0-9]{1,7}", text) or not 0 < int(text, 0) <= most:
        raise ValueError(f"'{text[:40]}' is no length: write a number of bytes from 1 to {most}")
    return int(text, 0)


def _mem(words: list[str]) -> Action:
    if not 1 <= len(words) <= 2:
        raise ValueError("mem needs an ADDRESS, and takes a length in bytes")
    check_address(words[0])
    size = size_of(words[1], MOST_BYTES) if len(words) == 2 else DEFAULT_BYTES

    def act(shell: Shell) -> None:
        look = debugging(shell)
        address = resolve(shell, words[0])
        data: bytes = look.past.ask("memory", look.looked_at(), address, size)
        for at in range(0, len(data), 16):
            part = data[at : at + 16]
            values = " ".join(part[i : i + 4][::-1].hex().rjust(8) for i in range(0, len(part), 4))
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            shell.say(f"{hex_address(address + at & 0xFFFFFFFF)}:  {values:<35}  {text}\n")
        if len(data) < size:
            shell.say(f"{hex_address(address + len(data) & 0xFFFFFFFF)}:  no memory\n")

    return act


def _bt(words: list[str]) -> Action:
    one = _cpu(words, "bt")

    def act(shell: Shell) -> None:
        look = debugging(shell)
        index = look.looked_at() if one is None else _check_cpu(shell, one)
        registers = look.past.ask("where")[index]

        def read(address: int, size: int) -> bytes | None:
            data: bytes = look.past.ask("memory", index, address, size)
            return data if len(data) == size else None

        values = {name: int(getattr(registers, name)) for name in DWARF_REGISTERS}
        frames = look.kernels.unwinder(program_counter(registers)).backtrace(values, read)
        for number, frame in enumerate(frames):
            where = f"{frame.file}:{frame.line}" if frame.file else ""
            name = frame.function or ("a program, in ring 3" if registers.cs & 3 and not number else "?")
            shell.say(f"#{number:<3} {hex_address(frame.address)} {name:<28} {where}".rstrip() + "\n")

    return act


def _maps(words: list[str]) -> Action:
    one = _cpu(words, "maps")

    def act(shell: Shell) -> None:
        look = debugging(shell)
        index = look.looked_at() if one is None else _check_cpu(shell, one)
        shell.say("physical memory\n")
        for begin, end in look.past.ask("ram"):
            shell.say(f"  {hex_address(begin)}-{hex_address(end)}  RAM\n")
        kernels = [("the first kernel", shell.session.first, 0)]
        kernels += [("the capture kernel", kernel, moved) for kernel, moved in shell.session.mechanism.kernels()]
        for name, kernel, moved in kernels:
            begin, end = kernel.base + moved, kernel.physical_end + moved
            shell.say(f"  {hex_address(begin)}-{hex_address(end)}  {name}\n")
        shell.say(f"linear addresses of CPU {index}, and the physical ones behind them\n")
        for begin, size, to, rights in look.past.ask("mappings", index):
            last = hex_address(begin + size - 1)
            shell.say(f"  {hex_address(begin)}-{last}  {hex_address(to)}  {rights:<9}  {size // PAGE_SIZE} pages\n")

    return act


def _where(words: list[str]) -> Action:
    no_words(words, "where")

    def act(shell: Shell) -> None:
        look = debugging(shell)
        if look.past.place is not None:
            shell.say(f"{look.past.distance():,} instructions before the present, ")
        shell.say(f"{look.past.ask('now') / 1e9:.4f} s after power-on\n{here(look, look.looked_at())}")

    return act


_ADDRESS = (
    "ADDR is a symbol, symbol+OFFSET, file.py:LINE, an address (0xc0100000), a register "
    f"(${STACK_POINTER}, ${FRAME_POINTER}+8),\n"
    "or $thread_info, the low end of the kernel stack. capture:NAME means the capture kernel's NAME."
)
LOOKING: dict[str, Command] = {
    "where": Command(
        "where", "show where the machine is: the next instruction, and its source line", _where,
        group="Looking at the machine", looks=True,
    ),
    "regs": Command(
        "regs [CPU]", "print the registers of all CPUs, or of one", _regs, looks=True,
        more="A CPU is halted when it has nothing to do: it waits for an interrupt in the idle task.\n"
        "IF among the flags: it takes interrupts. cr2 is the address of the last page fault.",
    ),
    "mem": Command(
        "mem ADDR [LEN]", "print LEN bytes of memory (default 64), as words of 4 bytes and as text", _mem, looks=True,
        more=f"{_ADDRESS}\nExamples: mem $thread_info 20    mem jiffies 4    mem 0xc0100000 256",
    ),
    "maps": Command(
        "maps [CPU]", "print what is where: RAM, kernels, and the addresses that a CPU can use", _maps, looks=True,
        more="A CPU finds memory through its page tables; a linear address that is in none of the ranges is a page\n"
        "fault. In the kernel, linear is physical + 0xc0000000.",
    ),
    "bt": Command(
        "bt [CPU]", "print the calls that a CPU is in, the innermost first", _bt, looks=True,
        more="Each line: the address at which the function goes on, the function, its source line.",
    ),
}  # fmt: skip
