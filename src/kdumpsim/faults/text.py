# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults in the kernel's text: a bit of an instruction, and what a programmer's mistakes look like in machine code.

Ng, Chen: The Systematic Improvement of Fault Tolerance in the Rio File Cache (FTCS 1999), section 3, after Sullivan and
Chillarege, and Kao, Iyer, Tang; Gu, Kalbarczyk, Iyer, Yang: Characterization of Linux Kernel Behavior under Errors (DSN
2003) for bits and inverted branches of functions that are in use.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from kdumpsim.faults.draw import Draw
from kdumpsim.faults.models import Model, Place
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import PAGE_SIZE, physical
from kdumpsim.vmcore.disassembly import MAX_INSTRUCTION

if TYPE_CHECKING:
    import capstone

    from kdumpsim.images import KernelImage
    from kdumpsim.machines.pc import Striking

NOP = 0x90
REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
"""By number (SDM vol. 2, table 2-2)."""
_LONGEST_BLOCK = 32
_LOADS = frozenset((0x03, 0x0B, 0x13, 0x1B, 0x23, 0x2B, 0x33, 0x8B, 0x8D))
"""ADD, OR, ADC, SBB, AND, SUB, XOR, MOV and LEA, whose ModRM names the register that is written in its reg field."""
_LOADS_0F = frozenset((0xAF, 0xB6, 0xB7, 0xBE, 0xBF))
"""IMUL, MOVZX, MOVSX."""
_STORES = frozenset((0xC6, 0xC7))
"""MOV of a constant to memory."""
_UNIFORM_TRIES = 200


class TextFault(Model):
    """An instruction of the kernel, changed: ADDRESS, linear."""

    def __init__(self, target: str, kernel: KernelImage) -> None:
        self._address, self._code = self._instruction_of(target, kernel)
        self.instruction = self._address
        last = self._address + len(self._code) - 1
        self.pages = frozenset({physical(self._address) & -PAGE_SIZE, physical(last) & -PAGE_SIZE})

    @staticmethod
    def _instruction_of(target: str, kernel: KernelImage) -> tuple[int, bytes]:
        address = int(target.partition("=")[0].partition(".")[0], 16)
        found = next(_instructions(kernel, address), None)
        if found is None:
            raise ScenarioError(
                f"there is no instruction of the kernel at {address:#x}; was it drawn from another build of the kernel?"
            )
        return address, bytes(found.bytes)

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """One of the instructions that this model can change."""
        if target == "uniform":
            for _ in range(_UNIFORM_TRIES):
                instruction = _anywhere(place.kernel, draw)
                if instruction is not None and cls.fits(bytes(instruction.bytes)):
                    return cls.drawn(instruction.address, bytes(instruction.bytes), draw)
        else:
            fitting = [(at, code) for at, code in _executed(place) if cls.fits(code)]
            if fitting:
                return cls.drawn(*draw.of(fitting), draw)
        raise ScenarioError(f"there is no instruction that {cls.name} could change")

    @classmethod
    def drawn(cls, address: int, code: bytes, draw: Draw) -> str:
        """The target's text."""
        return f"{address:#x}"

    @staticmethod
    @abstractmethod
    def fits(code: bytes) -> bool:
        """Can this instruction be changed?"""

    @abstractmethod
    def changed(self, code: bytes) -> bytes:
        """The changed instruction, of the same length."""

    def strike(self, machine: Striking) -> str | None:
        """Change the instruction in memory; every CPU runs the new one from its next slice on."""
        at = physical(self._address)
        now = bytes(machine.memory.view[at : at + len(self._code)])
        after = self.changed(now)
        machine.memory.dma_write(at, after)
        return f"{_text(now, self._address)} became {_text(after, self._address)}"


class TextBit(TextFault):
    """A bit of an instruction flips: ADDRESS.BIT, counted from the instruction's first byte (Gu and others, 2003)."""

    name = "text-bit"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        super().__init__(target, kernel)
        self._bit = int(target.partition(".")[2])
        if self._bit >= 8 * len(self._code):
            raise ScenarioError(f"fault text-bit:{target}: the instruction has {8 * len(self._code)} bits")

    @classmethod
    def drawn(cls, address: int, code: bytes, draw: Draw) -> str:
        """Uniform over its bits."""
        return f"{address:#x}.{draw.below(8 * len(code))}"

    @staticmethod
    def fits(code: bytes) -> bool:
        """Any."""
        return True

    def changed(self, code: bytes) -> bytes:
        """With the bit flipped."""
        return (int.from_bytes(code, "little") ^ 1 << self._bit).to_bytes(len(code), "little")


class TextNop(TextFault):
    """An instruction is gone (Ng and Chen: deleted instruction)."""

    name = "text-nop"

    @staticmethod
    def fits(code: bytes) -> bool:
        """Any that does something."""
        return set(code) != {NOP}

    def changed(self, code: bytes) -> bytes:
        """NOPs."""
        return bytes([NOP]) * len(code)


class TextBranch(TextFault):
    """A conditional branch is taken when it should not be, and the other way round (Gu and others: campaign C;
    Ng and Chen: deleted and changed branches)."""

    name = "text-branch"

    @staticmethod
    def fits(code: bytes) -> bool:
        """Jcc, short or near (SDM vol. 2, Jcc)."""
        return code[0] & 0xF0 == 0x70 or (code[0] == 0x0F and code[1] & 0xF0 == 0x80)

    def changed(self, code: bytes) -> bytes:
        """Bit 0 of the condition code inverts it (SDM vol. 2, B.1.4.7)."""
        at = 1 if code[0] == 0x0F else 0
        return code[:at] + bytes([code[at] ^ 1]) + code[at + 1 :]


class TextDestination(TextFault):
    """An instruction writes another register than it should: ADDRESS=REGISTER (Ng and Chen: destination register)."""

    name = "text-destination"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        super().__init__(target, kernel)
        register = target.partition("=")[2]
        if register not in REGISTERS or not self.fits(self._code):
            raise ScenarioError(f"fault text-destination:{target}: the instruction there cannot write that register")
        self._register = REGISTERS.index(register)

    @classmethod
    def drawn(cls, address: int, code: bytes, draw: Draw) -> str:
        """Uniform over the other registers."""
        now, _, _ = _destination(code)
        return f"{address:#x}={draw.of([name for number, name in enumerate(REGISTERS) if number != now])}"

    @staticmethod
    def fits(code: bytes) -> bool:
        """One whose encoding has a field for the register it writes, and no prefix."""
        return code[0] in _LOADS or (code[0] == 0x0F and code[1] in _LOADS_0F) or code[0] & 0xF8 == 0xB8

    def changed(self, code: bytes) -> bytes:
        """With the other number in the field."""
        _, at, shift = _destination(code)
        return code[:at] + bytes([code[at] & ~(7 << shift) | self._register << shift]) + code[at + 1 :]


class TextInit(TextFault):
    """A local variable is not initialised: the constant that is stored in the stack frame is not (Ng and Chen:
    initialization)."""

    name = "text-init"

    @staticmethod
    def fits(code: bytes) -> bool:
        """MOV of a constant to memory addressed by EBP or ESP."""
        if code[0] not in _STORES:
            return False
        mode, base = code[1] >> 6, code[1] & 7
        return (base == 5 and mode in (1, 2)) or (base == 4 and mode != 3 and code[2] & 7 == 4)

    def changed(self, code: bytes) -> bytes:
        """NOPs."""
        return bytes([NOP]) * len(code)


def _destination(code: bytes) -> tuple[int, int, int]:
    """The register an instruction that fits writes, and where its number is: which byte, and from which bit on."""
    if code[0] & 0xF8 == 0xB8:
        return code[0] & 7, 0, 0
    at = 2 if code[0] == 0x0F else 1
    return code[at] >> 3 & 7, at, 3


@lru_cache(maxsize=1)
def _engine() -> capstone.Cs:
    import capstone  # by those who strike code alone: every run has the models

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    engine.detail = True
    return engine


def _text(code: bytes, address: int) -> str:
    parts = [f"{mnemonic} {operands}".strip() for _, _, mnemonic, operands in _engine().disasm_lite(code, address)]
    return "; ".join(parts) or "(bad)"


def _instructions(kernel: KernelImage, address: int) -> Iterator[capstone.CsInsn]:
    """Instructions of the kernel's file from an address on, to the end of the text."""
    start, end = kernel.symbols["_text"], kernel.symbols["_etext"]
    if not start <= address < end:
        return
    size = min(_LONGEST_BLOCK * MAX_INSTRUCTION, end - address)
    yield from _engine().disasm(kernel.read(address, size), address)


@lru_cache(maxsize=1)
def _ends() -> frozenset[int]:
    """Groups of instructions that end a block."""
    from capstone import x86

    return frozenset((x86.X86_GRP_JUMP, x86.X86_GRP_CALL, x86.X86_GRP_RET, x86.X86_GRP_IRET, x86.X86_GRP_INT))


def _executed(place: Place) -> list[tuple[int, bytes]]:
    """Instructions of blocks that were about to run when somebody looked, or that a callee will return to."""
    begins = {at for sample in place.survey.samples for at in (sample.code, *sample.callers)}
    found: dict[int, bytes] = {}
    for begin in sorted(begins):
        for instruction in _instructions(place.kernel, begin):
            if instruction.address in found:
                break
            found[instruction.address] = bytes(instruction.bytes)
            if _ends() & set(instruction.groups):
                break
    return sorted(found.items())


def _anywhere(kernel: KernelImage, draw: Draw) -> capstone.CsInsn | None:
    """The instruction at a random byte of the text, found from the symbol before it; None where there is none."""
    start, end = kernel.symbols["_text"], kernel.symbols["_etext"]
    wanted = start + draw.below(end - start)
    at = max(symbol for symbol in kernel.symbols.values() if start <= symbol <= wanted)
    for instruction in _engine().disasm(kernel.read(at, min(wanted + MAX_INSTRUCTION, end) - at), at):
        if instruction.address <= wanted < instruction.address + instruction.size:
            return instruction
    return None
