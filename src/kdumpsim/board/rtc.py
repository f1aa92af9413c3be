# SPDX-License-Identifier: GPL-2.0-or-later
"""The real-time clock and its CMOS memory, after Motorola's MC146818A datasheet and the PC/AT's wiring.

The calendar is not stepped: it is a fixed date plus virtual time plus whatever software set it to. Flags in register C
are found out when it is read; timers are armed only for interrupts that are enabled. A second passes all at once, at
the end of the update: `update_in_progress` reads 1 for the last 2228 us of every second (244 us of warning and 1984 us
of updating).

Not modelled: daylight saving and the square-wave output (their bits are kept); stored weekdays (the weekday follows
from the date); time bases other than 32768 Hz; the power sense (the battery never fails). The century is in byte 0x32.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import Access, Field, Register
from kdumpsim.apic.timers import Timers

EPOCH = datetime(2006, 3, 20)
"""What the clock says at power-on, always: the day Linux 2.6.16 was released."""
NS_PER_S = 1_000_000_000
UPDATE_NS = 244_000 + 1_984_000

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR = range(10)
STATUS_A, STATUS_B, STATUS_C, STATUS_D = range(10, 14)
CENTURY = 0x32
CLOCK_BYTES = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)


class StatusA(Register):
    rate = Field(0, 4, reset=6)
    divider = Field(4, 3, reset=2)
    update_in_progress = Field(7, access=Access.RO)

    @property
    def held_in_reset(self) -> bool:
        return self.divider >= 6

    @property
    def period_ticks(self) -> int:
        """The periodic interrupt's period in cycles of 32768 Hz, 0 if there is none."""
        if self.rate == 0:
            return 0
        return 1 << (self.rate - 1 if self.rate > 2 else self.rate + 6)


class StatusB(Register):
    daylight_saving = Field(0)
    hours_24 = Field(1, reset=1)
    binary = Field(2)
    square_wave = Field(3)
    update_enabled = Field(4)
    alarm_enabled = Field(5)
    periodic_enabled = Field(6)
    set = Field(7)


class StatusC(Register):
    update = Field(4, access=Access.RO)
    alarm = Field(5, access=Access.RO)
    periodic = Field(6, access=Access.RO)
    interrupt = Field(7, access=Access.RO)


class StatusD(Register):
    valid = Field(7, access=Access.RO, reset=1)


_ENABLES = StatusB.update_enabled.mask | StatusB.alarm_enabled.mask | StatusB.periodic_enabled.mask


class Index(Register):
    """Port 0x70."""

    index = Field(0, 7)
    nmi_masked = Field(7)


class Rtc:
    """`irq8` is high while register C's interrupt flag is set."""

    name = "rtc"

    def __init__(self, timers: Timers, irq8: Line) -> None:
        self._timers = timers
        self._irq8 = irq8
        self._timer = timers.timer("rtc", self._expired)
        self._ram = bytearray(128)
        self._index = Index()
        self._a = StatusA()
        self._b = StatusB()
        self._c = StatusC()
        self._d = StatusD()
        self._offset = 0  # calendar minus EPOCH minus virtual time, in ns
        self._checked = timers.now  # flags up to this moment are in register C

    def ports(self) -> list[tuple[int, int]]:
        return [(0x70, 2)]

    @property
    def nmi_masked(self) -> bool:
        """Port 0x70 bit 7: the PC/AT keeps NMI from the processor."""
        return bool(self._index.nmi_masked)

    def set_cmos(self, index: int, value: int) -> None:
        """Firmware's way to the memory bytes (not the clock's registers)."""
        if not STATUS_D < index < 128 or index == CENTURY:
            raise ValueError(f"CMOS byte {index:#x} belongs to the clock")
        self._ram[index] = value

    def cmos(self, index: int) -> int:
        return self._ram[index]

    def now(self) -> datetime:
        """What the calendar says."""
        return EPOCH + timedelta(seconds=self._clock_ns() // NS_PER_S)

    # -- ports ---------------------------------------------------------------------------------------------------------

    def port_read(self, port: int, size: int) -> int:
        return self._read(self._index.index) if port == 0x71 else 0xFF

    def port_write(self, port: int, size: int, value: int) -> None:
        if port == 0x70:
            self._index.write(value)
        else:
            self._write(self._index.index, value & 0xFF)

    def _read(self, index: int) -> int:
        if index in CLOCK_BYTES:
            return self._ram[index] if self._frozen() else self._clock_bytes()[index]
        if index == STATUS_A:
            left = NS_PER_S - self._clock_ns() % NS_PER_S
            self._a.update_in_progress = not self._frozen() and left <= UPDATE_NS
            return self._a.value
        if index == STATUS_B:
            return self._b.value
        if index == STATUS_C:
            return self._read_c()
        if index == STATUS_D:
            return self._d.value
        return self._ram[index]

    def _write(self, index: int, value: int) -> None:
        if index in CLOCK_BYTES:
            self._freeze()
            self._ram[index] = value
            self._thaw()
        elif index == STATUS_A:
            self._collect()
            was_reset = self._a.held_in_reset
            self._freeze()
            self._a.write(value)
            if was_reset and not self._a.held_in_reset:  # the first update comes half a second later
                self._offset += NS_PER_S // 2 - self._clock_ns() % NS_PER_S
            self._thaw()
        elif index == STATUS_B:
            self._collect()
            self._freeze()
            self._b.write(value)
            if self._b.set:
                self._b.update_enabled = 0
            self._thaw()
            self._raise(0)
        elif index in (STATUS_C, STATUS_D):
            return
        else:
            if index in (SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM):
                self._collect()
            self._ram[index] = value
        self._arm()

    def _read_c(self) -> int:
        self._collect()
        value, self._c.value = self._c.value, 0
        if value & StatusC.interrupt.mask:
            self._irq8(False)
        self._arm()
        return value

    # -- the calendar --------------------------------------------------------------------------------------------------

    def _clock_ns(self) -> int:
        return self._timers.now + self._offset

    def _frozen(self) -> bool:
        return bool(self._b.set) or self._a.held_in_reset

    def _freeze(self) -> None:
        """Have the calendar's bytes in memory."""
        if not self._frozen():
            for index, value in self._clock_bytes().items():
                self._ram[index] = value

    def _thaw(self) -> None:
        """Run on from the bytes in memory, unless software still holds them. The fraction of the second is kept."""
        if self._frozen():
            return
        year = self._decode(self._ram[CENTURY]) * 100 + self._decode(self._ram[YEAR])
        months = max(1, year) * 12 + self._decode(self._ram[MONTH]) - 1
        moment = datetime(min(max(1, months // 12), 9000), months % 12 + 1, 1) + timedelta(
            days=self._decode(self._ram[DAY]) - 1,
            hours=self._decode_hour(self._ram[HOURS]),
            minutes=self._decode(self._ram[MINUTES]),
            seconds=self._decode(self._ram[SECONDS]),
        )
        wanted = (moment - EPOCH) // timedelta(seconds=1)
        self._offset += (wanted - self._clock_ns() // NS_PER_S) * NS_PER_S

    def _clock_bytes(self) -> dict[int, int]:
        moment = self.now()
        return {
            SECONDS: self._encode(moment.second),
            MINUTES: self._encode(moment.minute),
            HOURS: self._encode_hour(moment.hour),
            WEEKDAY: self._encode(moment.isoweekday() % 7 + 1),
            DAY: self._encode(moment.day),
            MONTH: self._encode(moment.month),
            YEAR: self._encode(moment.year % 100),
            CENTURY: self._encode(moment.year // 100),
        }

    def _encode(self, value: int) -> int:
        return value if self._b.binary else value // 10 << 4 | value % 10

    def _decode(self, raw: int) -> int:
        return raw if self._b.binary else (raw >> 4) * 10 + (raw & 0xF)

    def _encode_hour(self, hour: int) -> int:
        if self._b.hours_24:
            return self._encode(hour)
        return self._encode((hour + 11) % 12 + 1) | (0x80 if hour >= 12 else 0)

    def _decode_hour(self, raw: int) -> int:
        if self._b.hours_24:
            return self._decode(raw)
        return self._decode(raw & 0x7F) % 12 + (12 if raw & 0x80 else 0)

    # -- interrupts ----------------------------------------------------------------------------------------------------

    def _next_periodic(self, after: int) -> int | None:
        period = self._a.period_ticks
        if not period or self._a.held_in_reset:
            return None
        tick = after * 32768 // NS_PER_S
        return -(-(tick // period + 1) * period * NS_PER_S // 32768)

    def _next_update(self, after: int) -> int | None:
        if self._frozen():
            return None
        clock = after + self._offset
        return (clock // NS_PER_S + 1) * NS_PER_S - self._offset

    def _next_alarm(self, after: int) -> int | None:
        if self._frozen():
            return None
        second = (after + self._offset) // NS_PER_S
        midnight, today = second - second % 86400, second % 86400
        match = self._alarm_match(today)
        return None if match is None else (midnight + match) * NS_PER_S - self._offset

    def _alarm_match(self, after: int) -> int | None:
        """The first second of the day later than `after`, counting on into the next day, that the alarm matches."""
        hours = self._alarm_values(HOURS_ALARM, 24)
        minutes = self._alarm_values(MINUTES_ALARM, 60)
        seconds = self._alarm_values(SECONDS_ALARM, 60)
        for day in (0, 86400):
            for hour in hours:
                if day + hour * 3600 + 3599 <= after:
                    continue
                for minute in minutes:
                    base = day + hour * 3600 + minute * 60
                    if base + 59 <= after:
                        continue
                    for second in seconds:
                        if base + second > after:
                            return base + second
        return None

    def _alarm_values(self, index: int, limit: int) -> list[int]:
        raw = self._ram[index]
        if raw >= 0xC0:  # "don't care"
            return list(range(limit))
        value = self._decode_hour(raw) if index == HOURS_ALARM else self._decode(raw)
        return [value] if value < limit else []

    def _collect(self) -> None:
        """Bring register C up to date."""
        now, since = self._timers.now, self._checked
        if now <= since:  # within a round, one CPU's clock may be behind another's
            return
        self._checked = now
        flags = 0
        for flag, moment in (
            (StatusC.periodic.mask, self._next_periodic(since)),
            (StatusC.update.mask, self._next_update(since)),
            (StatusC.alarm.mask, self._next_alarm(since)),
        ):
            if moment is not None and moment <= now:
                flags |= flag
        self._raise(flags)

    def _raise(self, flags: int) -> None:
        self._c.value |= flags
        wanted = bool(self._c.value & self._b.value & _ENABLES)  # flags and enables stand at the same bits
        if wanted != bool(self._c.interrupt):
            self._c.interrupt = wanted
            self._irq8(wanted)

    def _arm(self) -> None:
        now = self._timers.now
        moments = (
            self._next_periodic(now) if self._b.periodic_enabled else None,
            self._next_update(now) if self._b.update_enabled else None,
            self._next_alarm(now) if self._b.alarm_enabled else None,
        )
        wanted = [moment for moment in moments if moment is not None]
        if wanted and not self._c.interrupt:  # while IRQ8 is high nothing can raise it: reading register C re-arms
            self._timer.arm(min(wanted))
        else:
            self._timer.cancel()

    def _expired(self) -> None:
        self._collect()
        self._arm()

    # -- reset and state -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The reset pin: interrupts off. The battery keeps the calendar and the memory."""
        self._collect()
        self._b.value &= ~(_ENABLES | StatusB.square_wave.mask)
        self._raise(0)
        self._c.reset()
        self._index.reset()
        self._arm()

    def state(self) -> dict[str, Any]:
        return {
            "ram": bytes(self._ram),
            "index": self._index.value,
            "a": self._a.value,
            "b": self._b.value,
            "c": self._c.value,
            "offset": self._offset,
            "checked": self._checked,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._ram[:] = state["ram"]
        self._index.value = state["index"]
        self._a.value, self._b.value, self._c.value = state["a"], state["b"], state["c"]
        self._offset, self._checked = state["offset"], state["checked"]
