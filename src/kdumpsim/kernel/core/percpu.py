# SPDX-License-Identifier: GPL-2.0-or-later
"""Variables of which every CPU has a copy (include/asm-generic/percpu.h, setup_per_cpu_areas() of init/main.c).

They are placed in the section `percpu`, whose own bytes are the pattern; per_cpu_ptr() gets to a copy.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cast, external, guest, length, ptr, u8, u32, usize, void
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.mm.bootmem import alloc_bootmem

CACHE_BYTES: Final = 128
"""No two CPUs' copies share a cache line."""

__per_cpu_start: array[u8] = external()
__per_cpu_end: array[u8] = external()

__per_cpu_offset: array[usize] = length(NR_CPUS)
"""What is added to a variable's address to get to each CPU's copy."""


@guest
def setup_per_cpu_areas() -> None:
    """Make the copies, as soon as there is memory."""
    used: usize = usize(__per_cpu_end) - usize(__per_cpu_start)
    size: usize = (used + CACHE_BYTES - 1) & ~u32(CACHE_BYTES - 1)
    area = cast(ptr[u8], alloc_bootmem(size * NR_CPUS, CACHE_BYTES))
    for cpu in range(NR_CPUS):
        memcpy(area, __per_cpu_start, used)
        __per_cpu_offset[cpu] = usize(area) - usize(__per_cpu_start)
        area = area + size


@guest
def per_cpu_ptr(variable: ptr[void], cpu: u32) -> ptr[void]:
    """A CPU's copy of a variable."""
    return cast(ptr[void], usize(variable) + __per_cpu_offset[cpu])
