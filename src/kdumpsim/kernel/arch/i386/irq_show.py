# SPDX-License-Identifier: GPL-2.0-or-later
"""The architecture's lines of /proc/interrupts (show_interrupts() in arch/i386/kernel/irq.c of 2.6.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import cstr, guest, ptr, u32
from kdumpsim.kernel.arch.i386.apic import apic_timer_irqs
from kdumpsim.kernel.arch.i386.nmi import nmi_count
from kdumpsim.kernel.arch.i386.smp import cpu_online
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.fs.seq_file import seq_printf

if TYPE_CHECKING:
    from kdumpsim.kernel.fs.file_types import SeqFile


@guest
def show_counts(m: ptr[SeqFile], name: cstr, counts: ptr[u32]) -> None:
    """A name and a count for each CPU."""
    seq_printf(m, "%s: ", name)
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            seq_printf(m, "%10u ", counts[cpu])
    seq_printf(m, "\n")


@guest
def show_arch_interrupts(m: ptr[SeqFile]) -> None:
    """What does not come through an interrupt line: NMIs, and each CPU's own timer."""
    show_counts(m, "NMI", nmi_count)
    show_counts(m, "LOC", apic_timer_irqs)
