# SPDX-License-Identifier: GPL-2.0-or-later
"""What every CPU ran last before the first kernel was gone: basic blocks, with functions, lines and instructions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from kdumpsim.machines.pc import TracedCpu, capable
from kdumpsim.runs.session import Session
from kdumpsim.target import PAGE_OFFSET, hex_address, physical
from kdumpsim.vmcore.debuginfo import DebugInfo
from kdumpsim.vmcore.disassembly import disassemble


@dataclass(frozen=True)
class Block:
    """A basic block that was begun, and its bytes when the trace was taken; None if they could not be reached then."""

    address: int
    size: int
    code: bytes | None


class Trace:
    """Records a session's CPUs from now on, the last `count` blocks of each, until the kernel hands over."""

    def __init__(self, session: Session, count: int) -> None:
        """ScenarioError for a machine whose CPUs cannot be traced."""
        self._session, self._machine = session, session.machine
        self._cpus = capable(session.machine.tracing, session.pc, "traced").cpus
        self._then = session.oracle.on_jump
        self._taken: list[list[Block]] | None = None
        self._end = ""
        session.oracle.on_jump = self._jumped
        for cpu in self._cpus:
            cpu.record_blocks(count)

    def _jumped(self) -> None:
        self._take(f"the jump to {self._session.mechanism.hand_over}")
        if self._then is not None:
            self._then()

    def _take(self, end: str) -> None:
        if self._taken is None:
            self._end = end
            self._taken = [
                [Block(address, size, self._code(cpu, address, size)) for address, size in cpu.recorded_blocks()]
                for cpu in self._cpus
            ]

    def _code(self, cpu: TracedCpu, address: int, size: int) -> bytes | None:
        """The bytes at a linear address.

        The kernel's are taken from where it maps them: at the end its page tables may be gone, or paging off.
        """
        memory = self._machine.memory.view
        if PAGE_OFFSET <= address < PAGE_OFFSET + len(memory) - size:
            return bytes(memory[physical(address) : physical(address) + size])
        return cpu.read_linear(address, size)

    def text(self) -> str:
        """The trace so far, or up to the jump if there was one."""
        machine = self._machine
        self._take(f"the machine's reset ({machine.reset_cause})" if machine.reset_cause else "the end of the run")
        assert self._taken is not None
        info = DebugInfo.of(self._session.first.elf)
        lines = []
        for index, blocks in enumerate(self._taken):
            lines.append(f"CPU {index}: the last {len(blocks)} basic blocks before {self._end}, oldest first")
            lines.extend(_tell(blocks, info))
            lines.append("")
        return "\n".join(lines)


def _tell(blocks: list[Block], info: DebugInfo) -> Iterator[str]:
    for block, same in groupby(blocks):
        times = sum(1 for _ in same)
        yield f"  {_place(block.address, info)}{f'   {times} times' if times > 1 else ''}"
        if block.code is None:
            yield f"      {hex_address(block.address)}  no longer mapped"
            continue
        for instruction in disassemble(block.code, block.address):
            yield f"      {hex_address(instruction.address)}  {instruction.text}"


def _place(address: int, info: DebugInfo) -> str:
    function = info.function(address)
    if function is None:
        return hex_address(address) if address >= PAGE_OFFSET else f"{hex_address(address)} (not the kernel's)"
    where = info.line(address)
    text = f"{function.name}+{address - function.start:#x}"
    return text if where is None else f"{text:<36} {where[0]}:{where[1]}"
