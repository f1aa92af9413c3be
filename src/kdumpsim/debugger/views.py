# SPDX-License-Identifier: GPL-2.0-or-later
"""What a debugger may look at in a machine that has stopped."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from kdumpsim.board.firmware import RAM
from kdumpsim.cpu.cpu import Cpu
from kdumpsim.cpu.registers import Registers
from kdumpsim.debugger.description import packed
from kdumpsim.mechanisms.base import Area
from kdumpsim.runs.session import Session
from kdumpsim.runs.timeline import Span, Timeline
from kdumpsim.target import PAGE_OFFSET, PAGE_SIZE, words

_BYTES_SHOWN: Final = 24
_TSS_ESP0: Final = 4
"""SDM vol. 3A, 7.2.1."""


@dataclass(frozen=True)
class CpuStatus:
    """A CPU that has stopped with the machine."""

    state: str
    registers: Registers
    kernel_stack: int
    """Where its stack begins when it comes from ring 3 (ESP0); 0 without a task register."""
    doing: tuple[str, ...]
    """Interrupts, exceptions and system calls that it has not returned from, outermost first; with a timeline."""


class Views:
    """Looking at a session's machine changes nothing in it.

    Each method is a request by its name; ValueError and LookupError are told to whoever asked.
    """

    def __init__(self, session: Session, timeline: Timeline | None = None) -> None:
        self._session, self._timeline = session, timeline
        self._machine: Any = session.machine

    def _cpu(self, index: int) -> Cpu:
        cpu: Cpu = self._machine.cpus[index]
        return cpu

    def registers(self, index: int) -> bytes:
        """A CPU's registers as gdb's `g` packet has them."""
        return packed(self._cpu(index).registers(), self._cpu(index).x87())

    def memory(self, index: int, address: int, size: int) -> bytes:
        """Memory as a CPU sees it, up to the first page that is not there.

        Where its page tables lead nowhere, what the kernel has at this address when they are in order: a page
        directory that was overwritten is looked at, too.
        """
        parts = []
        while size > 0:
            step = min(size, 0x1000 - (address & 0xFFF))
            physical = self.physical(index, address)
            if physical is None or not self._machine.memory.is_ram(physical):
                break
            parts.append(self._bytes(physical, step))
            address, size = address + step & 0xFFFFFFFF, size - step
        return b"".join(parts)

    def _bytes(self, address: int, size: int) -> bytes:
        """Physical memory, all ones beyond its end; unlike a device's read, nobody who observes those hears of it."""
        return bytes(self._machine.memory.view[address : address + size]).ljust(size, b"\xff")

    def physical(self, index: int, address: int) -> int | None:
        """Where a linear address leads; None: nowhere."""
        physical = self._cpu(index).translate(address)
        if physical is None and address >= PAGE_OFFSET:
            physical = address - PAGE_OFFSET
            if not self._machine.memory.is_ram(physical):
                return None
        return physical

    def watchable(self, index: int, address: int, size: int) -> list[tuple[int, int]]:
        """A linear range as ranges of RAM: (physical address, bytes).  ValueError where there is none."""
        ranges = []
        while size > 0:
            step = min(size, 0x1000 - (address & 0xFFF))
            physical = self.physical(index, address)
            if physical is None or not self._machine.memory.is_ram(physical):
                raise ValueError(f"{address:#x} is not RAM")
            ranges.append((physical, step))
            address, size = address + step, size - step
        return ranges

    def ram(self) -> list[tuple[int, int]]:
        """The ranges of RAM of which the firmware tells kernels: first address, and the one after the last."""
        return [(each.base, each.base + each.size) for each in self._machine.memory.e820 if each.kind == RAM]

    def mappings(self, index: int) -> list[tuple[int, int, int, str]]:
        """What a CPU's page tables map: linear address, bytes, physical address, and rights; adjoining pages as one.

        ValueError where the tables are not those of two levels (SDM vol. 3, 4.3).
        """
        registers = self._cpu(index).registers()
        if not registers.cr0 >> 31 & 1:
            raise ValueError(f"CPU {index} does not page: its linear addresses are the physical ones")
        if registers.cr4 >> 5 & 1:
            raise ValueError(f"CPU {index} uses PAE, whose page tables cannot be shown")
        found: list[tuple[int, int, int, str]] = []
        for linear, size, entry, rights in self._pages(registers.cr3):
            begin, length, to, same = found[-1] if found else (0, 0, 0, "")
            if found and begin + length == linear and to + length == entry and same == rights:
                found[-1] = begin, length + size, to, rights
            else:
                found.append((linear, size, entry, rights))
        return found

    def _pages(self, directory: int) -> Iterator[tuple[int, int, int, str]]:
        for high, pde in enumerate(self._table(directory)):
            if pde & 0x81 == 0x81:
                yield high << 22, 1 << 22, pde & 0xFFC00000, _rights(pde)
            elif pde & 1:
                for low, pte in enumerate(self._table(pde)):
                    if pte & 1:
                        yield high << 22 | low << 12, PAGE_SIZE, pte & 0xFFFFF000, _rights(pde & pte)

    def _table(self, entry: int) -> Sequence[int]:
        address = entry & 0xFFFFF000
        if not self._machine.memory.is_ram(address):
            return ()
        return words(self._bytes(address, PAGE_SIZE))

    def loaded(self) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, Mapping[str, int]]]]:
        """What runs beside the first kernel, as ELF files: kernels, and by how much each has moved; objects, and where
        their sections are."""
        mechanism = self._session.mechanism
        return [(kernel.elf, moved) for kernel, moved in mechanism.kernels()], list(mechanism.objects())

    def now(self) -> int:
        """Virtual time, ns."""
        return self._session.now

    def cpus(self) -> list[str]:
        """What each CPU is at."""
        return [cpu.standing for cpu in self._machine.cpus]

    def where(self) -> dict[int, Registers]:
        """All CPUs' registers."""
        return {cpu.index: cpu.registers() for cpu in self._machine.cpus}

    def status(self) -> list[CpuStatus]:
        """Each CPU."""
        found = []
        for cpu, state in zip(self._machine.cpus, self.cpus(), strict=True):
            _, tss, _ = cpu.table_registers()["tr"]
            esp0 = self.memory(cpu.index, tss + _TSS_ESP0, 4) if tss else b""
            doing = () if self._timeline is None else tuple(self._timeline.doing(cpu.index))
            found.append(CpuStatus(state, cpu.registers(), int.from_bytes(esp0, "little"), doing))
        return found

    def timeline(self, since: int = 0) -> list[Span]:
        """What the timeline has from this virtual time (ns) on.  LookupError without one."""
        if self._timeline is None:
            raise LookupError("no timeline is recorded")
        return [span for span in self._timeline.spans() if span.end >= since]

    def areas(self) -> tuple[tuple[int, int] | None, list[Area]]:
        """Physical memory that the dump mechanism has taken: the reserved region, as first address and the one after
        the last, and what is where in it; nothing where what tells of it was overwritten."""
        region, mechanism = self._session.oracle.reserved, self._session.mechanism
        reserved = None if region is None else (region.start, region.end)
        try:
            return reserved, list(mechanism.areas(self._session))
        except (LookupError, ValueError, struct.error):
            return reserved, []

    def digest(self) -> str:
        """All CPUs' registers and all RAM, for comparing."""
        import hashlib

        total = hashlib.sha256(repr([astuple(cpu.registers()) for cpu in self._machine.cpus]).encode())
        for address, page in sorted(self._machine.memory.pages().items()):
            total.update(address.to_bytes(8, "little") + page)
        return total.hexdigest()

    def console(self, count: int) -> str:
        """The last lines of the serial console."""
        return "\n".join(self._session.console.text.rstrip("\n").split("\n")[-count:])

    def devices(self) -> list[str]:
        """Their names."""
        return [fitted.device.name for fitted in self._machine.devices]

    def device(self, name: str) -> str:
        """What there is to know of a device; LookupError."""
        for fitted in self._machine.devices:
            if fitted.device.name == name:
                return "\n".join(_lines(fitted.device.state()))
        raise LookupError(f"no device {name}; there are: {', '.join(self.devices())}")

    def interrupts(self) -> str:
        """What is asked for, in service and masked, in each interrupt controller."""
        lines = []
        for fitted in self._machine.devices:
            state = fitted.device.state()
            if fitted.device.name.startswith("lapic"):
                lines.append(
                    f"{fitted.device.name}: IRR {_vectors(state['irr'])}, ISR {_vectors(state['isr'])}, "
                    f"TPR {state['registers']['tpr']:#x}, SVR {state['registers']['svr']:#x}"
                )
            elif fitted.device.name == "pic":
                for half in ("master", "slave"):
                    values = state[half]
                    lines.append(f"i8259 {half}: IRR {_bits(values['irr'])}, ISR {_bits(values['isr'])}, "
                                 f"masked {_bits(values['imr'])}")  # fmt: skip
            elif fitted.device.name == "ioapic":
                lines += [f"ioapic pin {pin}: {_entry(entry)}" for pin, entry in enumerate(state["table"])]
        return "\n".join(lines)


def _rights(entry: int) -> str:
    return ("rw" if entry & 2 else "ro") + (" user" if entry & 4 else " kernel")


def _entry(entry: int) -> str:
    """A redirection table entry (82093AA, 3.2.4)."""
    modes = ("fixed", "lowest priority", "SMI", "reserved", "NMI", "INIT", "reserved", "ExtINT")
    words = [f"vector {entry & 0xFF:#x}", modes[entry >> 8 & 7]]
    words += ["logical" if entry >> 11 & 1 else "physical", f"destination {entry >> 56:#x}"]
    words += [word for bit, word in ((15, "level"), (13, "active low"), (14, "remote IRR"), (16, "masked"))
              if entry >> bit & 1]  # fmt: skip
    return ", ".join(words)


def _vectors(bits: int) -> str:
    found = [f"{vector:#x}" for vector in range(256) if bits >> vector & 1]
    return " ".join(found) or "empty"


def _bits(bits: int) -> str:
    return " ".join(str(bit) for bit in range(8) if bits >> bit & 1) or "none"


def _lines(value: Any, name: str = "", indent: int = 0) -> Iterator[str]:
    """A state as lines of text."""
    space = "  " * indent
    if isinstance(value, Mapping):
        if name:
            yield f"{space}{name}:"
        for key, each in value.items():
            yield from _lines(each, str(key), indent + bool(name))
    elif isinstance(value, (list, tuple)) and value and isinstance(value[0], (Mapping, int)) and len(value) > 2:
        yield f"{space}{name}:"
        for number, each in enumerate(value):
            yield from _lines(each, str(number), indent + 1)
    else:
        yield f"{space}{name}: {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, bytes):
        return value[:_BYTES_SHOWN].hex(" ") + (" …" if len(value) > _BYTES_SHOWN else "")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_text(each) for each in value) + "]"
    return str(value)
