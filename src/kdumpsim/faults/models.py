# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault models: what each does to a machine between two instructions, and how its target is drawn.

Each model is a class whose instance is one fault, its target read from the text that `scenario.strikes` describes.
A docstring names the experiment that the model is taken from; docs/faults.md lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdumpsim.board.jitter import Jitter
from kdumpsim.faults.draw import Draw
from kdumpsim.faults.survey import Sample, Survey, busy_in_kernel
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import GENERAL_REGISTERS, PAGE_OFFSET, PAGE_SIZE, SEGMENTS, TARGET, hex_address, physical, virtual

if TYPE_CHECKING:
    from kdumpsim.images import KernelImage
    from kdumpsim.machines.pc import Striking

ALLOCATORS = {"slab": "failslab", "page": "fail_page_alloc"}
"""The kernel's counters of allocations that are to fail."""
MOST_FAILURES = 8
DRIVES = {
    "hda": ("ide0", 0), "hdb": ("ide0", 1), "hdc": ("ide1", 0), "hdd": ("ide1", 1),
    "sda": ("sata0", 0), "sdb": ("sata1", 0),
}  # fmt: skip
"""Channel and number of each drive."""
DMA_BYTES = 512
"""A sector."""
SYSTEM_ERRORS = {"memory": "ecc", "pci": "parity"}
"""What is found wrong, by where."""
REGISTERS = tuple(name for name in GENERAL_REGISTERS if name not in SEGMENTS)


@dataclass(frozen=True)
class Place:
    """What a fault is drawn from."""

    survey: Survey
    kernel: KernelImage
    memory: int
    """Bytes of RAM."""
    sample: Sample
    """The instant at which it will strike, and a CPU that is busy in the kernel then."""
    system_drive: str = "hda"


class Model(ABC):
    """A fault of a model."""

    name: ClassVar[str]
    """As in `scenario.strikes.FAULTS`."""
    instruction: int | None = None
    """Linear address of the instruction that was changed, for a fault that does nothing until it runs."""
    pages: frozenset[int] = frozenset()
    """Physical addresses of the pages that hold the fault itself."""

    @classmethod
    @abstractmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """A target where `target` is a word for one; ScenarioError where there is none to be had."""

    @abstractmethod
    def __init__(self, target: str, kernel: KernelImage) -> None:
        """The fault with a target that was drawn."""

    @abstractmethod
    def strike(self, machine: Striking) -> str | None:
        """Do it; what was done, in a few words, or None where there is nothing to be struck."""


def _changed(machine: Striking, address: int, data: bytes) -> str:
    """Change memory at a physical address, as whatever is not a CPU does it; what was there and is there now."""
    before = bytes(machine.memory.view[address : address + len(data)])
    machine.memory.dma_write(address, data)
    return f"{before.hex(' ')} became {data.hex(' ')}"


def _in_ram(machine: Striking, address: int, size: int) -> bool:
    return address >= 0 and all(machine.memory.is_ram(at) for at in (address, address + size - 1))


class _BitInMemory(Model):
    """A bit of memory: ADDRESS.BIT, a linear address in the kernel's map of RAM."""

    def __init__(self, target: str, kernel: KernelImage) -> None:
        address, bit = target.split(".")
        self._address, self._bit = int(address, 16) + int(bit) // 8, int(bit) % 8
        self.pages = frozenset({physical(self._address) & -PAGE_SIZE})

    def strike(self, machine: Striking) -> str | None:
        """Flip it."""
        at = physical(self._address)
        if not _in_ram(machine, at, 1):
            return None
        return _changed(machine, at, bytes([machine.memory.view[at] ^ 1 << self._bit]))


class StackFault(_BitInMemory):
    """A bit of the live stack: between the stack pointer of a CPU that is busy in the kernel and its stack's end.

    Gu, Kalbarczyk, Iyer: Error Sensitivity of the Linux Kernel Executing on PowerPC G4 and Pentium 4 Processors (DSN
    2004): stack errors.
    """

    name = "stack"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """Uniform over the bits in use."""
        stack, size = place.sample.stack, place.kernel.stack_size
        return _bit(draw, stack, (stack | size - 1) + 1 - stack)


class DataFault(_BitInMemory):
    """A bit of the kernel's data and bss.

    Gu, Kalbarczyk, Iyer (DSN 2004): data errors.  `touched`: of a word that the load writes, since most of all data is
    never looked at again.
    """

    name = "data"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """Uniform over the words that were written, or over all of it."""
        if target == "touched":
            return _bit(draw, draw.of(_some(place.survey.touched, "data that is written")), TARGET.word)
        start, end = (place.kernel.symbols[name] for name in ("_sdata", "_end"))
        return _bit(draw, start, end - start)


class HeapFault(_BitInMemory):
    """A bit of memory that the page allocator gave away: page cache, slabs, stacks, page tables, processes.

    Ng, Chen: The Design and Verification of the Rio File Cache (IEEE Transactions on Computers 50:4, 2001): bit flips
    in the kernel's heap.
    """

    name = "heap"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """Uniform over the pages that hold anything."""
        return _bit(draw, virtual(draw.of(_some(place.survey.used, "memory in use"))), PAGE_SIZE)


class RegisterFault(Model):
    """A bit of a register, EIP and EFLAGS included, in a CPU that is busy in the kernel: CPU.REGISTER.BIT.

    Gu, Kalbarczyk, Iyer (DSN 2004): system register errors; Rebaudengo and others: single-event upsets in registers.
    """

    name = "register"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """Uniform over the registers' bits."""
        return f"{place.sample.cpu}.{draw.of(REGISTERS)}.{draw.below(8 * TARGET.word)}"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        cpu, self._register, bit = target.split(".")
        self._cpu, self._bit = int(cpu), int(bit)

    def strike(self, machine: Striking) -> str | None:
        """Flip it."""
        if self._cpu >= len(machine.cpus) or self._bit >= 8 * TARGET.word:
            return None
        cpu = machine.cpus[self._cpu]
        if not busy_in_kernel(cpu):
            return None
        before = int(getattr(cpu.registers(), self._register))
        after = before ^ 1 << self._bit
        cpu.set_registers(**{self._register: after})
        return f"{self._register} {hex_address(before)} became {hex_address(after)}"


class StoreFault(Model):
    """A wild store: a word anywhere in RAM gets another value: ADDRESS=VALUE, linear.

    Ng, Chen (2001): a pointer that is wrong, or a copy that overruns, seen from where it writes to.
    """

    name = "store"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """Uniform over the words of RAM and over the values."""
        address = PAGE_OFFSET + draw.below(place.memory // TARGET.word) * TARGET.word
        return f"{address:#x}={draw.below(1 << 8 * TARGET.word):#x}"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        address, value = (int(word, 16) for word in target.split("="))
        self._address, self._data = physical(address), value.to_bytes(TARGET.word, "little")
        self.pages = frozenset({self._address & -PAGE_SIZE, self._address + TARGET.word - 1 & -PAGE_SIZE})

    def strike(self, machine: Striking) -> str | None:
        """Store it."""
        if not _in_ram(machine, self._address, TARGET.word):
            return None
        return _changed(machine, self._address, self._data)


class DmaFault(Model):
    """A device writes a sector to the wrong place: ADDRESS+BYTES, physical; what it writes follows from the address.

    Kadav, Renzelmann, Swift: Tolerating Hardware Device Failures in Software (SOSP 2009), and LKDTT paper, section 1.1:
    DMA that is under way.
    """

    name = "dma"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """Uniform over the sectors of RAM."""
        return f"{draw.below(place.memory // DMA_BYTES) * DMA_BYTES:#x}+{DMA_BYTES}"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        address, size = target.split("+")
        self._address, self._size = int(address, 16), int(size)
        last = self._address + max(self._size, 1) - 1
        self.pages = frozenset(range(self._address & -PAGE_SIZE, last + 1, PAGE_SIZE))

    def strike(self, machine: Striking) -> str | None:
        """Write it, as a bus master does: what is no RAM ignores it."""
        stream = Jitter(self._address)
        data = b"".join(stream.draw().to_bytes(8, "little") for _ in range(-(-self._size // 8)))[: self._size]
        machine.memory.dma_write(self._address, data)
        return f"{self._size} bytes were written at {self._address:#x}"


def _counted(target: str) -> tuple[str, int]:
    """NAME.COUNT of a target."""
    name, count = target.split(".")
    return name, int(count)


class AllocationFault(Model):
    """Allocations fail: ALLOCATOR.COUNT, objects (slab) or pages.

    Linux's failslab and fail_page_alloc (Documentation/fault-injection, since 2.6.20): a counter of the kernel is set.
    """

    name = "allocation"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """One to eight of them."""
        return f"{target}.{1 + draw.below(MOST_FAILURES)}"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        allocator, self._count = _counted(target)
        self._address = physical(kernel.symbols[ALLOCATORS[allocator]])
        self.pages = frozenset({self._address & -PAGE_SIZE})

    def strike(self, machine: Striking) -> str | None:
        """Set the counter."""
        return _changed(machine, self._address, self._count.to_bytes(4, "little"))


class DiskFault(Model):
    """Transfers fail: DRIVE.COUNT; the drive says that the sector is uncorrectable (ATA/ATAPI-6, UNC).

    Prabhakaran and others: IRON File Systems (SOSP 2005); Linux's fail_make_request.
    """

    name = "disk"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """One to eight of them: drivers try again."""
        return f"{place.system_drive}.{1 + draw.below(MOST_FAILURES)}"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        self._drive, self._count = _counted(target)

    def strike(self, machine: Striking) -> str | None:
        """From now on."""
        channel, number = DRIVES[self._drive]
        drive = machine.channels[channel].drives[number] if channel in machine.channels else None
        if drive is None or drive.disk is None:
            return None
        drive.bad_transfers = self._count
        return f"the next {self._count} transfers of {self._drive} fail"


class MachineCheck(Model):
    """A machine check on a CPU that is busy in the kernel: the hardware found an error that it cannot correct.

    SDM vol. 3A, 6.15 (interrupt 18) and 15.3: without CR4.MCE, which kernel option mce sets, the CPU shuts down.
    """

    name = "mce"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """The CPU that is busy at that instant."""
        return str(place.sample.cpu)

    def __init__(self, target: str, kernel: KernelImage) -> None:
        self._cpu = int(target)

    def strike(self, machine: Striking) -> str | None:
        """Deliver it."""
        if self._cpu >= len(machine.cpus) or not busy_in_kernel(machine.cpus[self._cpu]):
            return None
        taken = machine.machine_check(self._cpu)
        return f"CPU {self._cpu} took a machine check" if taken else f"CPU {self._cpu} shut down at a machine check"


class SystemError(Model):
    """The host bridge finds an error that nobody can correct, of memory (ECC) or of the PCI bus (parity), and says so.

    PCI 2.1, 3.8: SERR#, which a PC's board turns into an NMI (port 0x61).
    """

    name = "serr"

    @classmethod
    def draw(cls, target: str, place: Place, draw: Draw) -> str:
        """There is nothing to draw but the instant."""
        return f"{target}.{SYSTEM_ERRORS[target]}"

    def __init__(self, target: str, kernel: KernelImage) -> None:
        self._source = target.split(".")[0]

    def strike(self, machine: Striking) -> str | None:
        """Assert it."""
        raised = machine.system_error(parity=self._source == "pci")
        return f"SERR# was asserted: {SYSTEM_ERRORS[self._source]}, {self._source}" if raised else None


def _bit(draw: Draw, start: int, size: int) -> str:
    """A bit of some bytes."""
    bit = draw.below(8 * size)
    return f"{start + bit // 8:#x}.{bit % 8}"


def _some(items: list[int], what: str) -> list[int]:
    if not items:
        raise ScenarioError(f"there is no {what} while this load runs: choose another fault, or another load")
    return items
