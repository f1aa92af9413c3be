# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot loader: a Multiboot kernel, its command line and its modules into memory.

Follows the Multiboot Specification 0.6.96: the header (3.1) in the first 8192 bytes of the file, four-byte aligned,
whose flags, magic and checksum sum to zero; kernels in ELF32, loaded by physical address, or of any format with the
address fields of the header (flag 16); the machine state of 3.2; the information structure of 3.3 with memory sizes,
boot device, command line, modules, memory map and loader name. As QEMU does, an entry point that is a virtual address
inside a segment is translated to its physical one, a request for a video mode is granted in name only (there is
none), and a position-independent file (ET_DYN) is loaded where it says, without relocation. What of a segment falls
into the ROM, such as the page with the ELF header that ld puts before a kernel at 1 MiB, is lost as any store there.

Not modelled: ELF section headers and symbols for the kernel (info flags 4, 5), drives, APM, VBE. Modules are
page-aligned whether the kernel asks or not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kdumpsim.board.firmware import CODE_SELECTOR, DATA_SELECTOR, E820, GDT, GDT_LIMIT, HIGH_MEMORY, RAM, ROM

HEADER_MAGIC = 0x1BADB002
BOOT_MAGIC = 0x2BADB002
SEARCH = 8192
INFO_ADDRESS = 0x9000
INFO_LIMIT = 0x80000
STACK = 0x7000

LOADER_NAME = b"kdumpsim\0"
_PAGE = 4096

_ET_EXEC, _ET_DYN = 2, 3
_ADDRESS_FIELDS = 0x10000
_UNDERSTOOD = 0x0007  # of the flags a loader must understand: page alignment, memory information, video mode
_INFO_FLAGS = 0x0247  # memory sizes, boot device, command line, memory map, loader name
_INFO_MODULES = 0x0008
_BOOT_DEVICE = 0x8000FFFF  # first BIOS disk, no partition


class BootError(Exception):
    """A file that cannot be booted; the text says why, in words for the person who named the file."""


class Module(NamedTuple):
    """A boot module: its bytes and its string."""

    data: bytes
    cmdline: str = ""


@dataclass(frozen=True)
class BootState:
    """The boot CPU at the hand-over: flat 32-bit protected mode, paging off, IF clear, A20 on.

    `gdtr`, `idtr` are (base, limit): the GDT is the firmware's, in ROM, with `cs` (code) and `ds` (data, for every data
    segment register) in it; there are no interrupt gates. `esp` is scratch: a kernel sets up its own stack.
    """

    eip: int
    eax: int
    ebx: int
    esp: int = STACK
    eflags: int = 0x2
    cr0: int = 0x11
    cs: int = CODE_SELECTOR
    ds: int = DATA_SELECTOR
    gdtr: tuple[int, int] = (GDT, GDT_LIMIT)
    idtr: tuple[int, int] = (0, 0x3FF)


class BootMemory(Protocol):
    """Guest-physical memory from address 0 on."""

    @property
    def view(self) -> memoryview: ...


class Header(NamedTuple):
    """A Multiboot header: where in the file, and its fields."""

    offset: int
    flags: int
    header_addr: int = 0
    load_addr: int = 0
    load_end_addr: int = 0
    bss_end_addr: int = 0
    entry_addr: int = 0


class Segment(NamedTuple):
    """Bytes for one place in memory, and the size they take there (zeros follow)."""

    address: int
    data: memoryview
    size: int


def find_header(image: bytes) -> Header | None:
    """The first header whose checksum holds."""
    for offset in range(0, min(len(image), SEARCH) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<3I", image, offset)
        if magic == HEADER_MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            if not flags & _ADDRESS_FIELDS:
                return Header(offset, flags)
            if offset + 32 <= len(image):
                return Header(offset, flags, *struct.unpack_from("<5I", image, offset + 12))
    return None


def load(
    image: bytes,
    cmdline: str,
    modules: Sequence[Module | bytes],
    memory: BootMemory,
    e820: Sequence[E820],
) -> BootState:
    """Put everything into memory and say how the boot CPU starts. BootError leaves memory as it was."""
    entry, wanted = _kernel(image)
    segments = [left for segment in wanted if (left := _without_rom(segment)).size]
    if ROM <= entry < HIGH_MEMORY or not segments:
        raise BootError(
            f"the kernel does not fit: {ROM:#x}..{HIGH_MEMORY:#x} is ROM, and its entry point is {entry:#x}"
        )
    ram = _ram(e820)
    if sum(segment.size for segment in segments) > sum(end - begin for begin, end in ram):
        raise BootError(f"the kernel does not fit: its segments are larger than memory, which is {_describe(ram)}")
    for segment in segments:
        if not _inside(ram, segment.address, segment.size):
            raise BootError(
                f"the kernel does not fit: it wants {segment.address:#x}..{segment.address + segment.size:#x},"
                f" memory is {_describe(ram)}"
            )
    taken = [(segment.address, segment.address + segment.size) for segment in segments]
    above = max([HIGH_MEMORY, *(end for _, end in taken)])
    placed: list[tuple[int, Module]] = []
    for number, given in enumerate(modules):
        module = given if isinstance(given, Module) else Module(bytes(given))
        address = _place(ram, above, len(module.data))
        if address is None:
            raise BootError(f"module {number} ({len(module.data)} bytes) does not fit into memory {_describe(ram)}")
        placed.append((address, module))
        above = address + len(module.data)
    size = len(_info(0, cmdline, placed, e820))
    address = INFO_ADDRESS
    if address + size > INFO_LIMIT or any(begin < address + size and end > address for begin, end in taken):
        found = _place(ram, above, size)
        if found is None:
            raise BootError(f"the command line and module list do not fit into memory {_describe(ram)}")
        address = found
    view = memory.view
    for segment in segments:
        end = segment.address + len(segment.data)
        view[segment.address : end] = segment.data
        view[end : segment.address + segment.size] = bytes(segment.size - len(segment.data))
    for at, module in placed:
        view[at : at + len(module.data)] = module.data
    view[address : address + size] = _info(address, cmdline, placed, e820)
    return BootState(eip=entry, eax=BOOT_MAGIC, ebx=address)


def _kernel(image: bytes) -> tuple[int, list[Segment]]:
    """Entry point and segments of a kernel file."""
    if not image:
        raise BootError("the file is empty")
    header = find_header(image)
    if header is None:
        if image[:4] == b"\x7fELF":
            _check_elf(image)
            raise BootError("this ELF file has no Multiboot header in its first 8 KiB")
        raise BootError("not a kernel: neither an ELF file nor one with a Multiboot header in its first 8 KiB")
    unknown = header.flags & 0xFFFF & ~_UNDERSTOOD
    if unknown:
        raise BootError(f"the Multiboot header asks for features {unknown:#x}, which this loader does not have")
    if header.flags & _ADDRESS_FIELDS:
        return header.entry_addr, [_address_fields(image, header)]
    if image[:4] != b"\x7fELF":
        raise BootError("the Multiboot kernel is not an ELF file, and its header gives no load addresses")
    _check_elf(image)
    return _elf(image)


def _without_rom(segment: Segment) -> Segment:
    """What of a segment that begins in the ROM lies above it; any other segment as it is."""
    if not ROM <= segment.address < HIGH_MEMORY:
        return segment
    lost = min(HIGH_MEMORY - segment.address, segment.size)
    return Segment(segment.address + lost, segment.data[lost:], segment.size - lost)


def _address_fields(image: bytes, header: Header) -> Segment:
    start = header.offset - (header.header_addr - header.load_addr)
    end = len(image) if not header.load_end_addr else start + header.load_end_addr - header.load_addr
    if header.header_addr < header.load_addr or start < 0 or not start < end <= len(image):
        raise BootError("the Multiboot header's load addresses do not fit the file")
    size = end - start
    if header.bss_end_addr:
        if header.bss_end_addr < header.load_addr + size:
            raise BootError("the Multiboot header's bss ends before the loaded bytes do")
        size = header.bss_end_addr - header.load_addr
    return Segment(header.load_addr, memoryview(image)[start:end], size)


def _check_elf(image: bytes) -> None:
    if len(image) < 52:
        raise BootError("the ELF header is cut off")
    if image[4] == 2:
        raise BootError("a 64-bit ELF file: Multiboot kernels are ELF32 for the i386")
    machine = int.from_bytes(image[18:20], "little")
    if image[4] != 1 or image[5] != 1 or machine != 3:
        raise BootError(f"not an ELF file for the i386 (class {image[4]}, data {image[5]}, machine {machine})")


def _elf(image: bytes) -> tuple[int, list[Segment]]:
    kind, entry, table, entry_size, count = struct.unpack_from("<H6xII10xHH", image, 16)
    if kind not in (_ET_EXEC, _ET_DYN):
        raise BootError("the ELF file is not an executable (is it an object file that was not linked?)")
    if entry_size < 32 or table + entry_size * count > len(image):
        raise BootError("the ELF file's program headers are cut off")
    segments = []
    physical = entry
    for number in range(count):
        p_type, offset, vaddr, paddr, filesz, memsz, _flags, _align = struct.unpack_from(
            "<8I", image, table + number * entry_size
        )
        if p_type != 1 or not memsz:
            continue
        if offset + filesz > len(image) or filesz > memsz:
            raise BootError(f"segment {number} of the ELF file is cut off")
        segments.append(Segment(paddr, memoryview(image)[offset : offset + filesz], memsz))
        if vaddr <= entry < vaddr + memsz:
            physical = entry - vaddr + paddr
    if not segments:
        raise BootError("the ELF file has nothing to load")
    return physical, segments


def _ram(e820: Sequence[E820]) -> list[tuple[int, int]]:
    """RAM as (begin, end), adjacent ranges joined."""
    ranges: list[tuple[int, int]] = []
    for base, size, _ in sorted(entry for entry in e820 if entry.kind == RAM):
        if ranges and ranges[-1][1] == base:
            ranges[-1] = (ranges[-1][0], base + size)
        else:
            ranges.append((base, base + size))
    return ranges


def _inside(ram: Sequence[tuple[int, int]], address: int, size: int) -> bool:
    return any(begin <= address and address + size <= end for begin, end in ram)


def _place(ram: Sequence[tuple[int, int]], above: int, size: int) -> int | None:
    """The first page-aligned room at or over `above`."""
    for begin, end in ram:
        address = (max(begin, above) + _PAGE - 1) // _PAGE * _PAGE
        if address + size <= end:
            return address
    return None


def _describe(ram: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{begin:#x}..{end:#x}" for begin, end in ram)


def _info(address: int, cmdline: str, modules: Sequence[tuple[int, Module]], e820: Sequence[E820]) -> bytes:
    """The information structure with everything it points to (but for the modules' bytes), as it lies at `address`."""
    tail = bytearray()
    start = address + 88

    def add(data: bytes) -> int:
        at = start + len(tail)
        tail.extend(data)
        return at

    mods = b""
    for at, module in modules:
        mods += struct.pack("<4I", at, at + len(module.data), add(module.cmdline.encode() + b"\0"), 0)
    command = add(cmdline.encode() + b"\0")
    name = add(LOADER_NAME)
    tail.extend(bytes(-len(tail) % 8))
    mods_addr = add(mods)
    memory_map = b"".join(struct.pack("<IQQI", 20, *entry) for entry in e820)
    map_addr = add(memory_map)
    ram = _ram(e820)
    lower = min(next((end for begin, end in ram if begin == 0), 0), 0xA0000) // 1024
    upper = next((end - begin for begin, end in ram if begin == HIGH_MEMORY), 0) // 1024
    fields = struct.pack(
        "<7I16x2I12xI20x",
        _INFO_FLAGS | (_INFO_MODULES if modules else 0),
        lower,
        upper,
        _BOOT_DEVICE,
        command,
        len(modules),
        mods_addr if modules else 0,
        len(memory_map),
        map_addr,
        name,
    )
    return fields + bytes(tail)
