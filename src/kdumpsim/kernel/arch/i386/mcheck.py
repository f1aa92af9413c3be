# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine checks (arch/i386/kernel/cpu/mcheck/p6.c of 2.6.16, CONFIG_X86_MCE; SDM vol. 3A, chapter 15).

With MCE each CPU has CR4.MCE set, and the handler prints what the banks know and ends in panic(), which takes a dump.
Without it CR4.MCE stays clear: the processor shuts down at a machine check, and the board resets.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, guest, length, ptr, u32, u64
from kdumpsim.kernel.arch.i386.processor import cpuid, rdmsr, read_cr4, write_cr4, wrmsr
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import MCE
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.printk import printk

X86_FEATURE_MCE: Final = 1 << 7
X86_FEATURE_MCA: Final = 1 << 14
X86_CR4_MCE: Final = 1 << 6

MSR_IA32_MCG_CAP: Final = 0x179
MSR_IA32_MCG_STATUS: Final = 0x17A
MSR_IA32_MC0_CTL: Final = 0x400
MSR_IA32_MC0_STATUS: Final = 0x401
MSRS_OF_A_BANK: Final = 4
MCG_BANKS: Final = 0xFF
MCG_STATUS_RIPV: Final = 1 << 0
MCG_STATUS_MCIP: Final = 1 << 2
# The upper half of a bank's status.
MCI_STATUS_VAL: Final = 1 << 31
MCI_STATUS_UC: Final = 1 << 29
MCI_STATUS_PCC: Final = 1 << 25

nr_mce_banks: u32 = 0


@guest
def mcheck_init() -> None:
    """Enable machine checks on this CPU, if it has what it takes (mcheck_init and intel_p6_mcheck_init)."""
    global nr_mce_banks
    if not MCE:
        return
    registers: array[u32] = length(4)
    cpuid(1, registers)
    if registers[3] & X86_FEATURE_MCE == 0 or registers[3] & X86_FEATURE_MCA == 0:
        return
    nr_mce_banks = u32(rdmsr(MSR_IA32_MCG_CAP)) & MCG_BANKS
    for bank in range(nr_mce_banks):
        if bank != 0:  # whose control register is the firmware's on a P6
            wrmsr(MSR_IA32_MC0_CTL + MSRS_OF_A_BANK * bank, ~u64(0))
        wrmsr(MSR_IA32_MC0_STATUS + MSRS_OF_A_BANK * bank, 0)
    write_cr4(read_cr4() | X86_CR4_MCE)
    printk(f"<6>Intel machine check reporting enabled on CPU#{smp_processor_id()}.\n")


@guest
def do_machine_check(regs: ptr[PtRegs], error_code: u32) -> None:
    """#MC, vector 18: whether the CPU can go on depends on what the banks say."""
    if not MCE:
        printk(f"<3>CPU#{smp_processor_id()}: Unexpected int18 (Machine Check).\n")
        return
    status = rdmsr(MSR_IA32_MCG_STATUS)
    lost = status & MCG_STATUS_RIPV == 0
    corrupt: bool = False
    printk(f"<0>CPU {smp_processor_id()}: Machine Check Exception: {u32(status >> 32):08x}{u32(status):08x}\n")
    for bank in range(nr_mce_banks):
        number = MSR_IA32_MC0_STATUS + MSRS_OF_A_BANK * bank
        found = rdmsr(number)
        upper = u32(found >> 32)
        if upper & MCI_STATUS_VAL != 0:
            lost = lost or upper & MCI_STATUS_UC != 0
            corrupt = corrupt or upper & MCI_STATUS_PCC != 0
            printk(f"<0>Bank {bank}: {upper:08x}{u32(found):08x}\n")
    if corrupt:
        panic("CPU context corrupt")
    if lost:
        panic("Unable to continue")
    printk("<0>Attempting to continue.\n")
    for bank in range(nr_mce_banks):
        wrmsr(MSR_IA32_MC0_STATUS + MSRS_OF_A_BANK * bank, 0)
    wrmsr(MSR_IA32_MCG_STATUS, status & ~u64(MCG_STATUS_MCIP))
