# SPDX-License-Identifier: GPL-2.0-or-later
"""The 8254 programmable interval timer and port 0x61, after Intel's 82C54 datasheet (231244) and the PC/AT's wiring.

Counters are not counted: each knows the input clock's tick at which its present count was loaded, and everything else
(count, output, status) is computed from the tick it is now. Ticks come from virtual nanoseconds in whole numbers. Only
channel 0's output is wired to something, so only channel 0 arms a timer, and only for edges a listener could want:
a low pulse one clock long (modes 2 and 4) is driven when it ends.

Not modelled: the speaker; channel-check errors in port 0x61 (their enable bit is kept); what a count of 1,
which the datasheet forbids in modes 2 and 3, really does (it counts as 2). Channel 1 counts but refreshes nothing: the
refresh bit of port 0x61 toggles every 18 ticks whatever software does to that channel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import Access, Field, Register
from kdumpsim.apic.timers import Timers

PIT_HZ = 1_193_182
REFRESH_TICKS = 18
NS_PER_S = 1_000_000_000


def ticks_at(ns: int) -> int:
    return ns * PIT_HZ // NS_PER_S


def ns_at(tick: int) -> int:
    """The first nanosecond of a tick."""
    return -(-tick * NS_PER_S // PIT_HZ)


class ControlWord(Register):
    bcd = Field(0)
    mode = Field(1, 3)
    access = Field(4, 2)
    channel = Field(6, 2)


class ReadBack(Register):
    channels = Field(1, 3)
    no_status = Field(4)
    no_count = Field(5)


class Status(Register):
    bcd = Field(0)
    mode = Field(1, 3)
    access = Field(4, 2)
    null_count = Field(6)
    output = Field(7)


class SystemControl(Register):
    """Port 0x61."""

    gate2 = Field(0)
    speaker = Field(1)
    parity_disabled = Field(2)
    channel_check_disabled = Field(3)
    refresh = Field(4, access=Access.RO)
    output2 = Field(5, access=Access.RO)
    channel_check = Field(6, access=Access.RO)
    parity_error = Field(7, access=Access.RO)
    """SERR# on PCI boards; NMI is raised with it, and both are cleared by `parity_disabled`."""


_REFRESH, _OUTPUT2 = SystemControl.refresh.mask, SystemControl.output2.mask
_STEADY_CONTROL = ~(_REFRESH | _OUTPUT2)
LATCH, LOW_BYTE, HIGH_BYTE, BOTH_BYTES = range(4)


@dataclass
class Channel:
    """One counter. All times are in ticks; `now` is always the present tick."""

    mode: int = 0
    access: int = BOTH_BYTES
    bcd: bool = False
    gate: bool = True
    count: int | None = None
    """The count in effect, 1 to 65536; None from a control word until a count is written."""
    loaded: int | None = None
    """When the counting element took `count`; in the future for up to one tick, None if it waits for its trigger."""
    frozen: int | None = None
    """Ticks since `loaded`, while the gate holds modes 0 and 4."""
    held: int = 0
    """The 16 bits in the counting element while nothing is loaded, whatever the mode takes them for."""
    held_output: bool = False
    """The output while nothing is loaded: what it was when the count or the trigger came."""
    pending: int | None = None
    """The next count: for modes 2 and 3 from the tick `pending_at` on, for modes 1 and 5 from the next trigger on."""
    pending_at: int | None = None
    pending_base: int = 0
    first_byte: int | None = None
    high_next: bool = False
    latch: int | None = None
    status_latch: int | None = None

    # -- what the counter does -----------------------------------------------------------------------------------------

    def _settle(self, now: int) -> None:
        if self.pending_at is not None and now >= self.pending_at:
            self.count, self.loaded = self.pending, self.pending_base
            self.pending = self.pending_at = None

    def _position(self, now: int) -> tuple[int, int] | None:
        """The count in effect and the ticks since it was loaded; None if it is not loaded yet."""
        if self.pending_at is not None:
            self._settle(now)
        if self.loaded is None or self.count is None or now < self.loaded:
            return None
        return self.count, now - self.loaded if self.frozen is None else self.frozen

    def output(self, now: int) -> bool:
        if self.loaded is None and self.pending_at is None:
            return self.held_output
        position = self._position(now)
        if position is None:
            return self.held_output
        count, elapsed = position
        if self.mode == 0:
            return elapsed >= count
        if self.mode == 1:
            return elapsed >= count
        if self.mode == 2:
            return elapsed % count != count - 1
        if self.mode == 3:
            return elapsed % count < (count + 1) // 2
        return elapsed != count

    def value(self, now: int) -> int:
        """The 16 bits in the counting element: a binary number, or four decimal digits."""
        position = self._position(now)
        if position is None:
            return self.held
        count, elapsed = position
        if self.mode == 2:
            value = count - elapsed % count
        elif self.mode == 3:
            phase = elapsed % count
            high = (count + 1) // 2
            value = (count & ~1) - 2 * (phase if phase < high else phase - high)
        else:
            value = count - elapsed
        return _to_bcd(value % 10_000) if self.bcd else value % 65_536

    def next_edge(self, now: int) -> int | None:
        """The tick of the next rising edge (in mode 3: of the next edge) of the output, if one is to come by itself."""
        self._settle(now)
        if self.loaded is None or self.count is None or self.frozen is not None:
            return None
        elapsed = now - self.loaded
        if self.mode >= 4 and elapsed < 0 and not self.held_output:
            return self.loaded  # the strobe that was under way ends
        if self.mode == 2:
            return self.loaded + (max(elapsed, 0) // self.count + 1) * self.count
        if self.mode == 3:
            high = (self.count + 1) // 2
            start = max(elapsed, 0) // self.count * self.count
            return self.loaded + start + (high if elapsed - start < high else self.count)
        edge = self.count + (self.mode >= 4)
        return self.loaded + edge if elapsed < edge else None

    def control(self, word: ControlWord, now: int) -> None:
        self.held = self.value(now)
        self.mode = word.mode if word.mode < 6 else word.mode - 4
        self.access = word.access
        self.bcd = bool(word.bcd)
        self.count = self.loaded = self.frozen = self.pending = self.pending_at = None
        self.first_byte = self.latch = self.status_latch = None
        self.high_next = False
        self.held_output = self.mode != 0

    def set_gate(self, level: bool, now: int) -> None:
        if level == self.gate:
            return
        self.gate = level
        self._settle(now)
        if self.mode in (0, 4):
            if self.loaded is None:
                return
            if not level:
                self.frozen = max(0, now - self.loaded)
            elif self.frozen is not None:
                self.loaded, self.frozen = max(self.loaded, now - self.frozen), None
        elif level:
            self._trigger(now)
        elif self.mode in (2, 3):
            self.held, self.held_output = self.value(now), True
            self.loaded = None
            if self.pending is not None:
                self.count, self.pending, self.pending_at = self.pending, None, None

    def _trigger(self, now: int) -> None:
        self.held, self.held_output = self.value(now), self.output(now)
        if self.pending is not None:
            self.count, self.pending, self.pending_at = self.pending, None, None
        if self.count is not None:
            self.loaded = now + 1

    def _load(self, count: int, now: int) -> None:
        """A whole count was written."""
        self._settle(now)
        if self.mode in (1, 5):
            self.pending = count
        elif self.mode in (0, 4):
            self.held, self.held_output = self.value(now), self.mode == 4 and self.output(now)
            self.count, self.loaded = count, now + 1
            self.frozen = None if self.gate else 0
        elif self.loaded is None or self.count is None or now < self.loaded:
            self.count = count
            self.loaded = now + 1 if self.gate else None
        else:
            self._load_later(count, self.count, now, self.loaded)

    def _load_later(self, count: int, old: int, now: int, loaded: int) -> None:
        """Modes 2 and 3 take a new count when the present period, or half period, is over."""
        phase = (now - loaded) % old
        start = now - phase
        self.pending = count
        if self.mode == 3 and phase < (old + 1) // 2:
            self.pending_at = start + (old + 1) // 2
            self.pending_base = self.pending_at - (count + 1) // 2
        else:
            self.pending_at = self.pending_base = start + old

    # -- what software does --------------------------------------------------------------------------------------------

    def write(self, byte: int, now: int) -> None:
        if self.access == LOW_BYTE:
            raw = byte
        elif self.access == HIGH_BYTE:
            raw = byte << 8
        elif self.first_byte is None:
            self.first_byte = byte
            if self.mode == 0:  # the first byte already stops the counter
                self.held, self.held_output = self.value(now), False
                self.loaded = None
            return
        else:
            raw = byte << 8 | self.first_byte
            self.first_byte = None
        count = _from_bcd(raw) or 10_000 if self.bcd else raw or 65_536
        self._load(max(2, count) if self.mode in (2, 3) else count, now)

    def latch_count(self, now: int) -> None:
        if self.latch is None:
            self.latch = self.value(now)

    def latch_status(self, now: int) -> None:
        if self.status_latch is not None:
            return
        waiting = self._position(now) is None or self.pending is not None
        status = Status()
        status.bcd, status.mode, status.access = self.bcd, self.mode, self.access
        status.null_count, status.output = waiting, self.output(now)
        self.status_latch = status.value

    def read(self, now: int) -> int:
        if self.status_latch is not None:
            status, self.status_latch = self.status_latch, None
            return status
        raw = self.value(now) if self.latch is None else self.latch
        high = self.access == HIGH_BYTE or (self.access == BOTH_BYTES and self.high_next)
        if self.access == BOTH_BYTES:
            self.high_next = not self.high_next
        if high or self.access == LOW_BYTE:
            self.latch = None
        return raw >> 8 if high else raw & 0xFF


def _to_bcd(value: int) -> int:
    return int(f"{value:04d}", 16)


def _from_bcd(raw: int) -> int:
    return sum((raw >> 4 * digit & 0xF) * 10**digit for digit in range(4))


class Pit:
    """The three channels, and port 0x61. `irq0` follows channel 0's output, `nmi` the error bit."""

    name = "pit"

    def __init__(self, timers: Timers, irq0: Line, nmi: Line) -> None:
        self._timers = timers
        self._irq0 = irq0
        self._nmi = nmi
        self._level = False
        self._timer = timers.timer("pit", self._edge)
        self._channels: list[Channel] = []
        self._control = SystemControl()
        self.reset()

    def ports(self) -> list[tuple[int, int]]:
        return [(0x40, 4), (0x61, 1)]

    def port_read(self, port: int, size: int) -> int:
        now = self._timers.now * PIT_HZ // NS_PER_S
        if port == 0x61:
            value = self._control.value & _STEADY_CONTROL
            if now // REFRESH_TICKS & 1:
                value |= _REFRESH
            if self._channels[2].output(now):
                value |= _OUTPUT2
            self._control.value = value
            return value
        return self._channels[port - 0x40].read(now) if port < 0x43 else 0xFF

    def system_error(self) -> bool:
        """SERR# was asserted; whether the board passes it on as an NMI."""
        if self._control.parity_disabled:
            return False
        self._control.parity_error = 1
        self._nmi(True)
        return True

    def port_write(self, port: int, size: int, value: int) -> None:
        now = ticks_at(self._timers.now)
        value &= 0xFF
        if self._timer.deadline is not None and self._timer.deadline <= self._timers.now:
            self._edge()  # it is due, and what follows may forget it
        if port == 0x61:
            self._control.write(value)
            if self._control.parity_disabled and self._control.parity_error:
                self._control.parity_error = 0
                self._nmi(False)
            self._channels[2].set_gate(bool(self._control.gate2), now)
        elif port == 0x43:
            self._command(ControlWord(value), now)
        else:
            self._channels[port - 0x40].write(value, now)
            if port == 0x40:
                self._update(now)

    def _command(self, word: ControlWord, now: int) -> None:
        if word.channel == 3:
            command = ReadBack(word.value)
            for index, channel in enumerate(self._channels):
                if command.channels >> index & 1:
                    if not command.no_count:
                        channel.latch_count(now)
                    if not command.no_status:
                        channel.latch_status(now)
        elif word.access == LATCH:
            self._channels[word.channel].latch_count(now)
        else:
            self._channels[word.channel].control(word, now)
            if word.channel == 0:
                self._update(now)

    def _update(self, now: int) -> None:
        self._drive(self._channels[0].output(now))
        self._arm(now)

    def _edge(self) -> None:
        now = ticks_at(self._timers.now)
        channel = self._channels[0]
        if channel.mode in (2, 4):  # the pulse that ends here
            self._drive(False)
            self._drive(True)
        else:
            self._drive(channel.output(now))
        self._arm(now)

    def _arm(self, now: int) -> None:
        edge = self._channels[0].next_edge(now)
        if edge is None:
            self._timer.cancel()
        else:
            self._timer.arm(ns_at(edge))

    def _drive(self, level: bool) -> None:
        if level != self._level:
            self._level = level
            self._irq0(level)

    def reset(self) -> None:
        """Power-on. The datasheet leaves the counters undefined; here they wait in mode 0 for a count."""
        self._channels = [Channel(), Channel(), Channel(gate=False)]
        self._nmi(False)
        self._control.reset()
        self._update(ticks_at(self._timers.now))

    def state(self) -> dict[str, Any]:
        return {
            "channels": [asdict(channel) for channel in self._channels],
            "control": self._control.value,
            "level": self._level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._channels = [Channel(**channel) for channel in state["channels"]]
        self._control.value = state["control"]
        self._level = state["level"]
