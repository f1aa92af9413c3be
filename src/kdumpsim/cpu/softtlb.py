# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB fills in host machine code, so that stores run at full speed.

Unicorn 2.1.4 sends every store to a page that *could* be executed through its slow path (33 ns instead of 3), and
without NX every page could. Here the engine's virtual-TLB mode asks our code to fill its TLB, and that tells code and
data apart: a page is entered without execute permission until something is fetched from it. From then on it is
"marked" for this CPU, entered with execute permission, and its stores take the slow path, which keeps self-modifying
code exact. The first fetch from a page empties the engine's TLB, so no older entry can write to it behind its back.

What a guest sees of a TLB, entries that are older than its page tables, is decided here and not by the engine, whose
TLB also empties when code is translated or dropped, when two pages meet in one place, and by the host's clock. The
CPU's own TLB is a table of entries by linear page, up to ENTRIES of them. A fill takes an entry from there and
walks the page tables only for one that is missing, or does not allow the access; the engine's TLB has nothing that
this one has not. It is emptied by MOV to a control register, INVLPG (of all pages, SDM vol. 3A, 4.10.4.1 allows it),
a task switch, INIT and RESET, and when another page comes to a full one. It is part of a CPU's state, so that copies,
restored machines and cold runs do the same whatever their engines have translated.

CPUs that share memory see each other's stores into code at the next slice (`CodeSharing`): a store to a page that any
CPU has marked is entered in a list, the other CPUs drop what they have translated from it, and a new mark makes every
other CPU empty its TLB, so that its next store is noticed.

The fill walks 32-bit page tables (SDM vol. 3A, 4.3), 4 MiB pages included, and sets accessed and dirty bits. Whatever
is not plain - not present, no permission, reserved bits, PAE, tables outside RAM - it refuses; then `Engine` repeats
the instruction with the engine's own walker, which faults precisely, or finds that all is well (a ring 3 segment load
reading the GDT). A guest with PAE runs on the engine's own walker all the time, and on the engine's own TLB.

A fill puts EIP back to the instruction that needs it. In the middle of a task switch that loses the new task's EIP, so
the fill tells `Engine` when another task's segments are being loaded.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from unicorn.unicorn_const import UC_HOOK_TLB_FILL, UC_TLB_CPU, UC_TLB_VIRTUAL

from .bus import PAGE, RamBlock
from .layout import CR0, CR3, CR4, CS, EFLAGS, HFLAGS, SELECTOR, TR
from .native import CTL_FLUSH_TLB, CTL_TLB_TYPE, Slice, check, executable, hook_add, lib
from .physical import noted

PAGES: Final = 1 << 20
ENTRIES: Final = 1024
"""Pages that the CPU's TLB holds; it is emptied when another one comes."""
WRITTEN: Final = 64  # stores to code pages noted in one slice, beyond which every other CPU forgets all its code

LISTING: Final = f"""
    # bool fill(uc %rdi, linear page %rsi, access %edx, entry *%rcx, Slice *%r8)
    # entry: u64 physical, u32 permissions (1 read, 2 write, 4 execute); access: 16 read, 17 write, 18 fetch
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        subq $8, %rsp
        movq %rdi, %rbx
        movl %esi, %ebp
        movl %edx, %r12d
        movq %rcx, %r13
        movq %r8, %r14
        movq 440(%r14), %r15             # the CPU state
        cmpl $18, %r12d
        je steady
        movzwl {4 * SELECTOR[TR]}(%r15), %eax
        cmpl 392(%r14), %eax
        je steady
        movl %eax, 392(%r14)
        callq *400(%r14)
    steady:
        cmpl $0, {8 * CR0}(%r15)
        jl paged
        movl %ebp, %edi
        movl $3, %r10d
        jmp mark
    paged:
        testb $0x20, {8 * CR4}(%r15)        # CR4.PAE
        jne refuse
        xorl %r9d, %r9d                  # user access? CPL 3 or virtual-8086
        movl {4 * SELECTOR[CS]}(%r15), %eax
        andl $3, %eax
        cmpl $3, %eax
        je user
        testl $0x20000, {8 * EFLAGS}(%r15)
        je walk
    user:
        movl $4, %r9d
    walk:
        movq 472(%r14), %rcx             # does the CPU's TLB have it?
        movl %ebp, %edx
        shrl $12, %edx
        movl (%rcx,%rdx,4), %esi
        testb $1, %sil
        je fresh
        testl %r9d, %r9d
        je 1f
        testb $4, %sil
        je fresh
    1:  movl %esi, %r11d                 # may be written?
        andl $2, %r11d
        orl %r9d, %r11d
        jne 2f
        testl $0x10000, {8 * CR0}(%r15)  # CR0.WP
        jne 2f
        movl $2, %r11d
    2:  andl $2, %r11d
        movl %esi, %edi
        andl $0xfffff000, %edi
        movl $1, %r10d
        testb $0x40, %sil                # dirty?
        je 3f
        orl %r11d, %r10d
    3:  cmpl $17, %r12d
        jne mark
        testb $2, %r10b
        jne mark
    fresh:
        movl {8 * CR3}(%r15), %eax
        andl $0xfffff000, %eax
        movl %ebp, %ecx
        shrl $20, %ecx
        andl $0xffc, %ecx
        orl %ecx, %eax
        callq word                       # the directory entry
        testb $1, %al
        je refuse
        movl %eax, %esi
        testb $0x80, %al                 # a 4 MiB page?
        je small
        testb $0x10, {8 * CR4}(%r15)        # CR4.PSE
        je small
        testl $0x3fe000, %eax
        jne refuse
        movl %eax, %edi
        andl $0xffc00000, %edi
        movl %ebp, %ecx
        andl $0x3ff000, %ecx
        orl %ecx, %edi
        jmp check
    small:
        testb $0x20, %al
        jne table
        orl $0x20, (%r8)
    table:
        andl $0xfffff000, %eax
        movl %ebp, %ecx
        shrl $10, %ecx
        andl $0xffc, %ecx
        orl %ecx, %eax
        callq word                       # the table entry
        testb $1, %al
        je refuse
        andl %eax, %esi
        movl %eax, %edi
        andl $0xfffff000, %edi
    check:                               # entry %eax at %r8, rights %esi, physical %edi
        movl %esi, %r11d
        andl $2, %r11d                   # may be written?
        testl %r9d, %r9d
        je supervisor
        testb $4, %sil
        je refuse
        jmp accessed
    supervisor:
        testl $0x10000, {8 * CR0}(%r15)  # CR0.WP
        jne accessed
        movl $2, %r11d
    accessed:
        movl $0x20, %ecx
        cmpl $17, %r12d
        jne update
        testl %r11d, %r11d
        je refuse
        movl $0x60, %ecx
    update:
        movl %eax, %edx
        andl %ecx, %edx
        cmpl %ecx, %edx
        je grant
        orl %ecx, %eax
        orl %ecx, (%r8)
    grant:
        movl $1, %r10d
        andl $6, %esi                    # the TLB's new entry: physical page, dirty, user, writable, present
        incl %esi
        testb $0x40, %al                 # a clean page is entered read-only: the first store fills again
        je 1f
        orl %r11d, %r10d
        orl $0x40, %esi
    1:  orl %edi, %esi
        andl $0xfffff047, %esi
        movq 472(%r14), %rcx
        movl %ebp, %edx
        shrl $12, %edx
        movl (%rcx,%rdx,4), %eax
        movl %esi, (%rcx,%rdx,4)
        testl %eax, %eax
        je new
        cmpl %eax, %esi
        je mark
        notl %esi                        # does the engine's TLB have what this one no longer allows?
        testl %eax, %esi
        jne drop
        notl %esi
        xorl %esi, %eax
        testl $0xfffff000, %eax
        je mark
        jmp drop
    new:
        movq 480(%r14), %r8
        movl 488(%r14), %eax
        cmpl ${ENTRIES}, %eax
        jb room
    1:  decl %eax
        movl (%r8,%rax,4), %r11d
        movl $0, (%rcx,%r11,4)
        testl %eax, %eax
        jne 1b
        movl %esi, (%rcx,%rdx,4)
        movl %edx, (%r8)
        movl $1, 488(%r14)
    drop:
        pushq %rdi
        pushq %r10
        movq %rbx, %rdi
        movl ${CTL_FLUSH_TLB:#x}, %esi
        xorl %eax, %eax
        callq *56(%r14)
        popq %r10
        popq %rdi
        jmp mark
    room:
        movl %edx, (%r8,%rax,4)
        incl %eax
        movl %eax, 488(%r14)
    mark:                                # physical %edi, permissions %r10d
        movl %edi, %eax
        movq %rax, (%r13)
        shrl $12, %eax
        movq 72(%r14), %rcx
        cmpl $18, %r12d
        jne data
        cmpb $0, (%rcx,%rax)
        jne code
        movb $1, (%rcx,%rax)
        movq 80(%r14), %rdx
        testq %rdx, %rdx
        je alone
        movb $1, (%rdx,%rax)
        movq 88(%r14), %rdx
        incq (%rdx)
    alone:
        movl %r10d, %ebp                 # the linear page is not needed any more
        movq %rbx, %rdi
        movl ${CTL_FLUSH_TLB:#x}, %esi
        xorl %eax, %eax
        callq *56(%r14)
        movl %ebp, %r10d
    code:
        orl $4, %r10d
        jmp done
    data:
        cmpb $0, (%rcx,%rax)
        jne code
    done:
        testb $2, %r10b
        je granted
        movq 80(%r14), %rdx
        testq %rdx, %rdx
        je granted
        movl (%r13), %eax
        shrl $12, %eax
        cmpb $0, (%rdx,%rax)             # has any CPU code from this page?
        je granted
        cmpl $17, %r12d
        je written
        andl $5, %r10d                   # no store yet: the first one fills again
        jmp granted
    written:
        movl 96(%r14), %ecx
        cmpl ${WRITTEN}, %ecx
        ja granted
        movl %eax, 100(%r14,%rcx,4)
        incl 96(%r14)
    granted:
        movl %r10d, 8(%r13)
        movl $1, %eax
    out:
        addq $8, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret
    refuse:
        xorl %eax, %eax
        jmp out
    word:                                # physical address %eax -> its word %eax, where it is %r8
        movl %eax, %r8d
        shrl $12, %r8d
        movq 64(%r14), %rdx
        movq (%rdx,%r8,8), %r8
        testq %r8, %r8
        je nowhere
        movl %eax, %ecx
        andl $0xfff, %ecx
        addq %rcx, %r8
        movl (%r8), %eax
        ret
    nowhere:
        addq $8, %rsp
        jmp refuse
"""

EMPTY_LISTING: Final = f"""
    # void empty(uc %rdi, address %rsi, size %edx, Slice *%rcx): MOV to a control register, or INVLPG, comes next
        movq 440(%rcx), %rax
        testb $3, {4 * HFLAGS}(%rax)        # CPL: it will be a #GP
        jne out
        movl 488(%rcx), %edx
        movl $0, 488(%rcx)
        movq 480(%rcx), %r8
        movq 472(%rcx), %r9
        jmp 2f
    1:  decl %edx
        movl (%r8,%rdx,4), %eax
        movl $0, (%r9,%rax,4)
    2:  testl %edx, %edx
        jne 1b
        movl ${CTL_FLUSH_TLB:#x}, %esi
        xorl %eax, %eax
        jmpq *56(%rcx)
    out:
        ret
"""

CODE: Final = (
    "535541544155415641574883ec084889fb89f54189d44989cd4d89c64d8bbeb80100004183fc12741f410fb7876001000041"
    "3b8688010000740e4189868801000041ff96900100004183bfa8010000007c0d89ef41ba03000000e91d02000041f687c801"
    "0000200f85b20200004531c9418b87d000000083e00383f803740d41f7878800000000000200740641b904000000498b8ed8"
    "01000089eac1ea0c8b349140f6c60174594585c9740640f6c604744e4189f34183e3024509cb751341f787a8010000000001"
    "00750641bb020000004183e30289f781e700f0ffff41ba0100000040f6c64074034509da4183fc110f858601000041f6c202"
    "0f857c010000418b87c00100002500f0ffff89e9c1e91481e1fc0f000009c8e805020000a8010f84f901000089c6a8807429"
    "41f687c801000010741fa900e03f000f85de01000089c781e70000c0ff89e981e100f03f0009cfeb31a82075044183082025"
    "00f0ffff89e9c1e90a81e1fc0f000009c8e8af010000a8010f84a301000021c689c781e700f0ffff4189f34183e3024585c9"
    "740c40f6c6040f8483010000eb1341f787a801000000000100750641bb02000000b9200000004183fc11750e4585db0f845a"
    "010000b96000000089c221ca39ca740509c841090841ba0100000083e606ffc6a84074064509da83ce4009fe81e647f0ffff"
    "498b8ed801000089eac1ea0c8b049189349185c0741739c6746ef7d685c67545f7d631f0a900f0ffff745deb384d8b86e001"
    "0000418b86e80100003d000400007239ffc8458b1c8042c704990000000085c075ee89349141891041c786e8010000010000"
    "005741524889dfbe0b00004031c041ff5638415a5feb0d41891480ffc0418986e801000089f849894500c1e80c498b4e4841"
    "83fc127538803c0100752cc6040101498b56504885d2740bc6040201498b565848ff024489d54889dfbe0b00004031c041ff"
    "56384189ea4183ca04eb06803c010075f441f6c2027434498b56504885d2742b418b4500c1e80c803c0200741e4183fc1174"
    "064183e205eb12418b4e6083f94077094189448e6441ff466045895508b8010000004883c408415f415e415d415c5d5bc331"
    "c0ebed4189c041c1e80c498b56404e8b04c24d85c0740f89c181e1ff0f00004901c8418b00c34883c408ebd3"
)


EMPTY_CODE: Final = (
    "488b81b8010000f680b000000003753c8b91e8010000c781e8010000000000004c8b81e00100004c8b89d8010000eb0effca"
    "418b049041c704810000000085d275eebe0b00004031c0ff6138c3"
)


@lru_cache(maxsize=8)
def host_pages(blocks: tuple[RamBlock, ...]) -> mmap.mmap:
    """Host address of every writable physical page, 0 for the others; shared by the CPUs of a machine."""
    table = mmap.mmap(-1, PAGES * 8, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    words = memoryview(table).cast("Q")
    for block in blocks:
        if block.writable:
            first, count = block.base // PAGE, block.size // PAGE
            host = block.host_address
            words[first : first + count] = array("Q", range(host, host + count * PAGE, PAGE))
    return table


@lru_cache(maxsize=1)
def _code() -> tuple[mmap.mmap, dict[str, int]]:
    return executable({"fill": bytes.fromhex(CODE), "empty": bytes.fromhex(EMPTY_CODE)})


class CodeSharing:
    """What the CPUs on one memory tell each other about code pages."""

    def __init__(self) -> None:
        self.code_anywhere = mmap.mmap(-1, PAGES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.new_code = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._count = memoryview(self.new_code).cast("Q")

    @property
    def count(self) -> int:
        """How many pages have been marked since power-on, by anybody."""
        return self._count[0]


class SoftTlb:
    """The fill attached to one engine, its marks, and the choice of the walker."""

    def __init__(
        self, uc: ctypes.c_void_p, shared: Slice, blocks: tuple[RamBlock, ...], sharing: CodeSharing | None
    ) -> None:
        self._uc = uc
        if sharing is not None:
            shared.code_anywhere = _address_of(sharing.code_anywhere)
            shared.new_code = _address_of(sharing.new_code)
        self._table = host_pages(blocks)
        self.marks = mmap.mmap(-1, PAGES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        """A byte for each physical page: has this CPU fetched code from it?"""
        shared.host_pages = _address_of(self._table)
        shared.marks = _address_of(self.marks)
        self._shared = shared
        entries = mmap.mmap(-1, PAGES * 4, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages = mmap.mmap(-1, ENTRIES * 4, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        shared.tlb_entries, shared.tlb_pages = _address_of(entries), _address_of(pages)
        self._entries, self._pages = memoryview(entries).cast("I"), memoryview(pages).cast("I")
        self.empty_hook = _code()[1]["empty"]
        """For the instructions that empty the TLB."""
        hook_add(uc, UC_HOOK_TLB_FILL, _code()[1]["fill"], ctypes.addressof(shared))
        self.active = False
        self.use(True)

    def use(self, active: bool) -> None:
        """Fill by our walker, or by the engine's own. Entries made by either are good for both."""
        check(lib.uc_ctl(self._uc, CTL_TLB_TYPE, ctypes.c_int(UC_TLB_VIRTUAL if active else UC_TLB_CPU)))
        self.active = active

    def marked(self, begin: int, end: int) -> bool:
        """Can there be code translated from this physical range?"""
        return self.marks.find(b"\1", begin >> 12, (end - 1 >> 12) + 1) >= 0

    def marked_pages(self) -> Iterator[int]:
        """Physical addresses of the pages that there can be code translated from."""
        return noted(self.marks)

    def clear(self, begin: int = 0, end: int = 1 << 32) -> None:
        """Nothing is translated from these pages any more. The TLB has to be flushed, too."""
        if begin == 0 and end == 1 << 32 and sys.platform == "linux":
            self.marks.madvise(mmap.MADV_DONTNEED)
        else:
            first, last = begin >> 12, end >> 12
            self.marks[first:last] = bytes(last - first)

    def empty(self) -> None:
        """Forget all pages, as the guest may see. The engine's TLB has to be flushed, too."""
        shared, entries = self._shared, self._entries
        for page in self._pages[: shared.tlb_count]:
            entries[page] = 0
        shared.tlb_count = 0

    def entry(self, page: int) -> int:
        """What it holds of a linear page: physical page, dirty, user, writable, present; 0 if nothing."""
        return self._entries[page]

    def state(self) -> bytes:
        """Linear page and entry of each page it holds, as u32, in the order they came."""
        pages = self._pages[: self._shared.tlb_count]
        return b"".join(page.to_bytes(4, "little") + self._entries[page].to_bytes(4, "little") for page in pages)

    def restore(self, state: bytes) -> None:
        """Back to a `state()`. The engine's TLB has to be flushed, too."""
        self.empty()
        words = memoryview(state).cast("I")
        for number, page in enumerate(words[::2]):
            self._pages[number] = page
            self._entries[page] = words[2 * number + 1]
        self._shared.tlb_count = len(words) // 2


def _address_of(area: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(area))
