# SPDX-License-Identifier: GPL-2.0-or-later
"""What dump tools have to know of this kernel, as a note (VMCOREINFO of kernel/kexec.c, 2.6.24; keys for this release).

The text is made at boot and lies in the note's page, whose address /sys/kernel/vmcoreinfo tells to kexec-tools; a crash
adds its time.  Sizes and offsets are the compiler's own.
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
    external,
    fn,
    guest,
    i32,
    length,
    offsetof,
    placed,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import PAGE_SIZE, swapper_pg_dir
from kdumpsim.kernel.core.elf import ElfNote
from kdumpsim.kernel.core.printk import log_buf, log_buf_len, log_end, logged_chars
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.core.timer import get_seconds
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.version import system_utsname
from kdumpsim.kernel.core.vsprintf import vsnprintf
from kdumpsim.kernel.mm.page_alloc import Page, PG_buddy, PG_slab, mem_map
from kdumpsim.kernel.mm.page_flags import PG_lru, PG_swapcache
from kdumpsim.kernel.mm.vmalloc import VmStruct, vmlist

NOTE_NAME: Final[cstr] = "VMCOREINFO"
NOTE_NAME_SIZE: Final = 11
"""With its NUL."""
NOTE_NAME_ROOM: Final = 12
NT_GNU_BUILD_ID: Final = 3


class VmcoreinfoNote(Struct):
    """The note; the null note that ends the list follows the text."""

    header: ElfNote
    name: array[u8] = length(NOTE_NAME_ROOM)


vmcoreinfo_note: array[u8] = length(PAGE_SIZE, align=PAGE_SIZE)
vmcoreinfo_size: usize = 0
"""Bytes of text."""

_stext: array[u8] = external()
__start_notes: array[u8] = external()
__stop_notes: array[u8] = external()


@guest
def vmcoreinfo_text() -> ptr[u8]:
    """Where the text begins."""
    return addr(vmcoreinfo_note[sizeof(VmcoreinfoNote)])


@guest
def update_vmcoreinfo_note() -> None:
    """Bring the note's header up to date with the text."""
    note = cast(ptr[VmcoreinfoNote], vmcoreinfo_note)
    note.header.n_namesz = NOTE_NAME_SIZE
    note.header.n_descsz = u32(vmcoreinfo_size)
    note.header.n_type = 0
    strlcpy(note.name, NOTE_NAME, NOTE_NAME_ROOM)


@guest
def vmcoreinfo_append_str(fmt: cstr, *args: usize) -> None:
    """Add text; what finds no room is left out."""
    global vmcoreinfo_size
    room: usize = PAGE_SIZE - sizeof(VmcoreinfoNote) - sizeof(ElfNote) - vmcoreinfo_size
    used = u32(vsnprintf(vmcoreinfo_text() + vmcoreinfo_size, room, fmt, cast(ptr[usize], args)))
    vmcoreinfo_size += min(used, room - 1)


@guest
def vmcoreinfo_symbol(name: cstr, address: ptr[void]) -> None:
    """SYMBOL(name): an address."""
    vmcoreinfo_append_str(f"SYMBOL({name:s})={usize(address):x}\n")


@guest
def vmcoreinfo_struct(name: cstr, size: usize) -> None:
    """SIZE(name): bytes of a structure."""
    vmcoreinfo_append_str(f"SIZE({name:s})={size}\n")


@guest
def vmcoreinfo_offset(name: cstr, offset: u32) -> None:
    """OFFSET(name): where a field is in its structure."""
    vmcoreinfo_append_str(f"OFFSET({name:s})={offset}\n")


@guest
def vmcoreinfo_flag(name: cstr, flag: u32) -> None:
    """NUMBER(name): which bit a page flag is."""
    bit: u32 = 0
    while flag >> bit & 1 == 0:
        bit += 1
    vmcoreinfo_append_str(f"NUMBER({name:s})={bit}\n")


@guest
def vmcoreinfo_build_id() -> None:
    """BUILD-ID: the digest that the linker left in a note."""
    note = cast(ptr[ElfNote], __start_notes)
    if usize(__stop_notes) - usize(__start_notes) < sizeof(ElfNote) or note.n_type != NT_GNU_BUILD_ID:
        return
    digest = cast(ptr[u8], note + 1) + ((note.n_namesz + 3) & ~u32(3))
    vmcoreinfo_append_str("BUILD-ID=")
    for i in range(note.n_descsz):
        vmcoreinfo_append_str(f"{digest[i]:02x}")
    vmcoreinfo_append_str("\n")


@guest
def vmcoreinfo_log() -> None:
    """Where the log is (printk.c)."""
    vmcoreinfo_symbol("log_buf", addr(log_buf))
    vmcoreinfo_symbol("log_end", addr(log_end))
    vmcoreinfo_symbol("log_buf_len", addr(log_buf_len))
    vmcoreinfo_symbol("logged_chars", addr(logged_chars))


@guest
def vmcoreinfo_pages() -> None:
    """What physical pages are used for."""
    vmcoreinfo_symbol("mem_map", addr(mem_map))
    vmcoreinfo_struct("page", sizeof(Page))
    vmcoreinfo_offset("page.flags", offsetof(Page, "flags"))
    vmcoreinfo_offset("page._count", offsetof(Page, "_count"))
    vmcoreinfo_offset("page.mapping", offsetof(Page, "mapping"))
    vmcoreinfo_offset("page.lru", offsetof(Page, "lru"))
    vmcoreinfo_offset("page.private", offsetof(Page, "private"))
    vmcoreinfo_struct("list_head", sizeof(ListHead))
    vmcoreinfo_offset("list_head.next", offsetof(ListHead, "next"))
    vmcoreinfo_offset("list_head.prev", offsetof(ListHead, "prev"))
    vmcoreinfo_flag("PG_lru", PG_lru)
    vmcoreinfo_flag("PG_slab", PG_slab)
    vmcoreinfo_flag("PG_swapcache", PG_swapcache)
    vmcoreinfo_flag("PG_buddy", PG_buddy)


@guest
def crash_save_vmcoreinfo_init() -> i32:
    """Make the text."""
    vmcoreinfo_append_str(f"OSRELEASE={system_utsname.release:s}\n")
    vmcoreinfo_build_id()
    vmcoreinfo_append_str(f"PAGESIZE={u32(PAGE_SIZE)}\n")
    vmcoreinfo_symbol("system_utsname", system_utsname)
    vmcoreinfo_symbol("swapper_pg_dir", swapper_pg_dir)
    vmcoreinfo_symbol("_stext", _stext)
    vmcoreinfo_pages()
    vmcoreinfo_log()
    update_vmcoreinfo_note()
    return 0


@guest
def crash_save_vmcoreinfo() -> None:
    """A crash: add when it was, and where vmalloc()'s addresses begin, by which tools know those of the linear map.

    2.6.30 told of vmlist at boot; here it may be empty, and tools do not expect that.
    """
    vmcoreinfo_append_str(f"CRASHTIME={get_seconds()}\n")
    if vmlist != NULL:
        vmcoreinfo_symbol("vmlist", addr(vmlist))
        vmcoreinfo_offset("vm_struct.addr", offsetof(VmStruct, "addr"))
    update_vmcoreinfo_note()


_init_vmcoreinfo: fn[[], i32] = placed("initcall4", crash_save_vmcoreinfo_init)
