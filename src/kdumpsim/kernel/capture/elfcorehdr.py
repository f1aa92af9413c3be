# SPDX-License-Identifier: GPL-2.0-or-later
"""``elfcorehdr=``: where the dead kernel's ELF core headers lie (kdump paper, section 4.4; Linux kernel/crash_dump.c).

Kexec-tools append the option; its presence makes a kernel a capture kernel.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cstr, guest, i32, placed, u64
from kdumpsim.kernel.core.params import ObsKernelParam, memparse

ELFCORE_ADDR_MAX: Final = 0xFFFFFFFFFFFFFFFF

elfcorehdr_addr: u64 = ELFCORE_ADDR_MAX
"""Physical address of the headers; ELFCORE_ADDR_MAX: none were given."""


@guest
def elfcorehdr_setup(rest: cstr) -> i32:
    """Parse the option: an address, K, M and G are understood."""
    global elfcorehdr_addr
    elfcorehdr_addr = memparse(rest, NULL)
    return 1


@guest
def is_kdump_kernel() -> bool:
    """Was this kernel started to capture a dump?"""
    return elfcorehdr_addr != ELFCORE_ADDR_MAX


_param_elfcorehdr: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="elfcorehdr=", setup_func=elfcorehdr_setup)
)
