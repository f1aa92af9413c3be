# SPDX-License-Identifier: GPL-2.0-or-later
"""One dump into another format, whole or with what real dumps suffer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import BinaryIO

from kdumpsim.target import MACHINES, TARGET
from kdumpsim.vmcore.dump import Dump
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.pagekinds import left_out
from kdumpsim.vmcore.reader import NT_PRSTATUS, Load, Note, vmcoreinfo_of
from kdumpsim.vmcore.values import KernelMemory, NotThere

from .compressors import COMPRESSIONS
from .elf import write_elf
from .flattened import Flattened
from .makedumpfile import Uts, write_compressed
from .raw import write_raw

ELF, FLATTENED, RAW = "elf", "flattened", "raw"
COMPRESSED = "kdump-"
FORMATS = (ELF, *(COMPRESSED + name for name in COMPRESSIONS), FLATTENED, RAW)
TRUNCATED = (3, 4)
"""How much of a truncated file is left: three quarters."""

_UTS_NAMES = ("system_utsname", "init_uts_ns")
_UTS_FIELDS = ("sysname", "nodename", "release", "version", "machine", "domainname")
_MACHINES = {"EM_386": "i686", "EM_X86_64": "x86_64"}


@dataclass(frozen=True)
class Suffering:
    """What is to happen to a dump on the way."""

    level: int = 0
    """makedumpfile's dump level, 0 to 31: which pages are left out (`vmcore.pagekinds`)."""
    drop_notes: bool = False
    """All notes are lost: registers, VMCOREINFO."""
    drop_cpus: Collection[int] = field(default=())
    """The registers of these CPUs are lost, and those after them move up."""
    incomplete: bool = False
    """The disk was full half-way, and the file's header says so."""
    truncate: bool = False
    """The file was cut off afterwards: it lacks its last quarter, and nothing says so."""


class _WithNotes:
    """A dump with other notes."""

    def __init__(self, dump: Dump, notes: tuple[Note, ...]) -> None:
        self._dump = dump
        self.machine, self.bits, self.abi = dump.machine, dump.bits, dump.abi
        self.loads, self.notes = dump.loads, notes

    def slice(self, load: Load, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a load."""
        return self._dump.slice(load, start, end)


def convert(dump: Dump, file: BinaryIO, form: str, suffering: Suffering, layout: Layout | None = None) -> None:
    """Write `dump` to an empty `file` as one of FORMATS.

    `layout` is of the kernel's file, where there is one.  ValueError for what cannot be together, CompressorMissing,
    NotThere if the dump does not tell what pages are for.
    """
    check(form, suffering)
    info = vmcoreinfo_of(dump.notes) or {}
    left = left_out(suffering.level, dump, layout, info)
    uts = _uts(dump, layout, info)
    dump = _WithNotes(dump, _notes_left(dump, suffering))
    if form == ELF:
        write_elf(dump, file, left_out=left.__contains__ if suffering.level else None, incomplete=suffering.incomplete)
    elif form == RAW:
        write_raw(dump, file, left_out=left.__contains__ if left else None)
    else:
        flattened = Flattened(file) if form == FLATTENED else None
        compression = COMPRESSIONS["zlib" if form == FLATTENED else form.removeprefix(COMPRESSED)]
        if suffering.level & 1:  # pages of zeros are left out by sharing one
            left = left_out(suffering.level & ~1, dump, layout, info)
        write_compressed(
            dump, flattened or file, compression,
            uts=uts, level=suffering.level, left_out=left.__contains__, incomplete=suffering.incomplete,
        )  # fmt: skip
        if flattened is not None:
            flattened.close()
    if suffering.truncate:
        part, whole = TRUNCATED
        file.truncate(file.seek(0, 2) * part // whole)


def check(form: str, suffering: Suffering) -> None:
    """ValueError for a format that cannot suffer that, CompressorMissing."""
    if form.startswith(COMPRESSED):
        COMPRESSIONS[form.removeprefix(COMPRESSED)].compressor()
    if form == RAW and suffering.incomplete:
        raise ValueError("raw memory has no header that could say it is incomplete; truncate it")


def _notes_left(dump: Dump, suffering: Suffering) -> tuple[Note, ...]:
    if suffering.drop_notes:
        return ()
    notes, cpu = [], 0
    for note in dump.notes:
        registers = note.owner == "CORE" and note.kind == NT_PRSTATUS
        if not registers or cpu not in suffering.drop_cpus:
            notes.append(note)
        cpu += registers
    if missing := [number for number in suffering.drop_cpus if not 0 <= number < cpu]:
        raise ValueError(f"the dump has no registers of CPU {missing[0]} to drop: it has notes of {cpu} CPUs")
    return tuple(notes)


def _uts(dump: Dump, layout: Layout | None, info: dict[str, str]) -> Uts:
    """The kernel's own, if it has them; what readers go by is the machine."""
    machine = _MACHINES.get(dump.machine, dump.machine)
    uts: Uts = ("Linux", "(none)", info.get("OSRELEASE", "0.0.0"), "(unknown)", machine, "(none)")
    if layout is None or dump.machine != MACHINES[TARGET.machine]:
        return uts
    memory = KernelMemory(dump, layout)
    try:
        value = next(memory[name] for name in _UTS_NAMES if name in memory)
        names = value["name"] if value.shape.members.keys() >= {"name"} else value
        sysname, nodename, release, version, machine, domain = (names[name].text for name in _UTS_FIELDS)
    except (StopIteration, NotThere):
        return uts
    return sysname, nodename, release, version, machine, domain
