# SPDX-License-Identifier: GPL-2.0-or-later
"""Loops that only wait: blocks of code that look at registers and RAM, jump, call and return.

While nobody else changes memory, a loop that has come around once, and has left the CPU's whole state and what it wrote
to memory (return addresses, saved registers) as they were, will do the same for ever: its turns need not be run to be
counted. Here a block is followed with the registers it begins with, to see which memory it reads and writes. What it
computes is left to the engine, so values are known here only as far as addresses depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 48
"""Bytes of a block that are looked at."""

Load = Callable[[int, int], int | None]
"""(linear address, bytes): what is there in memory, None if it isn't RAM."""

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_WORD: Final = 0xFFFFFFFF
_LONGEST_INSTRUCTION: Final = 11  # of those known here
_PAUSE: Final = b"\xf3\x90"
_IMMEDIATE: Final = {0x80: 1, 0x81: 4, 0x83: 1}  # bytes of the immediate operand
_ADD, _SUB, _CMP = 0, 5, 7  # what 80, 81 and 83 do, by the middle digit of their second byte
_ARITHMETIC: Final = frozenset(base + form for base in range(0, 0x38, 8) for form in range(4))
_COMPARISONS: Final = frozenset(range(0x38, 0x3C)) | {0x84, 0x85}
_ACCUMULATOR: Final = frozenset(range(4, 0x38, 8)) | frozenset(range(5, 0x38, 8))


class _Unknown(Exception):
    """The block may do more than wait, or it cannot be told what."""


@dataclass(frozen=True)
class Block:
    """A block of a loop that waits."""

    size: int
    reads: tuple[tuple[int, int], ...]
    """What it reads of memory: linear address and bytes."""
    writes: tuple[tuple[int, int], ...]


@dataclass
class _Follower:
    """Follows a block up to its jump or PAUSE."""

    code: bytes
    registers: list[int | None]
    load: Load
    data_base: int
    stack_base: int
    reads: list[tuple[int, int]] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)
    stored: dict[tuple[int, int], int | None] = field(default_factory=dict)
    at: int = 0

    def immediate(self, size: int) -> int:
        """The next bytes of the code, sign-extended."""
        self.at += size
        return int.from_bytes(self.code[self.at - size : self.at], "little", signed=True)

    # Memory.

    def read(self, address: int, size: int) -> int | None:
        if (address, size) in self.stored:
            return self.stored[address, size]
        if any(begin < address + size and address < begin + length for begin, length in self.stored):
            return None
        value = self.load(address, size)
        if value is None:
            raise _Unknown
        self.reads.append((address, size))
        return value

    def write(self, address: int, size: int, value: int | None) -> None:
        overlapping = [at for at in self.stored if at[0] < address + size and address < at[0] + at[1]]
        for at in overlapping:
            self.stored[at] = None
        self.stored[address, size] = value
        self.writes.append((address, size))

    def _stack(self) -> int:
        pointer = self.registers[_ESP]
        if pointer is None:
            raise _Unknown
        return pointer

    def push(self, value: int | None) -> None:
        pointer = self._stack() - 4 & _WORD
        self.write(self.stack_base + pointer & _WORD, 4, value)
        self.registers[_ESP] = pointer

    def pop(self) -> int | None:
        pointer = self._stack()
        self.registers[_ESP] = pointer + 4 & _WORD
        return self.read(self.stack_base + pointer & _WORD, 4)

    # Operands.

    def operand(self) -> tuple[int, int | None, int]:
        """ModR/M and what follows it: the middle digit, the register meant (None: it is memory), its linear address."""
        second = self.code[self.at]
        self.at += 1
        mode, digit, base = second >> 6, second >> 3 & 7, second & 7
        if mode == 3:
            return digit, base, 0
        offset, segment = self.effective(mode, base)
        return digit, None, offset + segment & _WORD

    def effective(self, mode: int, base: int) -> tuple[int, int]:
        """The offset that ModR/M names, and the base of its segment."""
        registers, offset, segment = self.registers, 0, self.data_base
        if base == 4:
            sib = self.code[self.at]
            self.at += 1
            scale, index, base = sib >> 6, sib >> 3 & 7, sib & 7
            if index != 4:
                factor = registers[index]
                if factor is None:
                    raise _Unknown
                offset += factor << scale
        if base == 5 and mode == 0:
            return offset + self.immediate(4) & _WORD, segment
        value = registers[base]
        if value is None:
            raise _Unknown
        if base in (_ESP, _EBP):
            segment = self.stack_base
        displacement = 0 if mode == 0 else self.immediate(1 if mode == 1 else 4)
        return offset + value + displacement & _WORD, segment

    def forget(self, register: int, size: int = 4) -> None:
        """A register gets a value that is not known here."""
        self.registers[register if size > 1 else register & 3] = None

    # Instructions.

    def follow(self) -> Block:
        while self.at + _LONGEST_INSTRUCTION < len(self.code):
            if self.instruction():
                return Block(self.at, tuple(self.reads), tuple(self.writes))
        raise _Unknown

    def instruction(self) -> bool:
        """Follow one; was it the block's last?"""
        code, registers = self.code, self.registers
        if code.startswith(_PAUSE, self.at):
            self.at += 2
            return True
        opcode = code[self.at]
        self.at += 1
        if opcode == 0x0F:
            return self.two_bytes()
        if opcode & 0xF0 == 0x70 or opcode == 0xEB:
            self.at += 1
            return True
        if opcode == 0xE9:
            self.at += 4
            return True
        if opcode == 0xE8:
            self.at += 4
            self.push(None)
            return True
        if opcode in (0xC2, 0xC3):
            self.pop()
            self.at += 2 if opcode == 0xC2 else 0
            return True
        if opcode == 0x90:
            return False
        if opcode & 0xF8 == 0x50:
            self.push(registers[opcode & 7])
        elif opcode & 0xF8 == 0x58:
            registers[opcode & 7] = self.pop()
        elif opcode in (0x68, 0x6A):
            self.push(self.immediate(4 if opcode == 0x68 else 1) & _WORD)
        elif opcode == 0xC9:
            registers[_ESP] = registers[_EBP]
            registers[_EBP] = self.pop()
        elif opcode & 0xF8 == 0xB8:
            registers[opcode & 7] = self.immediate(4) & _WORD
        elif 0xA0 <= opcode <= 0xA3:
            self.absolute(opcode)
        elif opcode in _ACCUMULATOR or opcode in (0x3C, 0x3D, 0xA8, 0xA9):
            self.at += 4 if opcode & 1 else 1
            if opcode in _ACCUMULATOR:
                self.forget(_EAX)
        else:
            self.with_operand(opcode)
        return False

    def absolute(self, opcode: int) -> None:
        """MOV between the accumulator and an address."""
        size = 4 if opcode & 1 else 1
        address = self.immediate(4) + self.data_base & _WORD
        if opcode & 2:
            self.write(address, size, self.registers[_EAX] if size == 4 else None)
        else:
            value = self.read(address, size)
            self.registers[_EAX] = value if size == 4 else None

    def with_operand(self, opcode: int) -> None:
        """Those with ModR/M. Arithmetic with memory as its destination is not for loops that wait."""
        registers = self.registers
        if opcode == 0x8D:
            second = self.code[self.at]
            self.at += 1
            if second >> 6 == 3:
                raise _Unknown
            registers[second >> 3 & 7] = self.effective(second >> 6, second & 7)[0]
            return
        digit, register, address = self.operand()
        size = 1 if not opcode & 1 else 4
        if opcode in _COMPARISONS:
            if register is None:
                self.read(address, size)
        elif opcode in (0x88, 0x89):
            value = registers[digit] if size == 4 else None
            if register is None:
                self.write(address, size, value)
            elif size == 4:
                registers[register] = value
            else:
                self.forget(register, 1)
        elif opcode in (0x8A, 0x8B):
            value = registers[register] if register is not None and size == 4 else None
            if register is None:
                value = self.read(address, size)
            if size == 4:
                registers[digit] = value
            else:
                self.forget(digit, 1)
        elif opcode in _ARITHMETIC:
            if not opcode & 2:
                digit, register = register if register is not None else -1, digit
            elif register is None:
                self.read(address, size)
            if digit < 0:
                raise _Unknown
            self.forget(digit, size)
        elif opcode in _IMMEDIATE:
            self.with_immediate(opcode, digit, register, address, size)
        elif opcode in (0xC6, 0xC7) and digit == 0:
            value = self.immediate(size) & _WORD
            if register is None:
                self.write(address, size, value if size == 4 else None)
            elif size == 4:
                registers[register] = value
            else:
                self.forget(register, 1)
        elif opcode in (0xF6, 0xF7) and digit == 0:
            self.at += size
            if register is None:
                self.read(address, size)
        elif opcode in (0xC0, 0xC1) and register is not None:
            self.at += 1
            self.forget(register, size)
        elif opcode in (0xD0, 0xD1, 0xD2, 0xD3) and register is not None:
            self.forget(register, size)
        elif opcode == 0xFF and digit == 6:
            self.push(registers[register] if register is not None else self.read(address, 4))
        else:
            raise _Unknown

    def with_immediate(self, opcode: int, digit: int, register: int | None, address: int, size: int) -> None:
        """80, 81 and 83."""
        value = self.immediate(_IMMEDIATE[opcode])
        if digit == _CMP:
            if register is None:
                self.read(address, size)
            return
        if register is None:
            raise _Unknown
        before = self.registers[register]
        if size == 4 and before is not None and digit in (_ADD, _SUB):
            self.registers[register] = before + (value if digit == _ADD else -value) & _WORD
        else:
            self.forget(register, size)

    def two_bytes(self) -> bool:
        opcode = self.code[self.at]
        self.at += 1
        if opcode & 0xF0 == 0x80:
            self.at += 4
            return True
        if opcode & 0xF0 not in (0x40, 0x90) and opcode not in (0xB6, 0xB7, 0xBE, 0xBF):
            raise _Unknown
        digit, register, address = self.operand()
        if opcode & 0xF0 == 0x90:  # SETcc
            if register is None:
                self.write(address, 1, None)
            else:
                self.forget(register, 1)
            return False
        if register is None:
            self.read(address, 4 if opcode & 0xF0 == 0x40 else 2 if opcode & 1 else 1)
        self.forget(digit)
        return False


def follow(code: bytes, registers: list[int], load: Load, data_base: int = 0, stack_base: int = 0) -> Block | None:
    """The block that 32-bit code begins with, up to a jump or PAUSE, as it runs with these general registers (numbered
    as in SDM vol. 2, table 2-2); None if it may do more than wait.
    """
    try:
        return _Follower(code, [*registers], load, data_base, stack_base).follow()
    except _Unknown:
        return None
