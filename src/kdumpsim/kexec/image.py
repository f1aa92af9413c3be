# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel file: checks, and what of it goes where in physical memory."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from kdumpsim.agent.segments import FileData
from kdumpsim.target import ELF_CLASSES, LOAD_LIMIT, PAGE_SIZE, TARGET

from .errors import KexecError
from .segments import Range, Segment, page_down, page_up

_ET_EXEC, _ET_DYN, _PT_LOAD = 2, 3, 1
_MACHINES = {2: "SPARC", 3: "i386", 8: "MIPS", 20: "PowerPC", 40: "Arm", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
_KINDS = {1: "relocatable object", 2: "executable", 3: "shared object", 4: "core file"}


MAX_CONTENTS = 256 << 20
"""Bytes of one segment's contents; a kernel has no such bss before its data, a damaged file may."""


@dataclass(frozen=True, slots=True)
class ProgramSegment:
    """One PT_LOAD."""

    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class KernelImage:
    """A vmlinux that passed the checks."""

    name: str
    data: bytes
    entry: int
    """Physical address."""
    loads: tuple[ProgramSegment, ...]
    """In order of physical address, without overlaps."""
    relocatable: bool = False
    """It moves itself to where it is loaded (ET_DYN)."""

    @property
    def extent(self) -> Range:
        """From the first to the last physical address it takes, in whole pages."""
        return Range(page_down(self.loads[0].paddr), page_up(max(p.paddr + p.memsz for p in self.loads)))

    def check_inside(self, region: Range) -> None:
        """KexecError unless all of it lies in the reserved region."""
        if self.extent not in region:
            raise KexecError(
                f"{self.name} is linked to run at {self.extent}, outside the reserved region {region}: "
                f"a capture kernel must be linked inside crashkernel={region.size >> 20}M@{region.start >> 20}M"
            )

    def placed(self, free: Sequence[Range]) -> KernelImage:
        """A relocatable kernel at the lowest place in `free` that its segments' alignment allows, as kexec-tools do
        with ET_DYN; any other where it is linked.  KexecError if there is no such place."""
        if not self.relocatable:
            return self
        extent, align = self.extent, max(part.align for part in self.loads)
        for part in sorted(free):
            moved = -(-(part.start - extent.start) // align) * align
            if Range(extent.start + moved, extent.end + moved) in part:
                loads = [replace(load, vaddr=load.vaddr + moved, paddr=load.paddr + moved) for load in self.loads]
                return replace(self, entry=self.entry + moved, loads=tuple(loads))
        largest = max((part.size for part in free), default=0)
        raise KexecError(
            f"no room for {self.name}: {extent.size >> 10} KiB in one piece, the largest free piece has "
            f"{largest >> 10} KiB"
        )

    def segments(self, guest_path: str | None = None) -> list[Segment]:
        """Page-aligned segments; parts that share a page become one.

        With `guest_path` the contents come from that file in the guest where that is possible.
        """
        groups: list[list[ProgramSegment]] = []
        for part in self.loads:
            if groups and page_down(part.paddr) < page_up(groups[-1][-1].paddr + groups[-1][-1].memsz):
                groups[-1].append(part)
            else:
                groups.append([part])
        return [self._segment(group, guest_path) for group in groups]

    def _segment(self, group: list[ProgramSegment], guest_path: str | None) -> Segment:
        start = page_down(group[0].paddr)
        memsz = page_up(group[-1].paddr + group[-1].memsz) - start
        if len(group) == 1 and start == group[0].paddr and guest_path is not None and group[0].filesz:
            return Segment("kernel", start, memsz, FileData(guest_path, group[0].offset, group[0].filesz))
        before = group[-1].paddr - start
        if before > MAX_CONTENTS:
            raise KexecError(
                f"{self.name}: {before >> 20} MiB before its segment at {group[-1].paddr:#x}, in one piece with it; "
                f"allowed are {MAX_CONTENTS >> 20} MiB"
            )
        data = bytearray()
        for part in group:
            if part.filesz:
                data += bytes(part.paddr - start - len(data))
                data += self.data[part.offset : part.offset + part.filesz]
        return Segment("kernel", start, memsz, bytes(data))

    def contents(self, segment: Segment) -> bytes:
        """What `segment` puts into memory, wherever it comes from."""
        if isinstance(segment.data, FileData):
            return self.data[segment.data.offset : segment.data.offset + segment.data.size]
        return segment.data


def load_image(data: bytes, name: str = "kernel") -> KernelImage:
    """Check that `data` is an ELF executable for the target, or one that may be moved, and find its parts; KexecError
    says what it is instead."""
    wanted = f"a {TARGET.elf.bits}-bit ELF executable for {TARGET.name}"
    if data[:4] != b"\x7fELF":
        hint = " (a bzImage cannot be used, give the vmlinux)" if data[0x202:0x206] == b"HdrS" else ""
        raise KexecError(f"{name}: not an ELF file{hint}; allowed is {wanted}")
    if len(data) < 20:
        raise KexecError(f"{name}: the ELF header is cut off")
    bits, order = data[4], data[5]
    if order != 1:
        raise KexecError(f"{name}: a big-endian ELF file; allowed is {wanted}")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if bits != TARGET.elf.number or machine != TARGET.machine:
        width = ELF_CLASSES[bits].bits if bits in ELF_CLASSES else "?"
        what = _MACHINES.get(machine, f"machine {machine}")
        raise KexecError(f"{name}: a {width}-bit ELF file for {what}; allowed is {wanted}")
    if kind not in (_ET_EXEC, _ET_DYN):
        what = _KINDS.get(kind, f"file of type {kind}")
        raise KexecError(f"{name}: an ELF {what}; allowed is {wanted}")
    form = TARGET.elf
    if len(data) < form.ehdr.size:
        raise KexecError(f"{name}: the ELF header is cut off")
    fields = form.ehdr.unpack_from(data)
    entry, phoff, phentsize, phnum = fields[4], fields[5], fields[9], fields[10]
    if phnum and (phentsize != form.phdr_size or phoff + phnum * form.phdr_size > len(data)):
        raise KexecError(f"{name}: the program headers lie outside the file")
    loads: list[ProgramSegment] = []
    for index in range(phnum):
        part = form.unpack_phdr(data, phoff + index * form.phdr_size)
        if part.type != _PT_LOAD or not part.memsz:
            continue
        if part.filesz > part.memsz or part.offset + part.filesz > len(data) or part.paddr + part.memsz > LOAD_LIMIT:
            raise KexecError(f"{name}: program header {index} lies outside the file or beyond {LOAD_LIMIT >> 30} GiB")
        loads.append(
            ProgramSegment(part.offset, part.vaddr, part.paddr, part.filesz, part.memsz, max(part.align, PAGE_SIZE))
        )
    if not loads:
        raise KexecError(f"{name}: has no loadable segment")
    loads.sort(key=lambda part: part.paddr)
    for low, high in pairwise(loads):
        if low.paddr + low.memsz > high.paddr:
            raise KexecError(f"{name}: segments at {low.paddr:#x} and {high.paddr:#x} overlap")
    return KernelImage(name, data, _physical_entry(entry, loads, name), tuple(loads), kind == _ET_DYN)


def _physical_entry(entry: int, loads: list[ProgramSegment], name: str) -> int:
    for part in loads:
        if part.paddr <= entry < part.paddr + part.memsz:
            return entry
    for part in loads:
        if part.vaddr <= entry < part.vaddr + part.memsz:
            return entry - part.vaddr + part.paddr
    raise KexecError(f"{name}: its entry point {entry:#x} lies in none of its segments")
