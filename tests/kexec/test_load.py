# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole load plans, and loading into a guest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.agent.client import AgentClient, KexecFlags, Op
from kdumpsim.agent.errors import AgentError
from kdumpsim.agent.segments import FileData
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.image import load_image
from kdumpsim.kexec.iomem import MemoryLayout, memory_layout
from kdumpsim.kexec.load import (
    LoadPlan,
    kexec_load_normal,
    kexec_load_panic,
    kexec_unload,
    parse_crash_notes,
    parse_vmcoreinfo,
    plan_normal,
    plan_panic,
)
from kdumpsim.kexec.purgatory import Purgatory
from kdumpsim.kexec.segments import Range, Segment

from .builders import IOMEM, FakeGuest, purgatory_object, vmlinux

LAYOUT = memory_layout(IOMEM)


def named(plan: LoadPlan, name: str) -> Segment:
    (segment,) = (s for s in plan.segments if s.name == name)
    return segment


def inline(segment: Segment) -> bytes:
    assert not isinstance(segment.data, FileData)
    return segment.data


def patched(plan: LoadPlan, name: str, size: int) -> bytes:
    """What kexec-tools filled in at one of purgatory's symbols."""
    segment = named(plan, "purgatory")
    at = Purgatory(purgatory_object(), segment.mem).symbols[name] - segment.mem
    return inline(segment).ljust(segment.memsz, b"\0")[at : at + size]


def word(plan: LoadPlan, name: str) -> int:
    return int.from_bytes(patched(plan, name, 4), "little")


@pytest.mark.parametrize("text", ["-1", "+5", "1_000", "0x", "", "zz", "1" * 17, "1 2"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(KexecError, match="not an address in hexadecimal"):
        parse_crash_notes(text)


def test_memory_above_4_gib_takes_elf64_headers_and_no_segments() -> None:
    layout = memory_layout(IOMEM + "100000000-13fffffff : System RAM\n")
    image = load_image(vmlinux())
    plan = plan_panic(image, layout, [0x14A000, 0x100000000], purgatory_object())
    headers = inline(named(plan, "elfcorehdr"))
    assert headers[4] == 2
    rows = list(struct.iter_unpack("<IIQQQQQQ", headers[64 : 64 + 56 * struct.unpack_from("<H", headers, 56)[0]]))
    assert (4, 0x100000000) in [(row[0], row[2]) for row in rows]
    assert (1, 0x100000000, 0x40000000) in [(row[0], row[4], row[5]) for row in rows]
    with pytest.raises(KexecError, match="--elf64-core-headers"):
        plan_panic(image, layout, [0x14A000], purgatory_object(), elf64=False)
    normal = plan_normal(load_image(vmlinux([(0x100000, b"first", 0x1000)])), layout, purgatory_object())
    for segment in (*plan.segments, *normal.segments):
        assert segment.range.end <= 1 << 32
    assert inline(named(plan_panic(image, LAYOUT, [0x14A000], purgatory_object()), "elfcorehdr"))[4] == 1


def test_notes_lie_in_memory() -> None:
    for address in (0x9FC00 - 1023, 0x4000000, 0x100000000, 1 << 63):
        with pytest.raises(KexecError, match="no 'System RAM'"):
            plan_panic(load_image(vmlinux()), LAYOUT, [address], purgatory_object())
    with pytest.raises(KexecError, match="65 CPUs, allowed are 64"):
        plan_panic(load_image(vmlinux()), LAYOUT, [0x14A000] * 65, purgatory_object())


lines = st.tuples(
    st.integers(0, 1 << 54) | st.sampled_from([0, 0x100000, 0x1000000, 1 << 32]),
    st.integers(0, 1 << 54) | st.sampled_from([0, 0xFFFFF, 0x1FFFFFF, (1 << 32) - 1]),
    st.sampled_from(["System RAM", "Crash kernel", "reserved", "ACPI Tables", "Kernel code", "System ROM"]),
)


@given(
    st.lists(lines, max_size=8),
    st.booleans(),
    st.lists(st.integers(0, 1 << 64) | st.just(0x14A000), max_size=3),
    st.lists(st.tuples(st.integers(0, 180), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])), max_size=3),
    st.sampled_from([None, False, True]),
)
def test_any_memory_and_any_kernel_is_planned_or_refused(
    extra: list[tuple[int, int, str]],
    normal: bool,
    notes: list[int],
    damage: list[tuple[int, int]],
    elf64: bool | None,
) -> None:
    text = IOMEM + "".join(f"{first:08x}-{last:08x} : {name}\n" for first, last, name in extra)
    image = bytearray(vmlinux([(0x100000, b"first", 0x1000)] if normal else ((0x1000000, b"x" * 50, 5000),)))
    for at, value in damage:
        if at < len(image):
            image[at] = value
    with contextlib.suppress(KexecError):
        kernel, layout = load_image(bytes(image)), memory_layout(text)
        if normal:
            plan = plan_normal(kernel, layout, purgatory_object())
        else:
            plan = plan_panic(kernel, layout, notes, purgatory_object(), elf64=elf64)
        assert all(segment.range.end <= 1 << 32 for segment in plan.segments)


def check(plan: LoadPlan) -> None:
    """What must hold of every plan."""
    ranges = [segment.range for segment in plan.segments]
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[:i])
    assert all(s.mem % 4096 == 0 == s.memsz % 4096 and s.bufsz <= s.memsz for s in plan.segments)
    assert plan.entry in named(plan, "purgatory").range
    regions = [struct.unpack_from("<II", patched(plan, "sha256_regions", 128), 8 * i) for i in range(16)]
    digest = hashlib.sha256()
    covered = set()
    for start, length in regions:
        if not length:
            continue
        (segment,) = (s for s in plan.segments if s.mem == start)
        covered.add(segment.name)
        assert length == segment.bufsz
        digest.update(plan.kernel.contents(segment) if segment.name == "kernel" else inline(segment))
    assert digest.digest() == patched(plan, "sha256_digest", 32)
    assert covered == {s.name for s in plan.segments} - {"purgatory", "backup"}


def test_vmcoreinfo_is_where_sysfs_says() -> None:
    assert parse_vmcoreinfo("14c000 1000\n") == Range(0x14C000, 0x14D000)
    for text in ("", "14c000", "14c000 0", "x 1000"):
        with pytest.raises(KexecError, match="vmcoreinfo"):
            parse_vmcoreinfo(text)
    with pytest.raises(KexecError, match="VMCOREINFO at"):
        plan_panic(load_image(vmlinux()), LAYOUT, [0x14A000], purgatory_object(), vmcoreinfo=Range(0xA0000, 0xA1000))


def test_a_panic_load() -> None:
    plan = plan_panic(load_image(vmlinux()), LAYOUT, [0x14A000, 0x14A400], purgatory_object(), "console=ttyS0")
    check(plan)
    assert plan.crash_notes == (Range(0x14A000, 0x14A400), Range(0x14A400, 0x14A800))
    crash = Range(0x1000000, 0x2000000)
    assert plan.crash == crash
    assert all(segment.range in crash for segment in plan.segments)
    assert plan.flags == KexecFlags.ON_CRASH | KexecFlags.ARCH
    assert plan.backup == Range(0x1F60000, 0x2000000)
    assert plan.elfcorehdr == Range(0x1F5F000, 0x1F60000)
    assert (word(plan, "backup_src_start"), word(plan, "backup_src_size")) == (0, 640 << 10)
    assert word(plan, "backup_start") == 0x1F60000
    assert (word(plan, "kernel_entry"), word(plan, "kernel_eax")) == (0x1000000, 0x2BADB002)
    assert word(plan, "kernel_ebx") == named(plan, "boot parameters").mem
    assert plan.usable == (Range(0, 640 << 10), Range(0x1000000, 0x1F5F000))
    assert plan.command_line.endswith(
        "memmap=640K@0K memmap=15740K@16384K memmap=32K#65472K memmap=32K#65504K elfcorehdr=32124K"
    )


@pytest.mark.parametrize("panic", [False, True])
def test_boot_parameters_are_multiboot(panic: bool) -> None:
    """Command line and memory map: every range the firmware told of, whatever it is."""
    if panic:
        plan = plan_panic(load_image(vmlinux()), LAYOUT, [0x14A000], purgatory_object(), "console=ttyS0")
    else:
        kernel = load_image(vmlinux([(0x100000, b"kernel", 0x2000)]))
        plan = plan_normal(kernel, LAYOUT, purgatory_object(), "console=ttyS0")
    segment = named(plan, "boot parameters")
    data = inline(segment)
    flags, lower, upper, _, cmdline = struct.unpack_from("<IIIII", data)
    assert (flags & 0x45, lower, upper) == (0x45, 639, (63 << 10) - 64)
    at = cmdline - segment.mem
    assert data[at : data.index(b"\0", at)].decode() == plan.command_line
    mmap_length, mmap_addr = struct.unpack_from("<II", data, 44)
    entries = [struct.unpack_from("<IQQI", data, mmap_addr - segment.mem + i) for i in range(0, mmap_length, 24)]
    assert entries == [
        (20, 0, 0x9FC00, 1),
        (20, 0x9FC00, 0x400, 2),
        (20, 0xF0000, 0x10000, 2),
        (20, 0x100000, 0x3EF0000, 1),
        (20, 0x3FF0000, 0x8000, 3),
        (20, 0x3FF8000, 0x8000, 4),
        (20, 0xFFFC0000, 0x40000, 2),
    ]


def test_a_normal_load() -> None:
    plan = plan_normal(load_image(vmlinux([(0x100000, b"kernel", 0x2000)])), LAYOUT, purgatory_object(), "quiet")
    check(plan)
    assert plan.flags == KexecFlags.ARCH
    assert (plan.command_line, plan.backup, word(plan, "backup_src_size")) == ("quiet", None, 0)
    assert not any(segment.range.overlaps(Range(0x1000000, 0x2000000)) for segment in plan.segments)
    with pytest.raises(KexecError, match="not free in System RAM above 1 MiB"):
        plan_normal(load_image(vmlinux([(0x8000, b"kernel", 8)])), LAYOUT, purgatory_object())


@given(st.integers(1, 64), st.integers(0, 15), st.integers(1, 8), st.booleans(), st.integers(1, 3000))
def test_every_panic_plan_is_sound_or_refused(size: int, base: int, cpus: int, elf64: bool, pages: int) -> None:
    crash = Range(base << 20, (base + size) << 20)
    layout = MemoryLayout((Range(0, 0x9FC00), Range(0x100000, 0x8000000)), crash)
    kernel = load_image(vmlinux([(crash.start + 0x1000, b"x" * 100, pages << 12)]))
    try:
        plan = plan_panic(kernel, layout, list(range(0x1000, 0x1000 + cpus)), purgatory_object(), elf64=elf64)
    except KexecError as error:
        assert size < 16
        assert "the reserved region" in str(error)  # noqa: PT017
        return
    check(plan)
    assert all(segment.range in crash for segment in plan.segments)
    assert plan.backup is not None
    assert plan.elfcorehdr is not None
    assert not any(part.overlaps(other) for part in plan.usable[1:] for other in (plan.backup, plan.elfcorehdr))


def test_loading_through_the_agent() -> None:
    kernel = vmlinux()
    guest = FakeGuest()
    guest.files["/boot/vmlinux-kdump"] = kernel
    agent = AgentClient(guest)
    plan = kexec_load_panic(agent, kernel, "/boot/vmlinux-kdump", "", purgatory=purgatory_object())
    assert guest.loaded is not None
    entry, flags, segments = guest.loaded
    assert (entry, flags) == (plan.entry, plan.flags)
    assert [(mem, memsz) for mem, memsz, _, _ in segments] == [(s.mem, s.memsz) for s in plan.segments]
    assert [s[3] for s in segments] == [
        plan.kernel.contents(s) if s.name == "kernel" else inline(s) for s in plan.segments
    ]
    headers = inline(named(plan, "elfcorehdr"))
    assert struct.unpack_from("<I", headers, 52 + 4)[0] == 0x14A000
    assert struct.unpack_from("<I", headers, 52 + 32 + 4)[0] == 0x14A400
    kexec_load_normal(agent, vmlinux([(0x100000, b"k", 1)]), None, "a=b", purgatory=purgatory_object())
    assert guest.loaded[1] == KexecFlags.ARCH
    kexec_unload(agent, panic=True)
    assert guest.loaded == (0, KexecFlags.ON_CRASH | KexecFlags.ARCH, [])


def test_what_the_guest_refuses_or_lacks() -> None:
    guest = FakeGuest()
    guest.fail = {Op.KEXEC_LOAD: errno.EADDRNOTAVAIL}
    with pytest.raises(AgentError, match="kexec_load: EADDRNOTAVAIL"):
        kexec_load_panic(AgentClient(guest), vmlinux(), None, "", purgatory=purgatory_object())
    with pytest.raises(AgentError, match="open /sys/devices/system/cpu/cpu0/crash_notes: ENOENT"):
        kexec_load_panic(
            AgentClient(FakeGuest({"/proc/iomem": IOMEM.encode()})), vmlinux(), None, "", purgatory=purgatory_object()
        )
    with pytest.raises(KexecError, match="not an address in hexadecimal"):
        parse_crash_notes("(null)\n")


def test_a_purgatory_without_its_symbols() -> None:
    from kdumpsim.compiler.assembler import _object

    with pytest.raises(KexecError, match="no symbol purgatory_start"):
        _ = Purgatory(_object("nop"), 0x1000).entry
    with pytest.raises(KexecError, match=r"purgatory: .*not a 32-bit"):
        Purgatory(b"rubbish", 0)
