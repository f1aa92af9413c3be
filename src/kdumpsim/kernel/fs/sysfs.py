# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of /sys that kexec-tools read (Linux drivers/base/cpu.c, kernel/ksysfs.c)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cast, fn, guest, i32, length, placed, ptr, u8, u32, usize, void
from kdumpsim.kernel.architecture import PAGE_SIZE, cpu_online, pa
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.kexec import crash_notes, crashk_res, kexec_crash_image, kexec_image
from kdumpsim.kernel.core.kexec_types import KEXEC_NOTE_BYTES
from kdumpsim.kernel.core.vmcoreinfo import vmcoreinfo_note
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc, register_proc_data
from kdumpsim.kernel.fs.seq_file import seq_printf

NAME_BYTES: Final = 48

crash_notes_paths: array[u8] = length(NR_CPUS * NAME_BYTES)


@guest
def crash_notes_show(m: ptr[SeqFile]) -> i32:
    """cpuN/crash_notes: the physical address of the CPU's ELF notes, in hex."""
    cpu = usize(m.private)
    seq_printf(m, f"{pa(usize(crash_notes + cpu * KEXEC_NOTE_BYTES)):x}\n")
    return 0


@guest
def kexec_loaded_show(m: ptr[SeqFile]) -> i32:
    """/sys/kernel/kexec_loaded: is there an image for kexec -e?"""
    seq_printf(m, "%d\n", 0 if kexec_image == NULL else 1)
    return 0


@guest
def kexec_crash_loaded_show(m: ptr[SeqFile]) -> i32:
    """/sys/kernel/kexec_crash_loaded: is there an image for a crash?"""
    seq_printf(m, "%d\n", 0 if kexec_crash_image == NULL else 1)
    return 0


@guest
def kexec_crash_size_show(m: ptr[SeqFile]) -> i32:
    """/sys/kernel/kexec_crash_size: bytes reserved for a capture kernel."""
    size: usize = 0 if crashk_res.end == 0 else crashk_res.end - crashk_res.start + 1
    seq_printf(m, f"{size}\n")
    return 0


@guest
def all_crash_notes_show(m: ptr[SeqFile]) -> i32:
    """/sys/kernel/crash_notes: where CPU 0's notes are, which those of the others follow."""
    seq_printf(m, f"{pa(usize(crash_notes)):x}\n")
    return 0


@guest
def vmcoreinfo_show(m: ptr[SeqFile]) -> i32:
    """/sys/kernel/vmcoreinfo: physical address and size of the note's page, in hex."""
    seq_printf(m, f"{pa(usize(vmcoreinfo_note)):x} {u32(PAGE_SIZE):x}\n")
    return 0


@guest
def sysfs_init() -> i32:
    """Make the files."""
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            path: ptr[u8] = crash_notes_paths + cpu * NAME_BYTES
            snprintf(path, NAME_BYTES, f"/sys/devices/system/cpu/cpu{cpu}/crash_notes")
            register_proc_data(path, crash_notes_show, NULL, cast(ptr[void], usize(cpu)))
    register_proc("/sys/kernel/crash_notes", all_crash_notes_show, NULL)
    register_proc("/sys/kernel/vmcoreinfo", vmcoreinfo_show, NULL)
    register_proc("/sys/kernel/kexec_loaded", kexec_loaded_show, NULL)
    register_proc("/sys/kernel/kexec_crash_loaded", kexec_crash_loaded_show, NULL)
    register_proc("/sys/kernel/kexec_crash_size", kexec_crash_size_show, NULL)
    return 0


_init_sysfs: fn[[], i32] = placed("initcall5", sysfs_init)
