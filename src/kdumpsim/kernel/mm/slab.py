# SPDX-License-Identifier: GPL-2.0-or-later
"""Caches of objects (mm/slab.c of 2.6.16, without colours, constructors and shrinking).

A cache's pages are cut into objects, slab by slab; each CPU keeps some free ones at hand.  kmalloc() takes its memory
from caches for each power of two from 32 bytes to half a page.  Larger requests get pages of their own.

The `lru` links of a PG_slab page are not used as links: they say which cache and which slab it belongs to.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    length,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE, local_irq_restore, local_irq_save, smp_processor_id
from kdumpsim.kernel.core.list import init_list_head, list_add, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_lock_init, spin_unlock
from kdumpsim.kernel.core.string import memcpy, memmove, memset
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.mm.page_alloc import Page, PG_slab, alloc_pages, page_address, put_pages, virt_to_page
from kdumpsim.kernel.mm.slab_types import ArrayCache, KmemCache, Slab, kmem_bufctl_t

MIN_SHIFT: Final = 5
MAX_SHIFT: Final = PAGE_SHIFT - 1
NR_CACHES: Final = MAX_SHIFT - MIN_SHIFT + 1
BUFCTL_END: Final = 0xFFFF_FFFF
"""There is no next free object."""
CFLGS_OFF_SLAB: Final = 0x8000_0000
"""Slabs are described outside of their pages, so that large objects fill these."""
OFF_SLAB_SIZE: Final = PAGE_SIZE >> 3
SHARED_BATCHES: Final = 8
"""How many batches may be on their way between CPUs."""
L1_CACHE_BYTES: Final = 32
SMALLEST_ALIGN: Final = 4


class CacheSizes(Struct):
    """A cache that kmalloc() takes memory from."""

    cs_size: usize
    cs_cachep: ptr[KmemCache]


cache_chain: ListHead = ListHead()
"""All caches."""
cache_chain_lock: Spinlock = Spinlock(slock=1)
cache_cache: KmemCache = KmemCache()
"""Where caches come from."""
malloc_sizes: array[CacheSizes] = length(NR_CACHES)
malloc_names: array[cstr] = ["size-32", "size-64", "size-128", "size-256", "size-512", "size-1024", "size-2048"]


@guest
def slab_bufctl(slab: ptr[Slab]) -> ptr[kmem_bufctl_t]:
    """What follows a Slab."""
    return cast(ptr[kmem_bufctl_t], slab + 1)


@guest
def ac_entry(ac: ptr[ArrayCache]) -> ptr[ptr[void]]:
    """What follows an ArrayCache."""
    return cast(ptr[ptr[void]], ac + 1)


@guest
def cache_estimate(cachep: ptr[KmemCache], align: u32) -> None:
    """How many objects a slab has, and how many pages it takes so that there is one at least."""
    while True:
        room: u32 = PAGE_SIZE << cachep.gfporder
        if cachep.flags & CFLGS_OFF_SLAB:
            cachep.num = u32(room // cachep.buffer_size)
        else:
            cachep.num = u32((room - sizeof(Slab)) // (cachep.buffer_size + sizeof(kmem_bufctl_t)))
            while cachep.num > 0 and mgmt_size(cachep.num, align) + cachep.num * cachep.buffer_size > room:
                cachep.num -= 1
        if cachep.num > 0:
            break
        cachep.gfporder += 1
    cachep.slab_size = mgmt_size(cachep.num, align)


@guest
def mgmt_size(num: u32, align: u32) -> u32:
    """Bytes of a Slab for so many objects, rounded up so that an object may follow."""
    return (sizeof(Slab) + num * sizeof(kmem_bufctl_t) + align - 1) & ~(align - 1)


@guest
def setup_cache(cachep: ptr[KmemCache], name: cstr, size: usize, align: u32) -> None:
    """Make an empty cache of objects that are so large, and begin at multiples of `align`."""
    cachep.name = name
    cachep.buffer_size = (size + align - 1) & ~(align - 1)
    cachep.nodelists[0] = addr(cachep.list3)
    l3 = cachep.nodelists[0]
    init_list_head(l3.slabs_partial)
    init_list_head(l3.slabs_full)
    init_list_head(l3.slabs_free)
    spin_lock_init(l3.list_lock)
    if cachep.buffer_size >= OFF_SLAB_SIZE:
        cachep.flags = CFLGS_OFF_SLAB
    cache_estimate(cachep, align)
    if cachep.flags & CFLGS_OFF_SLAB:
        cachep.slabp_cache = malloc_sizes[cache_index(cachep.slab_size)].cs_cachep
    spin_lock(cache_chain_lock)
    list_add_tail(cachep.next, cache_chain)
    spin_unlock(cache_chain_lock)


@guest
def cpucache_limit(size: usize) -> u32:
    """How many free objects a CPU keeps at hand."""
    if size > 1024:
        return 24
    return 54 if size > 256 else 120


@guest
def enable_cpucache(cachep: ptr[KmemCache]) -> None:
    """Let CPUs keep objects at hand, from the first that each asks for on."""
    cachep.limit = cpucache_limit(cachep.buffer_size)
    cachep.batchcount = (cachep.limit + 1) // 2


@guest
def alloc_arraycache(limit: u32, batchcount: u32) -> ptr[ArrayCache]:
    """Room for objects at hand, or NULL.  Interrupts are off."""
    size = sizeof(ArrayCache) + limit * sizeof(ptr[void])
    ac = cast(ptr[ArrayCache], cache_alloc_one(malloc_sizes[cache_index(size)].cs_cachep))
    if ac != NULL:
        ac.avail = 0
        ac.limit = limit
        ac.batchcount = batchcount
        ac.touched = 0
    return ac


@guest
def cpu_cache_get(cachep: ptr[KmemCache]) -> ptr[ArrayCache]:
    """What this CPU has at hand; NULL while caches come up, or without memory.  Interrupts are off."""
    cpu = smp_processor_id()
    if cachep.array[cpu] == NULL and cachep.limit != 0:
        if cachep.nodelists[0].shared == NULL:
            cachep.nodelists[0].shared = alloc_arraycache(SHARED_BATCHES * cachep.batchcount, cachep.batchcount)
        cachep.array[cpu] = alloc_arraycache(cachep.limit, cachep.batchcount)
    return cachep.array[cpu]


@guest
def transfer_objects(to: ptr[ArrayCache], source: ptr[ArrayCache], most: u32) -> u32:
    """Move the objects that were put aside last; how many."""
    nr = min(min(source.avail, most), to.limit - to.avail)
    memcpy(ac_entry(to) + to.avail, ac_entry(source) + (source.avail - nr), nr * sizeof(ptr[void]))
    source.avail -= nr
    to.avail += nr
    to.touched = 1
    return nr


@guest
def kmem_cache_init() -> None:
    """Make the caches of kmalloc(), and where others come from."""
    init_list_head(cache_chain)
    setup_cache(cache_cache, "kmem_cache", sizeof(KmemCache), L1_CACHE_BYTES)
    for i in range(NR_CACHES):
        cachep = cast(ptr[KmemCache], kmem_cache_zalloc(cache_cache))
        malloc_sizes[i].cs_size = u32(1) << (MIN_SHIFT + i)
        malloc_sizes[i].cs_cachep = cachep
        setup_cache(cachep, malloc_names[i], malloc_sizes[i].cs_size, L1_CACHE_BYTES)
    for i in range(NR_CACHES):
        enable_cpucache(malloc_sizes[i].cs_cachep)
    enable_cpucache(cache_cache)


@guest
def kmem_cache_create(name: cstr, size: usize) -> ptr[KmemCache]:
    """A cache of objects of one kind, or NULL."""
    cachep = cast(ptr[KmemCache], kmem_cache_zalloc(cache_cache))
    if cachep != NULL:
        setup_cache(cachep, name, size, SMALLEST_ALIGN)
        enable_cpucache(cachep)
    return cachep


@guest
def cache_index(size: usize) -> u32:
    """Which of malloc_sizes has objects of `size` bytes or more."""
    index: u32 = 0
    while (u32(1) << (MIN_SHIFT + index)) < size:
        index += 1
    return index


@guest
def alloc_slabmgmt(cachep: ptr[KmemCache], memory: ptr[u8]) -> ptr[Slab]:
    """The Slab for some pages, in them or outside; NULL without memory."""
    if cachep.flags & CFLGS_OFF_SLAB == 0:
        slab = cast(ptr[Slab], memory)
        slab.s_mem = memory + cachep.slab_size
        return slab
    # Not by way of what the CPU has at hand: that may itself have to come from the cache whose lock is held.
    slab = cast(ptr[Slab], cache_alloc_one(cachep.slabp_cache))
    if slab != NULL:
        slab.s_mem = memory
    return slab


@guest
def cache_grow(cachep: ptr[KmemCache]) -> bool:
    """Cut some more pages into objects; the list's lock is held."""
    page = alloc_pages(cachep.gfporder)
    if page == NULL:
        return False
    slab = alloc_slabmgmt(cachep, cast(ptr[u8], page_address(page)))
    if slab == NULL:
        put_pages(page, cachep.gfporder)
        return False
    for i in range(u32(1) << cachep.gfporder):
        page[i].flags = PG_slab
        page[i].lru.next = cast(ptr[ListHead], cachep)
        page[i].lru.prev = cast(ptr[ListHead], slab)
    slab.colouroff = 0
    slab.inuse = 0
    slab.free = 0
    for i in range(cachep.num):
        slab_bufctl(slab)[i] = i + 1
    slab_bufctl(slab)[cachep.num - 1] = BUFCTL_END
    list_add(slab.list, cachep.nodelists[0].slabs_free)
    cachep.nodelists[0].free_objects += cachep.num
    return True


@guest
def slab_get_obj(cachep: ptr[KmemCache]) -> ptr[void]:
    """A free object off the slabs, NULL without memory; the list's lock is held."""
    l3 = cachep.nodelists[0]
    head: ptr[ListHead] = l3.slabs_partial
    if list_empty(head):
        head = l3.slabs_free
        if list_empty(head) and not cache_grow(cachep):
            return NULL
    slab = cast(ptr[Slab], head.next)
    objp = cast(ptr[u8], slab.s_mem) + cachep.buffer_size * slab.free
    slab.inuse += 1
    slab.free = slab_bufctl(slab)[slab.free]
    l3.free_objects -= 1
    list_del(slab.list)
    list_add(slab.list, l3.slabs_full if slab.free == BUFCTL_END else l3.slabs_partial)
    return objp


@guest
def slab_put_obj(cachep: ptr[KmemCache], objp: ptr[void]) -> None:
    """Give an object back to its slab; the list's lock is held."""
    l3 = cachep.nodelists[0]
    slab = cast(ptr[Slab], virt_to_page(objp).lru.prev)
    number = u32((usize(objp) - usize(slab.s_mem)) // cachep.buffer_size)
    slab_bufctl(slab)[number] = slab.free
    slab.free = number
    slab.inuse -= 1
    l3.free_objects += 1
    list_del(slab.list)
    list_add(slab.list, l3.slabs_free if slab.inuse == 0 else l3.slabs_partial)


@guest
def cache_alloc_one(cachep: ptr[KmemCache]) -> ptr[void]:
    """An object past what CPUs have at hand; interrupts are off."""
    spin_lock(cachep.nodelists[0].list_lock)
    objp = slab_get_obj(cachep)
    spin_unlock(cachep.nodelists[0].list_lock)
    return objp


@guest
def cache_alloc_refill(cachep: ptr[KmemCache], ac: ptr[ArrayCache]) -> None:
    """Fetch objects for this CPU; interrupts are off."""
    l3 = cachep.nodelists[0]
    spin_lock(l3.list_lock)
    if l3.shared != NULL:
        transfer_objects(ac, l3.shared, ac.batchcount)
    while ac.avail < ac.batchcount:
        objp = slab_get_obj(cachep)
        if objp == NULL:
            break
        ac_entry(ac)[ac.avail] = objp
        ac.avail += 1
    spin_unlock(l3.list_lock)


@guest
def cache_flusharray(cachep: ptr[KmemCache], ac: ptr[ArrayCache]) -> None:
    """Put aside for other CPUs, or give back, what this CPU has had at hand longest; interrupts are off."""
    l3 = cachep.nodelists[0]
    spin_lock(l3.list_lock)
    batchcount = ac.batchcount
    room: u32 = 0
    if l3.shared != NULL:
        room = min(l3.shared.limit - l3.shared.avail, batchcount)
    if room != 0:
        batchcount = room
        memcpy(ac_entry(l3.shared) + l3.shared.avail, ac_entry(ac), batchcount * sizeof(ptr[void]))
        l3.shared.avail += batchcount
    else:
        for i in range(batchcount):
            slab_put_obj(cachep, ac_entry(ac)[i])
    spin_unlock(l3.list_lock)
    ac.avail -= batchcount
    memmove(ac_entry(ac), ac_entry(ac) + batchcount, ac.avail * sizeof(ptr[void]))


failslab: u32 = 0
"""So many allocations of objects fail from now on (failslab's `times`, mm/slab.c of 2.6.20); set from outside."""


@guest
def kmem_cache_alloc(cachep: ptr[KmemCache]) -> ptr[void]:
    """An object, not cleared; NULL if there is none."""
    global failslab
    if failslab != 0:
        failslab -= 1
        return NULL
    objp: ptr[void] = NULL
    flags = local_irq_save()
    ac = cpu_cache_get(cachep)
    if ac == NULL:
        objp = cache_alloc_one(cachep)
    else:
        if ac.avail == 0:
            cache_alloc_refill(cachep, ac)
        if ac.avail != 0:
            ac.avail -= 1
            ac.touched = 1
            objp = ac_entry(ac)[ac.avail]
    local_irq_restore(flags)
    return objp


@guest
def kmem_cache_zalloc(cachep: ptr[KmemCache]) -> ptr[void]:
    """kmem_cache_alloc() of zeroed memory."""
    objp = kmem_cache_alloc(cachep)
    if objp != NULL:
        memset(objp, 0, cachep.buffer_size)
    return objp


@guest
def kmem_cache_free(cachep: ptr[KmemCache], objp: ptr[void]) -> None:
    """Give an object back."""
    flags = local_irq_save()
    ac = cpu_cache_get(cachep)
    if ac == NULL:
        spin_lock(cachep.nodelists[0].list_lock)
        slab_put_obj(cachep, objp)
        spin_unlock(cachep.nodelists[0].list_lock)
    else:
        if ac.avail == ac.limit:
            cache_flusharray(cachep, ac)
        ac_entry(ac)[ac.avail] = objp
        ac.avail += 1
    local_irq_restore(flags)


@guest
def pages_order(size: usize) -> u32:
    """The smallest order whose blocks hold `size` bytes."""
    order: u32 = 0
    while (usize(PAGE_SIZE) << order) < size:
        order += 1
    return order


@guest
def kmalloc(size: usize) -> ptr[void]:
    """Memory of at least `size` bytes, not cleared; NULL if there is none."""
    if size > 1 << MAX_SHIFT:
        order = pages_order(size)
        page = alloc_pages(order)
        if page == NULL:
            return NULL
        page.private = order
        return page_address(page)
    return kmem_cache_alloc(malloc_sizes[cache_index(size)].cs_cachep)


@guest
def kzalloc(size: usize) -> ptr[void]:
    """kmalloc() of zeroed memory."""
    memory = kmalloc(size)
    if memory != NULL:
        memset(memory, 0, size)
    return memory


@guest
def kfree(memory: ptr[void]) -> None:
    """Give back what kmalloc() gave; NULL is nothing."""
    if memory == NULL:
        return
    page: ptr[Page] = virt_to_page(memory)
    if page.flags & PG_slab == 0:
        put_pages(page, u32(page.private))
        return
    kmem_cache_free(cast(ptr[KmemCache], page.lru.next), memory)
