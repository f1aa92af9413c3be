# SPDX-License-Identifier: GPL-2.0-or-later
"""Building a load: kernel, boot parameters, purgatory, ELF core headers and backup region, each at its place.

Planning is pure (:func:`plan_panic`, :func:`plan_normal`); :func:`kexec_load_panic` and :func:`kexec_load_normal` ask
the guest for what a plan needs, through its agent, and hand the segments to its kexec_load.

Within the reserved region (kdump paper, Figures 1 and 3) the kernel lies where it is linked, or as low as it can if it
is relocatable; everything else is placed
from the top down, what the capture kernel must not touch first, so that its own memory is one piece.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdumpsim.agent.client import AgentClient, KexecFlags
from kdumpsim.agent.errors import AgentError
from kdumpsim.target import CRASH_NOTES_BYTES, ELF32, LOAD_LIMIT, PAGE_SIZE

from .bootparams import LOADER_MAGIC, multiboot_info
from .cmdline import CAPTURE_DEFAULTS, capture_command_line, checked
from .elfcorehdr import BACKUP_SOURCE, core_headers
from .errors import KexecError
from .image import KernelImage, load_image
from .iomem import MemoryLayout, RangeType, memory_layout
from .purgatory import Purgatory, purgatory_size
from .segments import KEXEC_SEGMENT_MAX, Range, Room, Segment, page_down, page_up, subtract

LOW_MEMORY_END = 1 << 20
KEXEC_LOADED = "/sys/kernel/kexec_loaded"
CAPTURE_LOADED = "/sys/kernel/kexec_crash_loaded"
"""Whether there is a kernel for kexec -e, and one for a crash."""
VMCOREINFO = "/sys/kernel/vmcoreinfo"
CRASH_NOTES = "/sys/devices/system/cpu/cpu{}/crash_notes"
MAX_CPUS = 64
"""CPUs whose notes are looked for, whatever kernel runs: a limit for damaged answers."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A load, ready for kexec_load."""

    entry: int
    """Physical address of purgatory's entry: where the running kernel jumps to."""
    flags: int
    segments: tuple[Segment, ...]
    """In order of address."""
    command_line: str
    kernel: KernelImage
    usable: tuple[Range, ...] = ()
    """What the capture kernel may run in (empty for a normal load)."""
    elfcorehdr: Range | None = None
    backup: Range | None = None
    """Where the first 640 KiB are saved."""
    crash: Range | None = None
    """The reserved region (None for a normal load)."""
    crash_notes: tuple[Range, ...] = ()
    """Where each CPU's ELF notes are, by CPU."""


def plan_panic(
    kernel: KernelImage,
    layout: MemoryLayout,
    crash_notes: Sequence[int],
    purgatory: bytes,
    append: str = "",
    *,
    vmcoreinfo: Range | None = None,
    guest_path: str | None = None,
    elf64: bool | None = None,
    defaults: Sequence[str] = CAPTURE_DEFAULTS,
) -> LoadPlan:
    """kexec -p: everything inside the reserved region; KexecError says what does not fit and what is allowed.

    `vmcoreinfo` is where the running kernel keeps that note, None for a kernel that has none.  `elf64` decides the core
    headers' class; None leaves it to where memory ends, as kexec-tools do.
    """
    crash = layout.require_crash()
    _check_notes(crash_notes, layout)
    if vmcoreinfo is not None:
        _check_in_ram(vmcoreinfo, "VMCOREINFO", layout)
    free = Range(crash.start, min(crash.end, LOAD_LIMIT))
    kernel = kernel.placed([free])
    kernel.check_inside(crash)
    room = Room([free], f"the reserved region {crash}")
    end = max(part.end for part in layout.ram)
    if elf64 is None:
        elf64 = end > 1 << ELF32.bits
    elif not elf64 and end > 1 << ELF32.bits:
        raise KexecError(f"ELF32 headers cannot tell of memory up to {end - 1:#x}; use --elf64-core-headers")
    segments = kernel.segments(guest_path)
    for segment in segments:
        room.take(segment.range, kernel.name)
    backup = room.place(BACKUP_SOURCE.size, "the backup region")
    backup_range = Range(backup, backup + BACKUP_SOURCE.size)
    segments.append(Segment("backup", backup, BACKUP_SOURCE.size, b""))
    headers = core_headers(layout.ram, crash, crash_notes, backup, vmcoreinfo=vmcoreinfo, elf64=elf64)
    elfcorehdr = room.place(len(headers), "the ELF core headers")
    header_range = Range(elfcorehdr, elfcorehdr + page_up(len(headers)))
    segments.append(Segment("elfcorehdr", elfcorehdr, header_range.size, headers))
    usable = [BACKUP_SOURCE, *subtract([crash], [backup_range, header_range])]
    acpi = layout.of_type(RangeType.ACPI, RangeType.NVS)
    line = capture_command_line(append, usable, elfcorehdr, acpi=acpi, defaults=defaults)
    entry, rest = _purgatory_and_parameters(kernel, segments, layout, purgatory, line, room, backup)
    return LoadPlan(
        entry, KexecFlags.ON_CRASH | KexecFlags.ARCH, _finished(segments + rest), line, kernel,
        tuple(usable), header_range, backup_range, crash,
        tuple(Range(address, address + CRASH_NOTES_BYTES) for address in crash_notes),
    )  # fmt: skip


def plan_normal(
    kernel: KernelImage, layout: MemoryLayout, purgatory: bytes, append: str = "", *, guest_path: str | None = None
) -> LoadPlan:
    """kexec -l: the kernel goes where it is linked, or where there is room if it is relocatable, anywhere in System RAM
    above 1 MiB, when the reboot comes."""
    holes = [Range(0, LOW_MEMORY_END), *([layout.crash] if layout.crash else [])]
    whole = [Range(page_up(part.start), min(page_down(part.end), LOAD_LIMIT)) for part in layout.ram]
    room = Room(subtract([part for part in whole if part.size > 0], holes), "System RAM above 1 MiB")
    kernel = kernel.placed(room.free)
    segments = kernel.segments(guest_path)
    for segment in segments:
        room.take(segment.range, kernel.name)
    line = checked(append)
    entry, rest = _purgatory_and_parameters(kernel, segments, layout, purgatory, line, room, None)
    return LoadPlan(entry, KexecFlags.ARCH, _finished(segments + rest), line, kernel)


def _check_notes(crash_notes: Sequence[int], layout: MemoryLayout) -> None:
    """KexecError unless there is memory for notes at each of the addresses."""
    if not crash_notes:
        raise KexecError("no crash notes: at least one CPU's address is needed")
    if len(crash_notes) > MAX_CPUS:
        raise KexecError(f"crash notes of {len(crash_notes)} CPUs, allowed are {MAX_CPUS}")
    for address in crash_notes:
        _check_in_ram(Range(address, address + CRASH_NOTES_BYTES), "crash notes", layout)


def _check_in_ram(notes: Range, what: str, layout: MemoryLayout) -> None:
    if not any(notes in part for part in layout.ram):
        raise KexecError(f"{what} at {notes}, where /proc/iomem shows no 'System RAM'")


def _purgatory_and_parameters(
    kernel: KernelImage,
    segments: Sequence[Segment],
    layout: MemoryLayout,
    purgatory: bytes,
    line: str,
    room: Room,
    backup: int | None,
) -> tuple[int, list[Segment]]:
    """The last two segments, and the entry. The digest covers all but purgatory itself and the backup region."""
    placed = Purgatory(purgatory, room.place(purgatory_size(purgatory), "purgatory"))
    size = len(multiboot_info(0, line, layout.memory_map))
    at = room.place(size, "the boot parameters")
    parameters = multiboot_info(at, line, layout.memory_map)
    placed.set_kernel(kernel.entry, LOADER_MAGIC, at)
    contents = [(segment.mem, kernel.contents(segment)) for segment in segments if segment.bufsz]
    placed.set_regions([*contents, (at, parameters)])
    if backup is not None:
        placed.set_backup(BACKUP_SOURCE, backup)
    return placed.entry, [
        Segment("purgatory", placed.address, page_up(placed.memsz), placed.image),
        Segment("boot parameters", at, page_up(size), parameters),
    ]


def _finished(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    if len(segments) > KEXEC_SEGMENT_MAX:
        raise KexecError(f"{len(segments)} segments, kexec_load takes {KEXEC_SEGMENT_MAX}")
    assert all(s.mem % PAGE_SIZE == 0 == s.memsz % PAGE_SIZE and s.bufsz <= s.memsz for s in segments)
    return tuple(sorted(segments, key=lambda segment: segment.mem))


def read_layout(agent: AgentClient) -> MemoryLayout:
    """The guest's /proc/iomem."""
    return memory_layout(agent.read_file("/proc/iomem").decode("ascii", "replace"))


def read_crash_notes(agent: AgentClient) -> list[int]:
    """Physical address of every CPU's notes, from the guest's sysfs."""
    notes: list[int] = []
    for cpu in range(MAX_CPUS):
        path = CRASH_NOTES.format(cpu)
        try:
            text = agent.read_file(path)
        except AgentError as error:
            if error.errno == errno.ENOENT and notes:
                break
            raise
        notes.append(parse_crash_notes(text.decode("ascii", "replace"), path))
    return notes


def parse_crash_notes(text: str, path: str = "crash_notes") -> int:
    """One address in hexadecimal, as sysfs prints it."""
    match = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{1,16})", text.strip())
    if match is None:
        raise KexecError(f"{path} holds {text.strip()[:40]!r}, not an address in hexadecimal")
    return int(match[1], 16)


def read_vmcoreinfo(agent: AgentClient) -> Range | None:
    """Where the guest keeps its VMCOREINFO note, from its sysfs; None for a kernel without one."""
    try:
        text = agent.read_file(VMCOREINFO)
    except AgentError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return parse_vmcoreinfo(text.decode("ascii", "replace"))


def parse_vmcoreinfo(text: str) -> Range:
    """Address and size in hexadecimal, as sysfs prints them."""
    match = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{1,16}) +(?:0x)?([0-9a-fA-F]{1,8})", text.strip())
    if match is None or int(match[2], 16) == 0:
        raise KexecError(f"{VMCOREINFO} holds {text.strip()[:40]!r}, not an address and a size in hexadecimal")
    return Range(int(match[1], 16), int(match[1], 16) + int(match[2], 16))


def default_purgatory() -> bytes:
    """Our own purgatory, compiled when it is first needed."""
    from kdumpsim import images

    return images.purgatory()


def kexec_load_panic(
    agent: AgentClient,
    kernel: bytes,
    kernel_path_in_guest: str | None,
    append: str,
    *,
    purgatory: bytes | None = None,
    elf64_headers: bool | None = None,
    name: str = "capture kernel",
    defaults: Sequence[str] = CAPTURE_DEFAULTS,
) -> LoadPlan:
    """kexec -p: load `kernel` to be started when the running kernel panics.

    With `kernel_path_in_guest` its contents are read from that file in the guest, which must be the same.
    `purgatory` is the relocatable object to use in place of ours; `defaults` are said to the capture kernel unless
    `append` says otherwise.
    """
    image = load_image(kernel, name)
    plan = plan_panic(
        image, read_layout(agent), read_crash_notes(agent), purgatory or default_purgatory(), append,
        vmcoreinfo=read_vmcoreinfo(agent), guest_path=kernel_path_in_guest, elf64=elf64_headers, defaults=defaults,
    )  # fmt: skip
    agent.kexec_load(plan.entry, plan.segments, plan.flags)
    return plan


def kexec_load_normal(
    agent: AgentClient,
    kernel: bytes,
    kernel_path_in_guest: str | None,
    append: str,
    *,
    purgatory: bytes | None = None,
    name: str = "kernel",
) -> LoadPlan:
    """kexec -l: load `kernel` to be started by kexec -e."""
    image = load_image(kernel, name)
    plan = plan_normal(
        image, read_layout(agent), purgatory or default_purgatory(), append, guest_path=kernel_path_in_guest
    )
    agent.kexec_load(plan.entry, plan.segments, plan.flags)
    return plan


def kexec_unload(agent: AgentClient, *, panic: bool) -> None:
    """kexec -u (with `panic`: kexec -p -u): forget what was loaded."""
    agent.kexec_load(0, [], KexecFlags.ARCH | (KexecFlags.ON_CRASH if panic else 0))
