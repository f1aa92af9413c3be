# SPDX-License-Identifier: GPL-2.0-or-later
"""Caches of objects as structures (mm/slab.c of 2.6.16)."""

from __future__ import annotations

from typing import Final, TypeAlias

from kdumpsim.compiler.lang import Struct, array, cstr, length, ptr, u32, usize, void
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead

MAX_NUMNODES: Final = 1
"""All memory is one node."""

kmem_bufctl_t: TypeAlias = u32


class Slab(Struct):
    """Some pages cut into objects of one size.

    A kmem_bufctl_t for each object follows: of a free one, the number of the next free one.
    """

    list: ListHead
    """Link in one of the lists of its cache."""
    colouroff: usize
    s_mem: ptr[void]
    """The first object."""
    inuse: u32
    free: kmem_bufctl_t
    """Number of the first free object."""


class ArrayCache(Struct):
    """Free objects that one CPU has at hand; `limit` pointers to them follow."""

    avail: u32
    limit: u32
    batchcount: u32
    """How many are fetched, or given back, at a time."""
    touched: u32


class KmemList3(Struct):
    """The slabs of a cache in one node: with free objects and others, with none, and with nothing else."""

    slabs_partial: ListHead
    slabs_full: ListHead
    slabs_free: ListHead
    free_objects: u32
    list_lock: Spinlock
    shared: ptr[ArrayCache]
    """Free objects on their way from one CPU to another; NULL without memory for it."""


class KmemCache(Struct):
    """Objects of one size and purpose."""

    nodelists: array[ptr[KmemList3]] = length(MAX_NUMNODES)
    array: array[ptr[ArrayCache]] = length(NR_CPUS)
    """Each CPU's objects at hand; NULL while the caches come up."""
    batchcount: u32
    limit: u32
    buffer_size: usize
    flags: u32
    num: u32
    """Objects of a slab."""
    gfporder: u32
    """A slab has 1 << gfporder pages."""
    slab_size: usize
    """Bytes of a Slab with its kmem_bufctl_t."""
    slabp_cache: ptr[KmemCache]
    """Where Slabs come from that do not lie in their own pages; NULL for others."""
    name: cstr
    next: ListHead
    """Link in cache_chain."""
    list3: KmemList3
    """What the only entry of nodelists points to."""
