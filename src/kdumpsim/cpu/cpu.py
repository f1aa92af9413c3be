# SPDX-License-Identifier: GPL-2.0-or-later
"""One processor: slices, events, INIT and SIPI, state.

Modelled: real mode, 16- and 32-bit protected mode, paging (32-bit, PSE, PAE), rings, tasks, all gate types,
double and triple fault, NMI blocking until IRET, the interrupt shadow, single-stepping.
Not modelled: SMM, data and I/O breakpoints, long mode, SSE (#UD, and not announced).
Interrupts in virtual-8086 mode go through ring 0 gates; the VME redirection bitmap does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from . import descriptors as x86
from . import native
from .activity import Activity, ActivityRecorder
from .bus import Counter, CpuBus, Shortcuts
from .cpuid import SIGNATURE
from .delivery import Delivery
from .engine import Engine
from .instructions import Instructions
from .layout import (
    CR0,
    CR2,
    CR3,
    CR4,
    CS,
    DS,
    EDX,
    EFLAGS,
    EIP,
    ES,
    ESP,
    FS,
    GDTR,
    GS,
    HF2_NMI,
    HF_CPL,
    HF_INHIBIT_IRQ,
    HFLAGS,
    HFLAGS2,
    IDTR,
    LDTR,
    SS,
    TR,
)
from .listings import LOOK_IF, LOOK_IRET, LOOK_RF
from .machinecheck import MachineCheckBank
from .msr import ModelSpecificRegisters
from .neighbours import Neighbours
from .paging import Paging
from .perfctr import PerformanceCounters
from .physical import PhysicalMemory
from .recorder import BlockRecorder
from .registers import HF_CR0, X87, Registers, change_registers, read_registers, read_tables, read_x87
from .tasks import TaskSwitcher
from .waiting import Loop, Waiting

EVENT_BYTES: Final = 8
"""What delivering an event counts as, in code bytes: a handler that faults at once must not stop time."""


STANDSTILL: Final = 1000
"""Turns of a loop in which no code byte retires before it is given up; a handful in a row is as many as there are."""


BREATH: Final = 5000
"""Times that the engine may come back to us within one run of a slice: 75 us each at most, a third of a second."""


class Exit(Enum):
    """Why `Cpu.run` came back."""

    LIMIT = "limit"
    HALT = "halt"
    SHUTDOWN = "shutdown"
    STOPPED = "stopped"


class Cpu:
    """A processor on a `CpuBus`; CPUs that share memory share a `Neighbours`.

    No exception leaves `run` for anything a guest does.
    """

    def __init__(
        self,
        index: int,
        bus: CpuBus,
        *,
        bsp: bool,
        neighbours: Neighbours | None = None,
        shortcuts: Shortcuts | None = None,
    ) -> None:
        self.index = index
        self.name = f"cpu{index}"
        self.bsp = bsp
        self._memory = PhysicalMemory(bus.ram)
        self._engine = engine = Engine(index, bus, self._memory, neighbours, shortcuts)
        self._slice = engine.slice
        self._counters = PerformanceCounters(bus.ns_per_byte)
        self._delivery = Delivery(engine.context, self._memory)
        self._bank = MachineCheckBank()
        registers = ModelSpecificRegisters(engine, bus, self._counters, self._bank, bsp=bsp)
        self._instructions = Instructions(engine, self._delivery, registers, self.read_linear)
        TaskSwitcher(self._delivery, engine.empty_tlb)
        self._waiting = Waiting(engine, self._memory, self.read_linear, self.translate)
        self._watches: dict[int, list[Callable[[Cpu], None]]] = {}
        self.on_nmi: Callable[[Cpu], None] | None = None
        self.on_event: Callable[[int, bool], None] | None = None
        """Told of each interrupt and exception: its vector, before it is delivered and (True) after that."""
        self.on_refused: Callable[[int, int, int | None, int | None], None] | None = None
        """Told of an event that could not be delivered: its vector, the fault that was met, a page fault's address, and
        the vector that is delivered instead, if any."""
        self.on_halt: Callable[[], None] | None = None
        """Told of each HLT."""
        self._recorder: BlockRecorder | None = None
        self._activity: ActivityRecorder | None = None
        self._resume_at: int | None = None
        self._stop = False
        self.cut = False  # a stop has cut a slice short: `resume` runs what is left of it
        self._rest: Exit | None = None  # how a slice that was cut at its very end would have ended
        self._in_block = False  # a watch has cut it within a block
        self.halted = False
        self.waiting_for_sipi = False
        self.shutdown = False
        self.reset()

    # Running.

    @property
    def retired(self) -> int:
        """Code bytes since power-on, and `EVENT_BYTES` for every event delivered."""
        return self._slice.retired

    @property
    def counter(self) -> Counter:
        """Where `retired` is counted; `zero` is for the board to set before a turn."""
        return self._slice

    def run(self, limit: int, *, until_interruptible: bool = False, until_nmi: bool = False) -> Exit:
        """Run at most about `limit` code bytes (the block that passes the limit is finished).

        `until_interruptible`: an interrupt waits; `until_nmi`: an NMI does. The slice ends (LIMIT) as soon as the CPU
        can take it. STOPPED: `stop` was called, or this takes long; what is left of the slice waits
        for `resume`.
        """
        if self.shutdown:
            return Exit.SHUTDOWN
        if self.halted or self.waiting_for_sipi:
            return Exit.HALT
        shared, engine = self._slice, self._engine
        shared.look = LOOK_RF if engine.context.q[EFLAGS] & x86.RF else 0
        # Blocks that change IF end there, so the block hook can watch it; an interrupt shadow is one block long.
        if until_interruptible:
            if engine.context.q[EFLAGS] & x86.IF:
                limit = 1
            else:
                shared.look |= LOOK_IF
        if until_nmi and engine.context.d[HFLAGS] & HF_INHIBIT_IRQ:
            limit = 1
        shared.stop_at_iret = until_nmi
        shared.limit = shared.retired + max(limit, 1)
        if self._counters.deadline is not None:
            self._heed_counters()
        waiting = self._waiting
        waiting.begin(may_skip=self._recorder is None)
        self._stop = self.cut = self._in_block = False
        engine.limit_after_pause = None
        end = self._go()
        waiting.ended()
        return end

    def resume(self) -> Exit:
        """Run what a stop has left of a slice: the run is the one there would have been without the stop."""
        self._stop = self.cut = False
        return self._go() if self._rest is None else self._rest

    def _go(self) -> Exit:
        """Run a slice, or the rest of one, to its end."""
        shared, engine, waiting = self._slice, self._engine, self._waiting
        still = breath = 0
        while True:
            before = shared.retired
            if self._in_block:
                reason = self._finish_block()
            else:
                reason = waiting.start() if waiting.piece else engine.start()
                if engine.limit_after_pause is not None:
                    shared.limit, engine.limit_after_pause = engine.limit_after_pause, None
            end = self._after(reason)
            still = still + 1 if shared.retired == before else 0
            breath += 1
            if self._stop or (breath == BREATH and end is None):
                self._stop, self.cut, self._rest = False, True, end
                return Exit.STOPPED
            if end is not None:
                return end
            if still == STANDSTILL:
                return Exit.LIMIT  # whoever looks at `retired` sees that nothing moves

    def _finish_block(self) -> int:
        """Run what a watch has left of a block that had begun within the limit, whatever has become of the limit."""
        shared, engine = self._slice, self._engine
        self._in_block = False
        engine.limit_after_pause, look = shared.limit, shared.look
        shared.limit, shared.look = shared.retired + 1, look & ~LOOK_IF
        reason = engine.start()
        shared.look |= look & LOOK_IF
        shared.limit, engine.limit_after_pause = engine.limit_after_pause, None
        return reason

    def _after(self, reason: int) -> Exit | None:
        """Deal with what has ended the engine's run; how the slice ends, None if it goes on."""
        shared, engine = self._slice, self._engine
        if reason == native.REASON_LIMIT:
            if shared.look & LOOK_IRET:
                return Exit.LIMIT
            if shared.look & LOOK_IF and engine.context.q[EFLAGS] & x86.IF:
                if not engine.context.d[HFLAGS] & HF_INHIBIT_IRQ:
                    return Exit.LIMIT
                shared.limit = shared.retired + 1
                shared.look &= ~LOOK_IF
        elif reason == native.REASON_EXCEPTION:
            self._exception(shared.vector)
        elif reason == native.REASON_NONE:
            self.halted = True
            if self.on_halt is not None:
                self.on_halt()
            return Exit.HALT
        elif reason == native.REASON_SITE:
            engine.take_back()
            self._carry_out()
        elif reason == native.REASON_SPLIT:
            return None
        elif reason == native.REASON_WATCH:
            engine.take_back()
            self._in_block = True
            return None
        else:
            # The engine gave up on something it cannot do; a processor would shut down.
            self.shutdown = True
        if self.shutdown:
            return Exit.SHUTDOWN
        return Exit.LIMIT if shared.retired >= shared.limit else None

    def stop(self) -> None:
        """From a callback: cut the slice. In a watch that is before the watched instruction, else after its block."""
        self._stop = True
        if self._engine.running:
            self._engine.pause()

    def shorten(self, limit: int) -> None:
        """From a callback: end the slice once `retired` has reached `limit` more bytes than now."""
        shared = self._slice
        end = shared.retired + limit
        shared.limit = min(shared.limit, end)
        if self._engine.limit_after_pause is not None:
            self._engine.limit_after_pause = min(self._engine.limit_after_pause, end)

    # Waiting, between slices.

    def loop(self) -> Loop | None:
        """The loop in which it does nothing but wait, if that is known."""
        return self._waiting.loop() if self._recorder is None and self._counters.quiet and not self.cut else None

    def dwells(self) -> bool:
        """Is it where it has been before when this was asked?"""
        return self._waiting.dwells()

    def look_closer(self) -> None:
        """Find out in the next slice whether it only waits."""
        self._waiting.look_closer()

    # Performance counters.

    def _heed_counters(self) -> None:
        deadline = self._counters.deadline
        if deadline is not None:
            shared = self._slice
            shared.limit = min(shared.limit, max(deadline, shared.retired + 1))

    def take_perf_overflow(self) -> bool:
        """Has a performance counter that is to interrupt overflowed since this was asked last? Between slices only."""
        counters = self._counters
        return (counters.deadline is not None or counters.overflowed) and counters.take_overflow(self.retired)

    def _carry_out(self) -> None:
        """An instruction comes next that is not the engine's."""
        self._resume_at = None
        vector = self._instructions.execute()
        self._heed_counters()
        if vector is not None:
            self._deliver(vector)

    # Events.

    def _exception(self, vector: int) -> None:
        engine = self._engine
        offsets, context = engine.offsets, engine.context
        context.d[offsets.old_exception] = 0xFFFFFFFF
        software = bool(context.d[offsets.is_int])
        context.d[offsets.is_int] = 0
        if not software:
            self._engine.take_back()
        self._deliver(vector, error=context.d[offsets.error_code], software=software)

    def _deliver(self, vector: int, *, error: int = 0, software: bool = False, hardware: bool = False) -> None:
        engine = self._engine
        engine.dirty = True
        self._resume_at = None
        self._slice.retired += EVENT_BYTES
        self._delivery.on_refused = self._refused if self.on_refused is not None else None
        if self.on_event is not None:
            self.on_event(vector, False)
        if self._delivery.event(vector, error=error, software=software, hardware=hardware):
            self.halted = False
        else:
            self.shutdown = True
        if self.on_event is not None:
            self.on_event(vector, True)

    def _refused(self, vector: int, fault: x86.Fault, instead: int | None) -> None:
        if self.on_refused is not None:
            self.on_refused(vector, fault.vector, fault.address, instead)

    @property
    def standing(self) -> str:
        """What it is at, in a word or two."""
        if self.shutdown:
            return "shut down"
        if self.waiting_for_sipi:
            return "waits for SIPI"
        return "halted" if self.halted else "runs"

    def interruptible(self) -> bool:
        """May a maskable interrupt be delivered now?"""
        context = self._engine.context
        return bool(context.q[EFLAGS] & x86.IF) and not context.d[HFLAGS] & HF_INHIBIT_IRQ and self._takes_events()

    def _takes_events(self) -> bool:
        return not (self.waiting_for_sipi or self.shutdown)

    def interrupt(self, vector: int) -> None:
        """Deliver an external interrupt; between slices only."""
        self._deliver(vector, hardware=True)

    def handles_nmi(self) -> bool:
        """Between an NMI's delivery and the IRET that follows it."""
        return bool(self._engine.context.d[HFLAGS2] & HF2_NMI)

    def nmi_blocked(self) -> bool:
        """Between an NMI's delivery and the IRET that follows it, in a MOV SS shadow, and while it cannot be taken."""
        context = self._engine.context
        return bool(self.handles_nmi() or context.d[HFLAGS] & HF_INHIBIT_IRQ or self.waiting_for_sipi or self.shutdown)

    def nmi(self) -> None:
        """Deliver an NMI; between slices only. `on_nmi` is called first, with the registers still as they were."""
        if self.on_nmi is not None:
            self.on_nmi(self)
        self._deliver(x86.NMI, hardware=True)
        self._engine.context.d[HFLAGS2] |= HF2_NMI

    def machine_check(self) -> None:
        """A machine check (SDM vol. 3A, 15.3): #MC with CR4.MCE, unless another is being handled, else shutdown.

        Between slices only.
        """
        if self._bank.error() and self._engine.context.q[CR4] & x86.CR4_MCE:
            self._deliver(x86.MACHINE_CHECK, hardware=True)
        else:
            self.shutdown = True

    def reset(self) -> None:
        """Power-on or RESET (SDM vol. 3A, table 9-1); an AP then waits for SIPI."""
        self._counters.reset()
        context, offsets = self._engine.context, self._engine.offsets
        context.d[offsets.sysenter_cs] = context.q[offsets.sysenter_esp] = context.q[offsets.sysenter_eip] = 0
        self._initialise(0x60000010)

    def init(self) -> None:
        """INIT: as RESET, but CR0's cache bits survive. The boot CPU starts at the reset vector, an AP waits."""
        self._initialise(self._engine.context.q[CR0] & (x86.CR0_CD | x86.CR0_NW) | x86.CR0_ET)

    def _initialise(self, cr0: int) -> None:
        engine = self._engine
        if self._activity is not None:
            self._activity.stop()
        q, d = engine.context.q, engine.context.d
        for slot in range(8):
            q[slot] = 0
        q[EDX] = SIGNATURE
        q[EIP], q[EFLAGS] = 0xFFF0, x86.EFLAGS_FIXED
        q[CR0], q[CR2], q[CR3], q[CR4] = cr0, 0, 0, 0
        d[HFLAGS] &= ~(HF_CR0 | HF_CPL | HF_INHIBIT_IRQ)
        d[HFLAGS2] &= ~HF2_NMI
        delivery = self._delivery
        delivery.set_segment(CS, 0xF000, 0xFFFF0000, 0xFFFF, x86.REAL_MODE_CODE)
        for segment in (SS, DS, ES, FS, GS):
            delivery.set_segment(segment, 0, 0, 0xFFFF, x86.REAL_MODE_DATA)
        delivery.set_segment(GDTR, 0, 0, 0xFFFF, 0)
        delivery.set_segment(IDTR, 0, 0, 0xFFFF, 0)
        delivery.set_segment(LDTR, 0, 0, 0xFFFF, x86.PRESENT | x86.LDT << 8)
        delivery.set_segment(TR, 0, 0, 0xFFFF, x86.PRESENT | x86.TSS32_BUSY << 8)
        delivery.refresh_hflags(0)
        d[engine.offsets.old_exception] = 0xFFFFFFFF
        q[engine.offsets.efer] = 0
        engine.dirty = True
        engine.empty_tlb()
        engine.flush_code_pending = True
        self._resume_at = None
        self.cut = False
        self.halted = self.shutdown = False
        self.waiting_for_sipi = not self.bsp

    def sipi(self, vector: int) -> None:
        """Start-up IPI: real mode at vector << 12. Ignored unless the CPU waits for it (SDM vol. 3A, 8.4.4.1)."""
        if not self.waiting_for_sipi:
            return
        engine = self._engine
        self._delivery.set_segment(CS, vector << 8, vector << 12, 0xFFFF, x86.REAL_MODE_CODE)
        engine.context.q[EIP] = 0
        self._delivery.refresh_hflags(0)
        engine.dirty = True
        self.waiting_for_sipi = False

    # Looking and changing.

    def registers(self) -> Registers:
        """The registers now, also from a callback."""
        return read_registers(self._engine)

    def stack_pointer(self) -> int:
        """ESP now, also from a callback."""
        return self._engine.live().q[ESP] & 0xFFFFFFFF

    def table_registers(self) -> dict[str, tuple[int, int, int]]:
        """GDTR, IDTR, LDTR and TR as (selector, base, limit)."""
        return read_tables(self._engine)

    def cpl(self) -> int:
        """Current privilege level."""
        return self._engine.live().d[HFLAGS] & HF_CPL

    def set_registers(self, **values: int | tuple[int, int]) -> None:
        """Set registers; between slices only. `gdtr` and `idtr` are (base, limit).

        Table and control registers come first, so a selector is loaded from the GDT named in the same call.
        """
        change_registers(self._engine, self._delivery, values)
        self._resume_at = None

    def _walker(self) -> Paging:
        q = self._engine.live().q
        paging = Paging(self._memory)
        paging.cr0, paging.cr3, paging.cr4 = q[CR0], q[CR3], q[CR4]
        return paging

    def translate(self, address: int) -> int | None:
        """The physical address behind a linear one, through this CPU's page tables."""
        return self._walker().peek(address)

    def read_linear(self, address: int, size: int) -> bytes | None:
        """Memory as this CPU sees it; None if any of it is not mapped."""
        walker = self._walker()
        parts = []
        while size > 0:
            physical = walker.peek(address & 0xFFFFFFFF)
            if physical is None:
                return None
            step = min(size, 0x1000 - (address & 0xFFF))
            parts.append(self._memory.read(physical, step))
            address += step
            size -= step
        return b"".join(parts)

    # Observers.

    def watch(self, address: int, callback: Callable[[Cpu], None]) -> None:
        """Call back just before the instruction at a linear address, each time. The guest cannot tell."""
        callbacks = self._watches.setdefault(address, [])
        callbacks.append(callback)
        if len(callbacks) == 1:
            self._engine.watch(address, self._watched)

    def unwatch(self, address: int) -> None:
        """Forget every watch at an address."""
        if self._watches.pop(address, None):
            self._engine.unwatch(address)

    def forget_observers(self) -> None:
        """Forget whoever watches addresses, NMIs or activity; between slices. What is translated stays."""
        self._watches.clear()
        self._engine.sleep_watches()
        self.on_nmi = self.on_event = self.on_refused = self.on_halt = None
        if self._activity is not None:
            self._activity.stop()
            self._activity = None
            if self._engine.retranslate_pending:
                self._engine.retranslate_pending = False  # nothing has been translated with its hook
            else:
                self._engine.flush_code_pending = True

    def record_blocks(self, count: int) -> None:
        """Keep the last `count` basic blocks from now on; not from within a callback, and once only."""
        self._recorder = BlockRecorder(self._engine.uc, self._slice, count)
        self._engine.flush_code()  # what is translated calls the hooks there were

    def recorded_blocks(self) -> list[tuple[int, int]]:
        """Linear address and bytes of the blocks that were begun last, oldest first; empty if nobody asked for them."""
        return [] if self._recorder is None else self._recorder.blocks()

    def record_activity(self) -> None:
        """Take down what this CPU does from now on, until INIT or RESET; not from within a callback of its own."""
        if self._activity is not None:
            self._activity.stop()
        self._activity = ActivityRecorder(self._engine.uc, self._slice, self._memory)
        self._engine.retranslate_pending = True  # what is translated calls the hooks there were

    def activity(self) -> Activity:
        """What it has done since `record_activity`; nothing if nobody asked for it."""
        return Activity(0, ()) if self._activity is None else self._activity.activity()

    def stop_before(self, address: int) -> None:
        """From a hook of the instruction there: cut the slice before it.

        When the slice resumes, that hook is called again, and watches of the instruction are not.
        """
        self.stop()
        if address in self._watches:
            self._resume_at = address
        self._end_before()

    def _watched(self, address: int) -> None:
        if self._resume_at == address:
            self._resume_at = None  # the slice begins where this watch ended the last one
            return
        for callback in tuple(self._watches.get(address, ())):
            callback(self)
        if self._stop:
            self._resume_at = address
            self._end_before()

    def _end_before(self) -> None:
        """End the slice before the instruction whose hook this is called from."""
        self._slice.reason = native.REASON_WATCH
        native.lib.uc_emu_stop(self._engine.uc)

    @property
    def slice(self) -> native.Slice:
        """What it shares with its hooks."""
        return self._slice

    def hook_instructions(self, function: int, data: int) -> None:
        """Call a C function before every instruction from now on (`Engine.hook_instructions`)."""
        self._engine.hook_instructions(function, data)

    def unhook_instructions(self) -> None:
        """No longer, from the next slice on at the latest."""
        self._engine.unhook_instructions()

    def begins_again(self, address: int) -> bool:
        """From within a hook there: is the instruction one that was hooked before, or will be again?"""
        return self._engine.begins_again(address)

    def fail(self, error: BaseException) -> None:
        """From a hook: end the slice, and have `run` raise this."""
        self._engine.fail(error)

    def x87(self) -> X87:
        """The floating-point unit now, also from a callback."""
        return read_x87(self._engine)

    def invalidate(self, begin: int, end: int) -> None:
        """A physical range was written by somebody else: what was translated from it is stale."""
        self._engine.invalidate(begin, end)

    # State.

    def state(self) -> dict[str, Any]:
        """Everything, as plain data; between slices only."""
        return {
            "context": self._engine.plain_context(),
            "tlb": self._engine.tlb_state(),
            "retired": self.retired,
            "halted": self.halted,
            "waiting_for_sipi": self.waiting_for_sipi,
            "shutdown": self.shutdown,
            "resume_at": self._resume_at,
            "cut": self._cut_state() if self.cut else None,
            "counters": self._counters.state(),
            **self._bank.state(),
        }

    def _cut_state(self) -> dict[str, Any]:
        rest = None if self._rest is None else self._rest.value
        return {
            "rest": rest, "in_block": self._in_block, "limit": self._slice.limit, "look": self._slice.look,
            "stop_at_iret": self._slice.stop_at_iret,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a `state()`, also one from another process.

        What is translated stays: whoever restores memory says what of it has changed (`invalidate`).
        """
        engine = self._engine
        engine.context.bytes[:] = state["context"]
        engine.dirty = True
        engine.restore_tlb(state["tlb"])
        self._slice.task = 0
        self._slice.retired = state["retired"]
        self._slice.size = 0
        self.halted = state["halted"]
        self.waiting_for_sipi = state["waiting_for_sipi"]
        self.shutdown = state["shutdown"]
        self._resume_at = state["resume_at"]
        cut = state["cut"]
        self.cut = cut is not None
        if cut is not None:
            self._rest = None if cut["rest"] is None else Exit(cut["rest"])
            self._in_block = cut["in_block"]
            self._slice.limit, self._slice.look = cut["limit"], cut["look"]
            self._slice.stop_at_iret = cut["stop_at_iret"]
        self._counters.restore(state["counters"])
        self._bank.restore(state)
