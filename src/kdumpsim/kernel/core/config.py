# SPDX-License-Identifier: GPL-2.0-or-later
"""Build-time choices, as Linux keeps them in .config and include/linux/{param,threads}.h."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import config

HZ: Final = 100
"""Timer ticks a second (2.6.16 offers 100, 250 and 1000)."""

NR_CPUS: Final = 8
"""Most CPUs this kernel can drive."""

THREAD_SIZE: Final = config("THREAD_SIZE", 8192)
"""Kernel stack and thread_info together; 4096 is CONFIG_4KSTACKS."""

PREEMPT: Final = config("PREEMPT", 1)
"""CONFIG_PREEMPT: kernel code may be preempted wherever preempt_count is 0."""

SAFE_SMP_PROCESSOR_ID: Final = config("SAFE_SMP_PROCESSOR_ID", 0)
"""The dump route knows its CPU by the local APIC, not by the stack (LKDTT paper, section 5.2.1)."""

CRASH_NMI: Final = config("CRASH_NMI", 0)
"""From the crash on NMIs have a handler that believes nothing on the stack."""

CRASH_STACKS: Final = config("CRASH_STACKS", 0)
"""The dump route has a stack of its own on each CPU, and double faults lead there."""

NMI_STACKS: Final = config("NMI_STACKS", 0)
"""NMIs have a stack of their own on each CPU."""

STACK_GUARD: Final = config("STACK_GUARD", 0)
"""The page below each kernel stack is not mapped."""

STACK_CHECK: Final = config("STACK_CHECK", 0)
"""CONFIG_DEBUG_STACKOVERFLOW: interrupts inspect the stack, and print (1) or panic (2)."""

FAULT_CHECKS: Final = config("FAULT_CHECKS", 0)
"""Fault handlers look whether `current` is sound, and errors are handed over where they are found."""

MCE: Final = config("MCE", 0)
"""CONFIG_X86_MCE: machine checks are taken, reported and a reason to panic (LKDTT paper, section 2.1.2)."""

PANIC_ON_UNRECOVERED_NMI: Final = config("PANIC_ON_UNRECOVERED_NMI", 0)
"""An NMI that reports an error of the hardware, or that nobody knows the reason of, is a reason to panic."""

APIC_RESTORE: Final = config("APIC_RESTORE", 1)
"""What a crash does to the interrupt controllers: nothing (0), legacy mode for the CPU that goes on (1), or what the
firmware had set (2) (LKDTT paper, section 5.2.5)."""

RELOCATE_CPU: Final = config("RELOCATE_CPU", 0)
"""The boot CPU starts the capture kernel, whichever has crashed (LKDTT paper, section 7.4)."""

RELOCATABLE: Final = config("RELOCATABLE", 0)
"""CONFIG_RELOCATABLE: startup_32 moves the kernel to where it finds itself, by the linker's table `relocs`."""

HRTIMERS: Final = config("HRTIMERS", 1)
"""kernel/hrtimer.c, which came with 2.6.16; without it what sleeps and alarm() count in jiffies."""

DIE_ENABLES_IRQS: Final = config("DIE_ENABLES_IRQS", 0)
"""die() ends with spin_unlock_irq(), as up to 2.6.13, whatever interrupts were before."""

NR_IRQS: Final = 64
"""Interrupt lines: 24 I/O APIC pins or 16 of the i8259s, with room."""

TASK_COMM_LEN: Final = 16
"""Length of a task's name, NUL included."""

COMMAND_LINE_SIZE: Final = 2048
"""Longest kernel command line, NUL included."""

LOG_BUF_SHIFT: Final = 14
LOG_BUF_LEN: Final = 1 << LOG_BUF_SHIFT
"""Size of printk's ring."""
