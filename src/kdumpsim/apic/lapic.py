# SPDX-License-Identifier: GPL-2.0-or-later
"""The local APIC (xAPIC mode), after Intel's SDM volume 3, chapter "Advanced Programmable Interrupt Controller".

It announces itself as version 0x14 with six local vector table entries, as the Pentium 4's does.
The bus clock that the timer divides is 100 MHz: one undivided timer tick is 10 ns of virtual time.

Not modelled:
 - x2APIC, TSC-deadline timer, EOI-broadcast suppression, CMCI, remote read (RRD reads 0);
 - SMI (messages and LVT entries in SMI mode are accepted and forgotten), and the thermal sensor, which never fires;
 - the serial APIC bus: messages arrive at once, so delivery status always reads idle and checksum errors do not exist;
 - arbitration IDs; lowest-priority arbitration is in `routing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .lapic_registers import (
    ADDRESS,
    LVT_ERROR,
    LVT_LINT0,
    LVT_LINT1,
    LVT_OFFSETS,
    LVT_PERF,
    LVT_TIMER,
    VERSION,
    DestinationFormat,
    DivideConfiguration,
    ErrorStatus,
    IcrHigh,
    IcrLow,
    IdRegister,
    LogicalDestination,
    LvtEntry,
    LvtLint,
    LvtSensor,
    LvtTimer,
    SpuriousVector,
    TaskPriority,
)
from .messages import BROADCAST, DeliveryMode, Message, Shorthand
from .registers import Register
from .timers import Timers

BUS_TICK_NS = 10
"""One cycle of the APIC bus clock."""
STEADY = frozenset({0x020, 0x030, 0x080, 0x0D0, 0x0E0, 0x0F0, 0x310, 0x380, 0x3E0})
"""Registers that hold what was written last, and whose reading has no effect."""
_READABLE = 1 << 32
MIN_TIMER_EVENT_NS = 1_000
"""A periodic timer faster than this has its interrupts merged, as an IRR bit would merge them anyway."""


def _highest_class(vectors: int) -> int:
    """The priority class, in bits 4-7, of the highest vector in a set."""
    return vectors.bit_length() - 1 & 0xF0 if vectors else 0


class LocalApic:
    """One local APIC. `post` sends messages to the others (and, for some IPIs, back to this one)."""

    def __init__(
        self,
        apic_id: int,
        timers: Timers,
        post: Callable[[Message], None],
        *,
        bsp: bool,
        on_eoi: Callable[[int], None] = lambda vector: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = f"lapic{apic_id}"
        self.bsp = bsp
        self.on_eoi = on_eoi
        self.changed = changed
        self.hardware_enabled = True
        self._post = post
        self._timers = timers
        self._timer = timers.timer(self.name, self._timer_expired)
        self._power_on_id = apic_id
        self._id = IdRegister(apic_id << 24)
        self._tpr = TaskPriority()
        self._ldr = LogicalDestination()
        self._dfr = DestinationFormat()
        self._svr = SpuriousVector()
        self._esr = ErrorStatus()
        self._errors = ErrorStatus()  # collected since the last write to the ESR
        self._icr_low = IcrLow()
        self._icr_high = IcrHigh()
        self._divide = DivideConfiguration()
        self._lints = (LvtLint(), LvtLint())
        self._lvt: tuple[LvtEntry, ...] = (LvtTimer(), LvtSensor(), LvtSensor(), *self._lints, LvtEntry())
        self._initial = 0  # timer: initial count
        self._started = 0  # timer: when the count was (or would have been) the initial count
        self._irr = self._isr = self._tmr = 0  # 256-bit sets of vectors
        self._lint_levels = [False, False]
        self._nmi = self._init = self._extint = False
        self._startup: int | None = None
        self.steady = memoryview(bytearray(64 * 8)).cast("Q")
        """STEADY registers by offset / 16, with bit 32 set; 0 for the others. Its CPU may take them from here, without
        asking (`cpu.Shortcuts`)."""
        self._readers: dict[int, Callable[[], int]] = {
            0x020: lambda: self._id.value,
            0x030: lambda: VERSION | (len(self._lvt) - 1) << 16,
            0x080: lambda: self._tpr.value,
            0x090: self.arbitration_priority,
            0x0A0: self._processor_priority,
            0x0B0: lambda: 0,
            0x0C0: lambda: 0,
            0x0D0: lambda: self._ldr.value,
            0x0E0: lambda: self._dfr.value,
            0x0F0: lambda: self._svr.value,
            0x280: lambda: self._esr.value,
            0x300: lambda: self._icr_low.value,
            0x310: lambda: self._icr_high.value,
            0x380: lambda: self._initial,
            0x390: self._current_count,
            0x3E0: lambda: self._divide.value,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            0x0B0: self._write_eoi,
            0x300: self._write_icr_low,
            0x310: self._icr_high.write,
            0x080: self._write_tpr,
            0x380: self._write_initial_count,
            0x020: self._id.write,
            0x0D0: self._ldr.write,
            0x0E0: self._dfr.write,
            0x0F0: self._write_svr,
            0x280: self._write_esr,
            0x3E0: self._write_divide,
        }
        self._show_steady()

    # -- what the board asks -------------------------------------------------------------------------------------------

    @property
    def apic_id(self) -> int:
        return self._id.id

    @property
    def software_enabled(self) -> bool:
        return self.hardware_enabled and bool(self._svr.value & SpuriousVector.enabled.mask)

    def matches(self, message: Message) -> bool:
        """Is this local APIC among those that the message names?"""
        if not self.hardware_enabled:
            return False
        if message.shorthand is Shorthand.SELF:
            return message.source == self.apic_id
        if message.shorthand is Shorthand.ALL:
            return True
        if message.shorthand is Shorthand.OTHERS:
            return message.source != self.apic_id
        destination = message.destination
        if not message.logical:
            return destination in (self.apic_id, BROADCAST)
        if destination == BROADCAST:
            return True
        logical = self._ldr.id
        if self._dfr.model == 0xF:  # flat: one bit per local APIC
            return bool(destination & logical)
        cluster, members = destination >> 4, destination & 0xF
        return cluster in (logical >> 4, 0xF) and bool(members & logical & 0xF)

    def accept(self, message: Message) -> None:
        """Take a message that matches."""
        mode = message.mode
        if mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST):
            if self.software_enabled:
                self._raise_vector(message.vector, message.trigger_level)
            return
        if mode is DeliveryMode.INIT and message.trigger_level and not message.level:
            return  # the de-assert only synchronises arbitration IDs
        self._raise_special(mode, message.vector)

    def pending(self) -> int | None:
        """The vector that the CPU could be given now."""
        if not self._irr or not self.software_enabled:
            return None
        vector = self._irr.bit_length() - 1
        return vector if vector >> 4 > self._processor_priority() >> 4 else None

    def acknowledge(self) -> int:
        """The CPU takes the interrupt; the spurious vector if there is none to take any more."""
        vector = self.pending()
        if vector is None:
            return self._svr.vector
        self._irr &= ~(1 << vector)
        self._isr |= 1 << vector
        return vector

    def accepts_extint(self) -> bool:
        """May the CPU take an interrupt from the i8259 while that holds INTR?"""
        if not self.hardware_enabled:
            return True
        entry = self._lints[0]
        return self._extint or (not entry.mask and entry.mode == DeliveryMode.EXTINT)

    def acknowledge_extint(self) -> None:
        """The CPU ran an INTA cycle: an ExtINT that came as a message is used up."""
        self._extint = False

    def quiet(self) -> bool:
        """Nothing is latched or requested: there is nothing to ask the methods around this one."""
        return not (self._irr or self._nmi or self._init or self._startup is not None)

    @property
    def nmi_pending(self) -> bool:
        """Does an NMI wait for the CPU to take it?"""
        return self._nmi

    def take_nmi(self) -> bool:
        taken, self._nmi = self._nmi, False
        return taken

    def take_init(self) -> bool:
        taken, self._init = self._init, False
        return taken

    def take_startup(self) -> int | None:
        taken, self._startup = self._startup, None
        return taken

    def set_lint(self, pin: int, level: bool) -> None:
        """The electrical level of a local interrupt pin."""
        if self._lint_levels[pin] == level:
            return
        self._lint_levels[pin] = level
        if self.hardware_enabled:
            self._sample_lint(pin, edge=True)
        elif level:  # the pins are the processor's INTR and NMI
            self._nmi |= pin == 1
            self.changed()

    def perf_overflow(self) -> None:
        """A performance counter overflowed. The entry masks itself when it fires; software has to unmask it."""
        entry = self._lvt[LVT_PERF]
        if self.hardware_enabled and not entry.mask:
            entry.mask = 1
            self._deliver_local(entry)

    def set_hardware_enabled(self, enabled: bool) -> None:
        """IA32_APIC_BASE bit 11. Switched off, the registers are lost and the pins go straight to the processor."""
        if enabled != self.hardware_enabled:
            self.hardware_enabled = enabled
            self._reset_registers()
            self.changed()

    # -- for lowest-priority arbitration -------------------------------------------------------------------------------

    def arbitration_priority(self) -> int:
        return max(self._tpr.value, _highest_class(self._isr), _highest_class(self._irr))

    def is_focus(self, vector: int) -> bool:
        """Is this vector already pending or in service here, and does software want that to count?"""
        return not self._svr.focus_disabled and bool((self._irr | self._isr) >> vector & 1)

    # -- registers -----------------------------------------------------------------------------------------------------

    def memory(self) -> list[tuple[int, int]]:
        """Where its own CPU, and no other, finds it; it isn't moved (IA32_APIC_BASE)."""
        return [(ADDRESS, 0x1000)]

    def read(self, offset: int) -> int:
        if not self.hardware_enabled:
            return 0xFFFFFFFF
        reader = self._readers.get(offset)
        if reader is not None:
            return reader()
        if offset & 0xF:
            return 0
        if offset in LVT_OFFSETS:
            return self._lvt[LVT_OFFSETS[offset]].value
        if 0x100 <= offset < 0x280:
            bank, word = divmod(offset - 0x100 >> 4, 8)
            return (self._isr, self._tmr, self._irr)[bank] >> 32 * word & 0xFFFFFFFF
        self._error(ErrorStatus.illegal_register.mask)
        return 0

    def write(self, offset: int, value: int) -> None:
        if not self.hardware_enabled:
            return
        writer = self._writers.get(offset)
        if writer is not None:
            writer(value)
            if offset in STEADY:
                self.steady[offset >> 4] = _READABLE | self._readers[offset]()
        elif offset in LVT_OFFSETS:
            self._write_lvt(LVT_OFFSETS[offset], value)
        elif not offset & 0xF and offset not in self._readers and not 0x100 <= offset < 0x280:
            self._error(ErrorStatus.illegal_register.mask)

    def _show_steady(self) -> None:
        """After a change of many registers, or of whether they can be read at all."""
        for offset in STEADY:
            self.steady[offset >> 4] = _READABLE | self._readers[offset]() if self.hardware_enabled else 0

    def _write_eoi(self, _value: int) -> None:
        if not self._isr:
            return
        vector = self._isr.bit_length() - 1
        bit = 1 << vector
        self._isr &= ~bit
        if self._tmr & bit:
            self.on_eoi(vector)
            for pin, entry in enumerate(self._lints):
                if entry.remote_irr and entry.vector == vector:
                    entry.remote_irr = 0
                    self._sample_lint(pin, edge=False)
        if self._irr and self.pending() is not None:
            self.changed()

    def _write_tpr(self, value: int) -> None:
        self._tpr.write(value)
        if self._irr and self.pending() is not None:
            self.changed()

    def _write_icr_low(self, value: int) -> None:
        icr = self._icr_low
        icr.write(value)
        mode = DeliveryMode(icr.mode)
        if mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST) and icr.vector < 16:
            self._error(ErrorStatus.send_illegal_vector.mask)
            return
        deassert = mode is DeliveryMode.INIT and icr.trigger and not icr.level
        self._post(
            Message(
                mode,
                icr.vector,
                self._icr_high.destination,
                logical=bool(icr.logical),
                shorthand=Shorthand(icr.shorthand),
                level=not deassert,
                trigger_level=mode is DeliveryMode.INIT and bool(icr.trigger),
                source=self.apic_id,
            )
        )

    def _write_svr(self, value: int) -> None:
        self._svr.write(value)
        if not self._svr.enabled:
            for entry in self._lvt:
                entry.mask = 1
            self._arm()
        elif self.pending() is not None:
            self.changed()

    def _write_esr(self, _value: int) -> None:
        self._esr.value = self._errors.value
        self._errors.value = 0

    def _write_lvt(self, index: int, value: int) -> None:
        entry = self._lvt[index]
        if index == LVT_TIMER:
            self._fire_overdue()
        if index == LVT_TIMER and (entry.value ^ value) & LvtTimer.periodic.mask:
            self._rebase(lambda: entry.write(value))
        else:
            entry.write(value)
        if not self._svr.enabled:
            entry.mask = 1
        if index == LVT_TIMER:
            self._arm()
        elif index in (LVT_LINT0, LVT_LINT1):
            self._sample_lint(index - LVT_LINT0, edge=False)

    # -- raising -------------------------------------------------------------------------------------------------------

    def _processor_priority(self) -> int:
        task, service = self._tpr.value, _highest_class(self._isr)
        return task if task >> 4 >= service >> 4 else service

    def _raise_vector(self, vector: int, level: bool) -> None:
        if vector < 16:
            self._error(ErrorStatus.receive_illegal_vector.mask)
            return
        bit = 1 << vector
        self._irr |= bit
        if level:
            self._tmr |= bit
        else:
            self._tmr &= ~bit
        if self.pending() is not None:
            self.changed()

    def _raise_special(self, mode: DeliveryMode, vector: int) -> None:
        if mode is DeliveryMode.NMI:
            self._nmi = True
        elif mode is DeliveryMode.INIT:
            self._reset_registers()
            self._init = True
        elif mode is DeliveryMode.STARTUP:
            self._startup = vector
        elif mode is DeliveryMode.EXTINT:
            self._extint = True
        else:
            return  # SMI, reserved
        self.changed()

    def _deliver_local(self, entry: LvtEntry, level: bool = False) -> None:
        mode = entry.delivery()
        if mode is DeliveryMode.FIXED:
            self._raise_vector(entry.vector, level)
        elif mode is not DeliveryMode.STARTUP:
            self._raise_special(mode, entry.vector)

    def _sample_lint(self, pin: int, *, edge: bool) -> None:
        """Look at a pin after its level changed (`edge`) or after its entry was written or its interrupt ended."""
        entry = self._lints[pin]
        if entry.mask or self._lint_levels[pin] == bool(entry.polarity):
            return
        mode = entry.delivery()
        if mode is DeliveryMode.EXTINT:
            self.changed()  # nothing is latched: accepts_extint() looks at the entry
        elif mode is DeliveryMode.FIXED and entry.trigger:
            if not entry.remote_irr:
                entry.remote_irr = 1
                self._deliver_local(entry, level=True)
        elif edge:
            self._deliver_local(entry)

    def _error(self, mask: int) -> None:
        self._errors.value |= mask
        entry = self._lvt[LVT_ERROR]
        if self.hardware_enabled and not entry.mask and entry.vector >= 16:
            self._deliver_local(entry)

    # -- timer ---------------------------------------------------------------------------------------------------------

    def _elapsed(self) -> int:
        return (self._timers.now - self._started) // (BUS_TICK_NS * self._divide.divisor)

    def _current_count(self) -> int:
        if not self._initial:
            return 0
        elapsed = self._elapsed()
        if self._periodic():
            return self._initial - elapsed % self._initial
        return max(0, self._initial - elapsed)

    def _periodic(self) -> bool:
        return bool(self._lvt[LVT_TIMER].value & LvtTimer.periodic.mask)

    def _rebase(self, change: Callable[[], None]) -> None:
        """Change how the timer counts without changing the count it has reached."""
        count = self._current_count()
        change()
        self._started = self._timers.now - (self._initial - count) * BUS_TICK_NS * self._divide.divisor

    def _write_initial_count(self, value: int) -> None:
        self._fire_overdue()
        self._initial = value & 0xFFFFFFFF
        self._started = self._timers.now
        self._arm()

    def _write_divide(self, value: int) -> None:
        self._fire_overdue()
        self._rebase(lambda: self._divide.write(value))
        self._arm()

    def _arm(self) -> None:
        if not self._initial or self._lvt[LVT_TIMER].mask or not self.hardware_enabled:
            self._timer.cancel()
            return
        period = self._initial * BUS_TICK_NS * self._divide.divisor
        since = self._timers.now - self._started
        if self._periodic():
            since += MIN_TIMER_EVENT_NS if period < MIN_TIMER_EVENT_NS else 0
            self._timer.arm(self._started + (since // period + 1) * period)
        elif since < period:
            self._timer.arm(self._started + period)
        else:
            self._timer.cancel()

    def _fire_overdue(self) -> None:
        """Code may run a little past a deadline before the clock gets to call: do not let it lose the interrupt."""
        if self._timer.deadline is not None and self._timer.deadline <= self._timers.now:
            self._timer_expired()

    def _timer_expired(self) -> None:
        self._arm()
        self._deliver_local(self._lvt[LVT_TIMER])

    # -- reset and state -----------------------------------------------------------------------------------------------

    def _registers(self) -> dict[str, Register]:
        lvt = {f"lvt{index}": entry for index, entry in enumerate(self._lvt)}
        return {
            "tpr": self._tpr,
            "ldr": self._ldr,
            "dfr": self._dfr,
            "svr": self._svr,
            "esr": self._esr,
            "errors": self._errors,
            "icr_low": self._icr_low,
            "icr_high": self._icr_high,
            "divide": self._divide,
            **lvt,
        }

    def _reset_registers(self) -> None:
        """What INIT does: everything but the ID goes back to its power-on value."""
        for register in self._registers().values():
            register.reset()
        self._irr = self._isr = self._tmr = 0
        self._initial = self._started = 0
        self._nmi = self._extint = False
        self._startup = None
        self._timer.cancel()
        self._show_steady()

    def reset(self) -> None:
        """Power-on. The levels of the pins belong to whoever drives them."""
        self._id.value = self._power_on_id << 24
        self.hardware_enabled = True
        self._init = False
        self._reset_registers()

    def state(self) -> dict[str, Any]:
        return {
            "registers": {"id": self._id.value, **{name: reg.value for name, reg in self._registers().items()}},
            "hardware_enabled": self.hardware_enabled,
            "irr": self._irr,
            "isr": self._isr,
            "tmr": self._tmr,
            "initial": self._initial,
            "started": self._started,
            "lint_levels": list(self._lint_levels),
            "nmi": self._nmi,
            "init": self._init,
            "extint": self._extint,
            "startup": self._startup,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._id.value = state["registers"]["id"]
        for name, register in self._registers().items():
            register.value = state["registers"][name]
        self.hardware_enabled = state["hardware_enabled"]
        self._irr, self._isr, self._tmr = state["irr"], state["isr"], state["tmr"]
        self._initial, self._started = state["initial"], state["started"]
        self._lint_levels = list(state["lint_levels"])
        self._nmi, self._init, self._extint = state["nmi"], state["init"], state["extint"]
        self._show_steady()
        self._startup = state["startup"]
