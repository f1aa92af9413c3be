# SPDX-License-Identifier: GPL-2.0-or-later
"""What kexec_load has put into the reserved region, read out of the machine's memory (kdump paper, figures 1 and 3).

The running kernel's ``struct kimage`` has the segments, without names. What one is, what is in it tells: a kernel's lie
where it is linked; purgatory has the entry; an ELF core file's header begins with its magic; and a PT_LOAD whose
offset is not its physical address points to the backup region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdumpsim.images import KernelImage
from kdumpsim.kexec.elfcorehdr import BACKUP_SOURCE
from kdumpsim.mechanisms.base import Area, DumpHeader
from kdumpsim.target import ELF_CLASSES, PAGE_SIZE, TARGET, ProgramHeader, StructLayout, physical

CAPTURE, PURGATORY, HEADERS, BACKUP, PARAMETERS = (
    "capture kernel", "purgatory", "ELF core headers", "backup region", "boot parameters",
)  # fmt: skip
MAX_SEGMENTS = 16
"""KEXEC_SEGMENT_MAX."""
MAX_HEADERS = 256
SEGMENT = StructLayout("kexec_segment", dict.fromkeys(("buf", "bufsz", "mem", "memsz"), "word"))
IMAGE = StructLayout(
    "kimage",
    dict.fromkeys(("head", "entry", "last_entry", "start", "control_code_page"), "word")
    | dict.fromkeys(("type", "nr_segments"), "u32"),
)
"""Its beginning; the segments follow."""
IMAGE_POINTERS = ("kexec_crash_image", "crash_image")
"""The variables that lead to it: before the crash, and once the crashing CPU has taken it."""
SECTIONS = (("_text", "_etext", "text"), ("_etext", "_sdata", "read-only data"), ("_sdata", "_edata", "data and bss"))
_ET_CORE, _PT_LOAD = 4, 1


def word_at(memory: memoryview, address: int) -> int:
    """A word of physical memory."""
    return int.from_bytes(memory[address : address + TARGET.word], "little")


def core_headers_at(memory: memoryview, address: int) -> tuple[int, list[ProgramHeader]]:
    """Bytes of the headers of an ELF core file that begins at an address, and its program headers; (0, []) if there
    are none."""
    form = ELF_CLASSES.get(memory[address + 4]) if bytes(memory[address : address + 4]) == b"\x7fELF" else None
    if form is None:
        return 0, []
    _, kind, _, _, _, table, _, _, _, _, count, *_ = form.ehdr.unpack_from(memory, address)
    size = table + count * form.phdr_size
    if kind != _ET_CORE or count > MAX_HEADERS or address + size > len(memory):
        return 0, []
    data = bytes(memory[address + table : address + size])
    return size, [form.unpack_phdr(data, at) for at in range(0, len(data), form.phdr_size)]


class Loaded:
    """A crash image in the memory of a machine whose first kernel has these symbols.

    `parameters` is where purgatory keeps the address of the boot parameters; `capture` and `moved` are the capture
    kernel and by how much it lies away from where it is linked.
    """

    def __init__(
        self, memory: memoryview, symbols: Mapping[str, int], capture: KernelImage, moved: int, parameters: int
    ) -> None:
        self._memory, self._capture, self._moved = memory, capture, moved
        self._parameters = word_at(memory, parameters)
        self.start, self.segments = self._read(symbols)
        """Where the crashing kernel jumps to, and (start, end) of each segment, in order of address."""

    def _read(self, symbols: Mapping[str, int]) -> tuple[int, list[tuple[int, int]]]:
        for name in IMAGE_POINTERS:
            at = physical(word_at(self._memory, physical(symbols[name])))
            if 0 < at < len(self._memory) - IMAGE.form.size - MAX_SEGMENTS * SEGMENT.form.size:
                image = next(IMAGE.entries(bytes(self._memory[at : at + IMAGE.form.size])))
                first = at + IMAGE.form.size
                size = min(image["nr_segments"], MAX_SEGMENTS) * SEGMENT.form.size
                found = SEGMENT.entries(bytes(self._memory[first : first + size]))
                return image["start"], sorted((each["mem"], each["mem"] + each["memsz"]) for each in found)
        return 0, []

    def areas(self) -> list[Area]:
        """The segments, with names."""
        backups = {header.offset for header in self.headers() if header.moved}
        return [Area(*self._named(start, end, backups), start, end) for start, end in self.segments]

    def _named(self, start: int, end: int, backups: set[int]) -> tuple[str, str, str]:
        linked = start - self._moved
        if self._capture.base <= linked < self._capture.physical_end:
            return CAPTURE, self._section(linked), "kernel"
        if start <= self.start < end:
            return PURGATORY, f"entry at {self.start:#x}", "data"
        if start in backups:
            return BACKUP, f"for {BACKUP_SOURCE}", "copy"
        if start <= self._parameters < end:
            return PARAMETERS, "with the command line", "data"
        if core_headers_at(self._memory, start)[0]:
            return HEADERS, f"{len(self.headers())} program headers", "data"
        return "segment", "its contents tell nothing", "data"

    def _section(self, address: int) -> str:
        symbols = self._capture.symbols
        for first, after, name in SECTIONS:
            if physical(symbols[first]) & -PAGE_SIZE <= address < physical(symbols[after]):
                return name
        return "bss"

    def headers(self) -> Sequence[DumpHeader]:
        """The program headers that were prepared for the dump."""
        for start, _ in self.segments:
            _, found = core_headers_at(self._memory, start)
            if found:
                return [DumpHeader("PT_LOAD" if each.type == _PT_LOAD else "PT_NOTE", each.paddr, each.offset,
                                   each.filesz) for each in found]  # fmt: skip
        return []
