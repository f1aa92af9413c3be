# SPDX-License-Identifier: GPL-2.0-or-later
"""One Unicorn engine and its plumbing: contexts, slices, stale code, watches."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Final

from unicorn.unicorn_const import (
    UC_ERR_EXCEPTION,
    UC_HOOK_CODE,
    UC_PROT_EXEC,
)

from . import layout, native
from .bus import PAGE, CpuBus, Shortcuts
from .descriptors import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    GP,
    IOPL,
    TSS16,
    TSS32,
    TSS32_AVAILABLE,
    TSS32_BUSY,
    TYPE,
    Fault,
)
from .layout import BASE, CR0, CR3, CR4, CS, FLAGS, HF_CPL, HFLAGS, LIMIT, TR, Context
from .native import lib
from .neighbours import Neighbours, Sharing
from .paging import Paging
from .physical import PhysicalMemory
from .sites import Sites
from .softtlb import SoftTlb
from .wiring import Wiring

_ADDRESS_SPACE: Final = 1 << 32
_DR6_BS: Final = 1 << 14
_FLUSH_ALL: Final = 64  # stale pages in one write, beyond which everything translated is dropped
_MANY_STALE: Final = 4096  # the same for stale ranges: to drop one takes 2 us, to translate a block anew 20
_LONGEST: Final = 15  # bytes of an instruction

_void, _u64, _u32, _int = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int
_IN = ctypes.CFUNCTYPE(_u32, _void, _u32, _int, _void)
_OUT = ctypes.CFUNCTYPE(None, _void, _u32, _int, _u32, _void)
_MMIO_READ = ctypes.CFUNCTYPE(_u64, _void, _u64, _u32, _void)
_MMIO_WRITE = ctypes.CFUNCTYPE(None, _void, _u64, _u32, _u64, _void)
_INSN = ctypes.CFUNCTYPE(_u32, _void, _void)
_NOTICE = ctypes.CFUNCTYPE(None)
_CODE = ctypes.CFUNCTYPE(None, _void, _u64, _u32, _void)


class Engine:
    """Everything that talks to Unicorn on behalf of one CPU.

    Outside `start`, `context` is the CPU's state: read it freely, and set `dirty` after changing it.
    """

    def __init__(
        self,
        index: int,
        bus: CpuBus,
        memory: PhysicalMemory,
        neighbours: Neighbours | None = None,
        shortcuts: Shortcuts | None = None,
    ) -> None:
        self.index = index
        self.offsets = layout.verify()
        self.uc = native.open_engine()
        self.slice = native.Slice()
        self.error: BaseException | None = None  # raised by a device in a callback
        self.running = False
        self.dirty = False
        self.flush_code_pending = False
        self.retranslate_pending = False
        """Only so that new hooks of stores are called: no longer wanted once these are gone again."""
        self.limit_after_pause: int | None = None
        self._flush_tlb_pending = False
        self._stale: list[tuple[int, int]] = []
        self._keep: list[object] = []
        self._watches: dict[int, int] = {}
        self.hook_changes = 0
        """How often a hook of an instruction has come or gone."""
        self._watching: dict[int, Callable[[int], None]] = {}
        """Those of the watches that are not asleep."""
        self._step_hook: int | None = None
        self._going: list[int] = []
        """Hooks that are no longer wanted."""
        self._bus = bus
        self._memory = memory
        native.no_exits(self.uc)
        self.slice.state = native.warm_up(self.uc, native.hooks())
        if native.hooks().compiled and not self.slice.state:
            raise layout.LayoutError("unicorn keeps the state of this CPU elsewhere than that of others")
        self._wiring = Wiring(self, bus, shortcuts or Shortcuts())
        self.context = Context.of(self.uc)
        self._scratch = Context.of(self.uc)
        self.soft_tlb: SoftTlb | None = None
        if native.hooks().compiled:
            sharing = None if neighbours is None else neighbours.sharing
            self.soft_tlb = SoftTlb(self.uc, self.slice, tuple(bus.ram), sharing)
        self._reference: weakref.ref[Sharing] = weakref.ref(self)
        self._neighbours = neighbours
        self._code_seen = 0
        self._others_ran = False  # since this CPU has forgotten its code last
        if neighbours is not None:
            neighbours.engines.append(self._reference)
        empty = None if self.soft_tlb is None else self.soft_tlb.empty_hook
        self.sites = Sites(self.uc, self.slice, self._translate_anew, self._going.append, empty)
        self._denied = False
        self._in_task_switch = False
        keep, self.slice.new_task = native.callback(_NOTICE, self._on_new_task)
        self._keep.append(keep)
        self._repeating: int | None = None  # linear address of the instruction being repeated
        self.save()

    def close(self) -> None:
        """Give the engine back. Nothing else may be called afterwards."""
        if self.uc:
            self.context.free()
            self._scratch.free()
            lib.uc_close(self.uc)
            self.uc = ctypes.c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_scratch", None) is not None:
            self.close()

    # Port accesses by ring 3.

    def deny(self, port: int, size: int) -> bool:
        """Port access by ring 3: IOPL, then the TSS's bitmap (SDM vol. 1, 19.5). The engine checks neither.

        A denied access ends the block late: what follows it there has run, and only its registers are taken back.
        """
        if self._denied:
            return True
        context = self.live()
        q, d = context.q, context.d
        eflags = native.reg_read(self.uc, native.REG_EFLAGS)
        if not q[CR0] & CR0_PE or d[HFLAGS] & HF_CPL <= (eflags & IOPL) >> 12:
            return False
        limit, base = d[LIMIT[TR]], q[BASE[TR]]
        if d[FLAGS[TR]] & TYPE in (TSS32_AVAILABLE << 8, TSS32_BUSY << 8) and limit >= TSS32.min_limit:
            paging = Paging(self._memory)
            paging.cr0, paging.cr3, paging.cr4 = q[CR0], q[CR3], q[CR4]
            try:
                at = paging.read16(base + TSS32.io_map) + (port >> 3)
                if at + 1 <= limit and not paging.read16(base + at) >> (port & 7) & ((1 << size) - 1):
                    return False
            except Fault:
                pass
        q[layout.EFLAGS] = eflags
        self._denied = True
        self.slice.reason = native.REASON_EXCEPTION
        lib.uc_emu_stop(self.uc)
        return True

    # Slices.

    def stop(self) -> None:
        """End the running slice at the end of the current block."""
        self.slice.limit = 0

    def serialise(self) -> None:
        """From a callback: code that other CPUs have written is seen from the next block on (SDM vol. 3A, 9.1.3).

        What they have stored into code is dropped before a slice begins (`Neighbours.publish`), and what devices have
        stored ends it (`invalidate`), so only untracked stores are left to see to, once a turn.
        """
        if self._others_ran and self._neighbours is not None and not self._neighbours.tracking():
            self.flush_code_pending = True
            self.pause()

    def pause(self) -> None:
        """End the running slice like `stop`, but only to start it again: `limit_after_pause` is what it had left."""
        if self.limit_after_pause is None:
            self.limit_after_pause = self.slice.limit
        self.slice.limit = 0

    def fail(self, error: BaseException) -> None:
        """A device's own failure ends the slice and is raised by whoever started it."""
        if self.error is None:
            self.error = error
        self.stop()

    def start(self) -> int:
        """Run from the context's EIP until a hook or HLT ends it; the reason (see `native`)."""
        if self.dirty:
            lib.uc_context_restore(self.uc, self.context.handle)
            self.dirty = False
        neighbours = self._neighbours
        if neighbours is not None and neighbours.sharing.count != self._code_seen:
            self._flush_tlb_pending = True
        if self._flush_tlb_pending:
            self.flush_tlb()
            self._flush_tlb_pending = False
        if self._going:
            self._remove_hooks()
        if self._stale or self.flush_code_pending or self.retranslate_pending:
            self._drop_stale_code()
        soft = self.soft_tlb
        if soft is not None and not soft.active and not self.context.q[CR4] & CR4_PAE:
            self.flush_code()  # the engine's own walker has set no marks
            soft.use(True)
        if neighbours is not None and (neighbours.ran_last is None or neighbours.ran_last() is not self):
            neighbours.ran_last = self._reference
            self._others_ran = True
        error = self._emulate()
        if self._in_task_switch:
            error = self._end_task_switch(error)
        if error == UC_ERR_EXCEPTION and soft is not None and soft.active:
            error = self._repeat(soft)
        if neighbours is not None:
            self._code_seen = neighbours.sharing.count
            if self.slice.written_count:
                neighbours.publish(self)
        reason = self.slice.reason
        return -1 if error and not reason else reason

    def _emulate(self) -> int:
        self.slice.reason = native.REASON_NONE
        self.running = True
        error: int = lib.uc_emu_start(self.uc, self.context.q[layout.EIP], 0, 0, 0)
        self.running = False
        lib.uc_context_save(self.uc, self.context.handle)
        if self._denied:
            self._denied = False
            self._take_denial()
        if self.error is not None:
            failure, self.error = self.error, None
            raise failure
        return error

    def _take_denial(self) -> None:
        """Back to the port access that was denied, as a #GP(0)."""
        self.context.bytes[:] = self._scratch.bytes
        self.dirty = True
        self.context.d[self.offsets.error_code] = 0
        self.context.d[self.offsets.is_int] = 0
        self.slice.vector, self.slice.reason = GP, native.REASON_EXCEPTION

    def _repeat(self, soft: SoftTlb) -> int:
        """Our TLB fill has refused an access: repeat the instruction with the engine's own walker."""
        self.take_back()
        shared = self.slice
        soft.use(False)
        self.flush_tlb()  # what is in it is as old as the CPU's, or not there: all or nothing comes from memory
        if self.context.q[CR4] & CR4_PAE:
            return self._emulate()
        if self.limit_after_pause is None:
            self.limit_after_pause = shared.limit
        shared.limit = shared.retired + 1
        self._repeating = self.linear_eip()
        error = self._emulate()
        self._repeating = None
        soft.use(True)
        self._flush_tlb_pending = True  # it has what the CPU's TLB has not
        if shared.reason != native.REASON_EXCEPTION:
            self.flush_code()  # it went well after all, and may have translated unmarked code behind it
        return error

    def _on_new_task(self) -> None:
        """A TLB fill finds another task. Is it being switched to? Then CS has a selector, but no segment yet."""
        d = self.live().d
        if self.running and not d[LIMIT[CS]] and not d[FLAGS[CS]]:
            self._in_task_switch = True
            self.pause()
            if self.soft_tlb is not None and d[FLAGS[TR]] >> 8 & 8:  # it has loaded CR3
                self.soft_tlb.empty()

    def _end_task_switch(self, error: int) -> int:
        """The fill has put EIP back to the instruction that switched tasks; the new one's is in its TSS."""
        self._in_task_switch = False
        q, d = self.context.q, self.context.d
        if self.slice.reason not in (native.REASON_NONE, native.REASON_LIMIT) or not d[FLAGS[CS]]:
            return error  # a segment did not fit
        paging = Paging(self._memory)
        paging.cr0, paging.cr3, paging.cr4 = q[CR0], q[CR3], q[CR4]
        tss = q[BASE[TR]]
        wide = d[FLAGS[TR]] >> 8 & 8
        q[layout.EIP] = paging.read32(tss + TSS32.eip) if wide else paging.read16(tss + TSS16.ip)
        self.dirty = True
        self.slice.reason = native.REASON_LIMIT
        return 0

    def linear_eip(self) -> int:
        """CS base and EIP of the context."""
        q = self.context.q
        return q[BASE[CS]] + q[layout.EIP] & 0xFFFFFFFF

    def take_back(self) -> None:
        """Uncount what was counted of the last block but not run."""
        shared = self.slice
        done = self.linear_eip() - shared.address
        if 0 <= done < shared.size:
            shared.retired -= shared.size - done
            shared.size = 0

    def save(self) -> None:
        """Refresh `context` after a change made through register calls."""
        native.check(lib.uc_context_save(self.uc, self.context.handle))
        self.dirty = False

    def restore(self) -> None:
        """Put a changed `context` into the engine now."""
        native.check(lib.uc_context_restore(self.uc, self.context.handle))
        self.dirty = False

    def set_single_stepped(self) -> None:
        """DR6.BS: what `context` has just done was a single step. Between slices."""
        self.restore()
        native.reg_write(self.uc, native.REG_DR6, native.reg_read(self.uc, native.REG_DR6) | _DR6_BS)
        self.save()

    def plain_context(self) -> bytes:
        """The context's bytes without the engine's own pointers, which name nothing in another process, and without
        what means nothing.
        """
        data = bytearray(self.context.bytes)
        data[layout.LAZY_FLAGS] = bytes(layout.LAZY_FLAGS.stop - layout.LAZY_FLAGS.start)
        first = self.offsets.old_exception * 4 - 4 * 8  # cpu_breakpoint[4], right below the exception in flight
        data[first : first + 32] = bytes(32)
        data[-8:] = bytes(8)  # the host return address of the last fault
        return bytes(data)

    def live(self) -> Context:
        """The state right now, also from within a callback (arithmetic flags are then the engine's own business)."""
        if not self.running:
            return self.context
        native.check(lib.uc_context_save(self.uc, self._scratch.handle))
        return self._scratch

    # Translations.

    def flush_tlb(self) -> None:
        """Empty the engine's TLB, which no guest can see (`softtlb.py`)."""
        native.check(lib.uc_ctl(self.uc, native.CTL_FLUSH_TLB))

    def empty_tlb(self) -> None:
        """`context` has new control registers: the CPU's TLB is empty, and the engine's will be once it has them."""
        if self.soft_tlb is not None:
            self.soft_tlb.empty()
        self._flush_tlb_pending = True

    def tlb_state(self) -> bytes:
        """What the CPU's TLB holds; nothing where it is the engine's."""
        return b"" if self.soft_tlb is None else self.soft_tlb.state()

    def restore_tlb(self, state: bytes) -> None:
        """Back to a `tlb_state()`."""
        if self.soft_tlb is not None:
            self.soft_tlb.restore(state)
        self._flush_tlb_pending = True

    def flush_code(self) -> None:
        """Forget every translation; not from within a callback."""
        native.check(lib.uc_ctl(self.uc, native.CTL_FLUSH_TB))
        if self.soft_tlb is not None:
            self.soft_tlb.clear()
            self.flush_tlb()
        self._stale.clear()
        self.flush_code_pending = self.retranslate_pending = self._others_ran = False

    def _translate_anew(self, address: int, size: int) -> None:
        """From within the engine: end the slice before a block that has just been translated, and drop it."""
        self.pause()
        physical = ctypes.c_uint64()
        while size > 0:
            step = min(size, PAGE - address % PAGE)
            if lib.uc_vmem_translate(self.uc, _u64(address), UC_PROT_EXEC, ctypes.byref(physical)):
                self.flush_code_pending = True
                return
            self._stale.append((physical.value, physical.value + step))
            address, size = address + step, size - step

    def invalidate(self, begin: int, end: int) -> None:
        """A device or another CPU wrote a physical range: forget its translations before the next block is run."""
        soft = self.soft_tlb
        if soft is not None and soft.active and not soft.marked(begin, end):
            return
        if end - begin > _FLUSH_ALL * PAGE:
            self.flush_code_pending = True
        else:
            self._stale.append((begin, end))
        if self.running:
            self.pause()

    def _drop_stale_code(self) -> None:
        if self.flush_code_pending or self.retranslate_pending or len(self._stale) > _MANY_STALE:
            self.flush_code()
            return
        soft = self.soft_tlb
        # The call takes linear addresses, so paging is off while it looks them up.
        q = self.context.q
        cr0 = q[CR0]
        paging = cr0 & CR0_PG
        if paging:
            q[CR0] = cr0 & ~CR0_PG
            self.restore()
            self.flush_tlb()
        for begin, end in self._stale:
            # Page by page: the engine takes the range to be contiguous in its own numbering of RAM.
            for at in range(begin & ~0xFFF, end, 0x1000):
                first, last = max(begin, at), min(end, at + 0x1000)
                lib.uc_ctl(self.uc, native.CTL_REMOVE_CACHE, _u64(first), _u64(last))
                if soft is not None and last - first == PAGE:
                    soft.clear(first, last)
        self._stale.clear()
        q[CR0] = cr0
        self.flush_tlb()
        self.restore()

    # Watches.

    def watch(self, address: int, callback: Callable[[int], None]) -> None:
        """Call back before each run of the instruction at a linear address. One watch per address."""
        self.hook_changes += 1
        if address in self._watches:
            self._watching[address] = callback
            return
        self.sites.forget(address, address + _LONGEST)  # to be found again, behind this watch

        def on_code(_uc: int, at: int, _size: int, _data: int) -> None:
            if self.begins_again(at):
                return
            self.slice.hooked = self.slice.retired
            watching = self._watching.get(at)
            if watching is None:
                return
            try:
                watching(at)
            except BaseException as error:
                self.fail(error)

        self._watching[address] = callback
        keep, function = native.callback(_CODE, on_code)
        self._keep.append(keep)
        self._watches[address] = native.hook_add(self.uc, UC_HOOK_CODE, function, 0, address, address)
        self._forget_code_at(address)

    def unwatch(self, address: int) -> None:
        self._watching.pop(address, None)
        handle = self._watches.pop(address, None)
        if handle is not None:
            self._going.append(handle)
            self._forget_code_at(address)

    def _forget_code_at(self, address: int) -> None:
        """Hooks at a linear address have changed: drop what is translated from there, in whatever physical page that is
        or has been.
        """
        soft = self.soft_tlb
        if soft is not None and soft.active:
            first, last = address % PAGE, address % PAGE + _LONGEST
            for page in soft.marked_pages():
                self._stale.append((page + first, page + min(last, PAGE)))
                if last > PAGE:
                    self._stale.append((page, page + last - PAGE))
        else:
            self.flush_code_pending = True
        if self.running:
            self.pause()  # the rest of the slice might run what is translated

    def hook_instructions(self, function: int, data: int) -> None:
        """Call a C function before every instruction, from now on; between slices, and one at a time.

        It sets `Slice.hooked`, as a watch does.
        """
        self._step_hook = native.hook_add(self.uc, UC_HOOK_CODE, function, data)
        self.hook_changes += 1
        self.flush_code_pending = True

    @property
    def hooked(self) -> bool:
        """Somebody is called before every instruction."""
        return self._step_hook is not None

    def unhook_instructions(self) -> None:
        """Call it no longer, from the next slice on; what it uses must stay."""
        if self._step_hook is not None:
            self._going.append(self._step_hook)
            self._step_hook = None
            self.flush_code_pending = True
            self.hook_changes += 1

    def _remove_hooks(self) -> None:
        """Remove those that are no longer wanted: the engine looks up all linear addresses at which they were called.
        Paging is off for that, or the walks would be seen in page tables, as accessed pages.
        """
        q = self.context.q
        cr0 = q[CR0]
        q[CR0] = cr0 & ~CR0_PG
        self.restore()
        self.flush_tlb()
        for handle in self._going:
            native.hook_del(self.uc, handle)
        self._going.clear()
        q[CR0] = cr0
        self.restore()
        self.flush_tlb()

    def begins_again(self, address: int) -> bool:
        """From within a hook of the instruction there: it was called for this before, or will be again (as the first
        of a block), and does not count.
        """
        return address == self._repeating or (address != self.slice.address and self.sites.splits(address))

    def watched(self, begin: int, end: int) -> bool:
        """Is there a hook of a watch at one of these linear addresses?"""
        return any(begin <= address < end for address in self._watches)

    def sleep_watches(self) -> None:
        """Call nobody back. Hooks stay: where a watch is wanted again, nothing has to be translated anew."""
        self._watching.clear()
