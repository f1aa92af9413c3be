# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of the kernel that no architecture and no device owns: scheduler, timers, interrupts, printk, kexec."""
