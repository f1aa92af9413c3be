# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb asks of a run, answered ("Debugging with GDB", appendix E): CPUs are threads, from 1 on.

Steps, breakpoints and watchpoints, forwards and in reverse. A step of one CPU lets the others run on, as they do in
the run. Refused, since it would be another run: writing to registers and to memory. Not known: watching reads, file
transfer, several processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from xml.sax.saxutils import quoteattr

from kdumpsim.cpu.steps import MOST_WORDS, words_spanned
from kdumpsim.debugger.description import target_description
from kdumpsim.debugger.monitor import Monitor
from kdumpsim.debugger.orders import Go, Place, Watch
from kdumpsim.debugger.packets import INTERRUPT, Packets
from kdumpsim.debugger.travel import Traveller

TRAP, STOPPED_BY_USER = 5, 2
"""Signals, as gdb numbers them."""
REFUSED: Final = "E.this would be another run: registers and memory can be read, not written"
CHUNK: Final = 0x1000


class Stub:
    """One debugger's session with a run."""

    def __init__(self, packets: Packets, traveller: Traveller, cpus: int) -> None:
        self._packets, self._travel, self._cpus = packets, traveller, cpus
        self._breakpoints: dict[tuple[str, int], int] = {}
        self._watches: dict[tuple[int, int], tuple[Watch, ...]] = {}
        self._general = self._stepping = traveller.place.cpu
        self._stop = self._stopped(traveller.place)
        self._monitor = Monitor(traveller)
        self._answers = self._table()

    def serve(self) -> None:
        """Answer until the debugger detaches or kills.  DebuggerGone when it vanishes."""
        while True:
            packet = self._packets.receive()
            if packet == INTERRUPT:
                continue  # it came after the stop
            if packet.startswith(("D", "k", "vKill")):
                if not packet.startswith("k"):
                    self._packets.send("OK")
                return
            if packet == "QStartNoAckMode":
                self._packets.send("OK")
                self._packets.acknowledging = False
                continue
            self._packets.send(self._answer(packet))

    def _answer(self, packet: str) -> str:
        for head, answer in self._answers:
            if packet.startswith(head):
                try:
                    return answer(packet[len(head) :])
                except (ValueError, LookupError) as error:
                    return f"E.{error}" if packet.startswith(("Z", "vCont")) else "E01"
        return ""

    def _table(self) -> list[tuple[str, Callable[[str], str]]]:
        """How packets begin, the longer first, and what answers them."""
        return [
            ("qSupported", self._supported),
            ("qXfer:features:read:target.xml:", lambda rest: _part(target_description(), rest)),
            ("qXfer:threads:read::", lambda rest: _part(self._threads(), rest)),
            ("qAttached", lambda _: "1"),
            ("qC", lambda _: f"QC{self._general + 1:x}"),
            ("qfThreadInfo", lambda _: "m" + ",".join(f"{cpu + 1:x}" for cpu in range(self._cpus))),
            ("qsThreadInfo", lambda _: "l"),
            ("qThreadExtraInfo,", self._extra),
            ("qRcmd,", self._command),
            ("qSymbol", lambda _: "OK"),
            ("T", self._alive),
            ("?", lambda _: self._stop),
            ("g", lambda _: self._travel.ask("registers", self._general).hex()),
            ("m", self._memory),
            ("Hg", self._choose_general),
            ("Hc", self._choose_stepping),
            ("G", lambda _: REFUSED),
            ("P", lambda _: REFUSED),
            ("M", lambda _: REFUSED),
            ("X", lambda _: REFUSED),
            ("vCont?", lambda _: "vCont;c;C;s;S;r"),
            ("vCont;", self._go),
            ("c", lambda _: self._go("c")),
            ("s", lambda _: self._go(f"s:{self._stepping + 1:x}")),
            ("bs", lambda _: self._back(Go(step=self._stepping))),
            ("bc", lambda _: self._back(Go())),
            ("Z", self._insert),
            ("z", self._remove),
        ]

    # What there is.

    def _supported(self, _: str) -> str:
        return (
            "PacketSize=20000;QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;ReverseStep+;ReverseContinue+;"
            "vContSupported+;error-message+"
        )

    def _threads(self) -> str:
        rows = (
            f'<thread id="{cpu + 1:x}" core="{cpu}" name={quoteattr(f"CPU {cpu}")}>{state}</thread>'
            for cpu, state in enumerate(self._travel.ask("cpus"))
        )
        return f'<?xml version="1.0"?><threads>{"".join(rows)}</threads>'

    def _extra(self, thread: str) -> str:
        return str(self._travel.ask("cpus")[self._cpu(thread)]).encode().hex()

    def _alive(self, thread: str) -> str:
        self._cpu(thread)
        return "OK"

    def _cpu(self, thread: str) -> int:
        number = int(thread, 16)
        if not 1 <= number <= self._cpus:
            raise ValueError("no such thread")
        return number - 1

    def _choose_general(self, thread: str) -> str:
        if thread not in ("0", "-1"):
            self._general = self._cpu(thread)
        return "OK"

    def _choose_stepping(self, thread: str) -> str:
        self._stepping = self._general if thread in ("0", "-1") else self._cpu(thread)
        return "OK"

    def _memory(self, rest: str) -> str:
        address, size = (int(number, 16) for number in rest.split(","))
        data: bytes = self._travel.ask("memory", self._general, address & 0xFFFFFFFF, min(size, 4 * CHUNK))
        return data.hex() if data else "E14"

    def _command(self, rest: str) -> str:
        text = bytes.fromhex(rest).decode("utf-8", "replace")
        answer = self._monitor.perform(text)
        if text.startswith("goto"):
            self._general = self._stepping = self._travel.place.cpu
            self._stop = self._stopped(self._travel.place)
        return answer.encode().hex() or "OK"

    # What it should stop for.

    def _insert(self, rest: str) -> str:
        kind, address, size = _point(rest)
        if kind in ("0", "1"):
            self._breakpoints[kind, address] = address
        elif kind == "2":
            watches = self._travel.watches(self._general, address, size)
            others = [watch for place, each in self._watches.items() if place != (address, size) for watch in each]
            if sum(words_spanned(watch.physical, watch.size) for watch in (*others, *watches)) > MOST_WORDS:
                raise ValueError(f"no more than {MOST_WORDS} words of 8 bytes can be watched at once")
            self._watches[address, size] = watches
        else:
            return ""
        return "OK"

    def _remove(self, rest: str) -> str:
        kind, address, size = _point(rest)
        if kind in ("0", "1"):
            self._breakpoints.pop((kind, address), None)
        elif kind == "2":
            self._watches.pop((address, size), None)
        else:
            return ""
        return "OK"

    def _wanted(self, go: Go) -> Go:
        watches = tuple(watch for watches in self._watches.values() for watch in watches)
        return Go(
            until=go.until, step=go.step, outside=go.outside, breakpoints=frozenset(self._breakpoints.values()),
            watches=watches,
        )  # fmt: skip

    # Moving.

    def _go(self, rest: str) -> str:
        step, outside = None, None
        for action in rest.split(";"):
            word, _, thread = action.partition(":")
            if word[:1] in ("s", "S", "r"):
                step = self._general if thread in ("", "-1", "0") else self._cpu(thread)
                if match := re.fullmatch(r"r([0-9a-f]+),([0-9a-f]+)", word):
                    outside = (int(match[1], 16), int(match[2], 16))
            elif word[:1] not in ("c", "C"):
                return ""
        place = self._travel.forward(
            self._wanted(Go(step=step, outside=outside)), self._packets.interrupted, self._packets.fileno()
        )
        return self._come_to(place)

    def _back(self, go: Go) -> str:
        place = self._travel.back(self._wanted(go), self._packets.interrupted, self._packets.fileno())
        if place is None:
            return self._come_to(self._travel.place, "replaylog:begin;")
        return self._come_to(place)

    def _come_to(self, place: Place, more: str = "") -> str:
        self._general = self._stepping = place.cpu
        if place.why == "end":
            self._say(f"The run is over: {self._travel.ending}\n")
        elif place.changed is not None:
            self._say(f"Written by {place.changed.by}\n")
        self._stop = self._stopped(place, more)
        return self._stop

    def _say(self, text: str) -> None:
        self._packets.send("O" + text.encode().hex())

    def _stopped(self, place: Place, more: str = "") -> str:
        if place.why == "end":
            more = "replaylog:end;"
        if place.changed is not None:
            more = f"watch:{place.changed.watch.linear:x};"
        signal = STOPPED_BY_USER if place.why == "interrupt" else TRAP
        return f"T{signal:02x}thread:{place.cpu + 1:x};core:{place.cpu:x};{more}"


def _point(rest: str) -> tuple[str, int, int]:
    kind, address, size = rest.partition(";")[0].split(",")
    return kind, int(address, 16), int(size, 16)


def _part(text: str, rest: str) -> str:
    """A piece of an object (`qXfer`): offset and length."""
    offset, length = (int(number, 16) for number in rest.split(","))
    piece = text[offset : offset + length]
    return ("m" if offset + length < len(text) else "l") + piece
