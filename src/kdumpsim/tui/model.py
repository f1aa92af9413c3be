# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody's place in a run: moves by instructions, lines, breakpoints and milestones, and what is to be seen there.

One thread at a time calls it, as a move may take seconds; `interrupt` may be called from any.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Final

from kdumpsim.debugger.orders import Go, Place, Trace
from kdumpsim.debugger.symbols import Line, Spot, Symbols
from kdumpsim.debugger.travel import Traveller
from kdumpsim.runs.session import Session
from kdumpsim.runs.timeline import Span
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import TARGET, stack_pointer, words
from kdumpsim.tui.backwards import in_the_middle, line_before
from kdumpsim.tui.looking import PAGING, CpuRow, Looker, Region
from kdumpsim.vmcore.disassembly import Instruction, disassemble
from kdumpsim.vmcore.unwind import Frame

CONSOLE_LINES: Final = 400
TRAILS: Final = (2_000, 20_000, 400_000)
"""How many instructions back a line's beginning is looked for."""
CODE_BYTES: Final = 600
"""Of a function that are disassembled, before and after the instruction."""
MILESTONES: Final = {
    "boot-done": "the first kernel is up", "load-done": "the dump is prepared", "arm-done": "the crash point is set",
    "crash": "the crash begins", "capture": "the capture kernel starts", "capture-done": "the dump begins to be saved",
    "save-done": "the dump is saved", "end": "the end",
}  # fmt: skip
"""What those are called that have names of ours; others are functions of the kernel."""
HIDDEN: Final = "crash-done"
"""When the operator had seen enough: no event in the machine."""


class Interrupted(Exception):
    """Somebody did not want to wait; one is where one was."""


def _same_line(one: Spot, other: Spot) -> bool:
    return (one.owner, one.function, one.line) == (other.owner, other.function, other.line)


@dataclass(frozen=True)
class Stop:
    """A milestone, with what to call it."""

    name: str
    title: str
    number: int
    ns: int


@dataclass(frozen=True)
class Picture:
    """What there is to see at a place."""

    number: int
    ns: int
    cpu: int
    """Whose instruction comes next."""
    why: str
    """How one got here, in words; may be empty."""
    cpus: tuple[CpuRow, ...] = ()
    console: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    spans: tuple[Span, ...] = field(default=(), repr=False)
    stops: tuple[Stop, ...] = ()
    past: str = ""
    """The title of the milestone come past last."""
    code: tuple[Instruction, ...] = field(default=(), repr=False)
    """Around the place of the CPU that one looks at."""
    calls: tuple[Frame, ...] = field(default=(), repr=False)
    """How that CPU came to where it is, innermost first."""
    ending: str = ""
    """How the run ends, once that is known."""
    end: tuple[int, int] = (0, 0)
    """Number and ns of the furthest place seen."""
    over: bool = False


class Model:
    """A run, and a place in it."""

    def __init__(self, session: Session, scenario: Scenario, folders: Sequence[Path] = ()) -> None:
        """Starts the machine's process: before there are threads."""
        self._travel = Traveller(session, scenario, timeline=True)
        self._mechanism = session.mechanism
        self.symbols = Symbols(session.first.elf, session.mechanism.hand_over, folders)
        self._look = Looker(self._travel, self.symbols, session.first)
        self._stack_size = session.first.stack_size
        self.title = scenario.title
        self.breakpoints: dict[tuple[str, int], Line] = {}
        """By file and line."""
        self._loaded = False
        self._been: list[int] = []
        self._why = ""
        self._end = (0, 0)
        self._spans: list[Span] = []
        self._regions: tuple[Region, ...] = ()
        self._recorded_to = 0
        self._known: tuple[int, int, int, list[Trace]] = (0, 0, 0, [])
        """A CPU, and what it ran from one instruction's number up to, not including, another."""
        self._ready, self._tell = os.pipe()
        os.set_blocking(self._ready, False)

    def close(self) -> None:
        """End the machine's processes."""
        self._travel.close()
        os.close(self._ready)
        os.close(self._tell)

    def open(self, beginning: str) -> None:
        """Go to where to begin: boot, crash or end; but for boot the whole run is run once."""
        reading = Thread(target=self._read_symbols, daemon=True)
        reading.start()
        if beginning != "boot":
            if not self.ending:
                self._to_end()
            found = [stop.number for stop in self.stops() if stop.name == beginning]
            if found:
                self._travel.goto(found[0])
        reading.join()
        self._after()

    def _to_end(self) -> None:
        """See the whole run, from here on, whatever there is to stop for."""
        self._travel.forward(Go(), self._asked, self._ready)
        self._record(self._travel.ask("now"))

    def _read_symbols(self) -> None:
        self.symbols.read()
        self._look.layout.structures  # noqa: B018  it is read when it is first asked for

    def interrupt(self) -> None:
        """Have a move end where it is.  From any thread, or a signal handler."""
        with suppress(OSError):
            os.write(self._tell, b"!")

    def _asked(self) -> bool:
        try:
            return bool(os.read(self._ready, 64))
        except BlockingIOError:
            return False

    def tell(self, passing: Callable[[int], None]) -> None:
        """Call this now and then during moves, with the number of the instruction."""
        self._travel.passing = passing

    # Where it is.

    @property
    def number(self) -> int:
        """Of the instruction that comes next."""
        return self._travel.place.number

    @property
    def ending(self) -> str:
        """How the run ends; empty: not known yet."""
        return self._travel.ending

    @property
    def over(self) -> bool:
        """The run is at its end."""
        return self._travel.place.why == "end"

    def stops(self) -> list[Stop]:
        """The milestones come past so far, in order."""
        titles = {**MILESTONES, "jump": f"{self._mechanism.hand_over} takes over"}
        return [
            Stop(row.name, titles.get(row.name, f"{row.name}()"), row.number, row.ns)
            for row in self._travel.milestones()
            if row.name != HIDDEN
        ]

    def picture(self, cpu: int | None = None) -> Picture:
        """All there is to see here; the code of a CPU, else of the one whose instruction comes next."""
        light = self.glance(cpu)
        self._regions = tuple(self._look.regions())
        return replace(light, regions=self._regions, spans=tuple(self._record(light.ns)))

    def glance(self, cpu: int | None = None) -> Picture:
        """The same, with memory and timeline as they were seen last, which takes less."""
        place, ns = self._travel.place, self._travel.ask("now")
        self._end = max(self._end, (place.number, ns))
        stops = self.stops()
        past = [stop for stop in stops if stop.number <= place.number]
        cpus = tuple(self._look.cpus())
        row = cpus[place.cpu if cpu is None else cpu]
        return Picture(
            place.number, ns, place.cpu, self._why,
            cpus=cpus,
            console=tuple(self._travel.ask("console", CONSOLE_LINES).split("\n")),
            regions=self._regions,
            spans=tuple(self._spans),
            stops=tuple(stops),
            past=past[-1].title if past else "power-on",
            code=tuple(self._code(row)),
            calls=tuple(self._look.calls(row)),
            ending=self._travel.ending,
            end=max([self._end, *((stop.number, stop.ns) for stop in stops)]),
            over=self.over,
        )  # fmt: skip

    def _record(self, ns: int) -> list[Span]:
        """The timeline, as far as the run has been seen."""
        if ns > self._recorded_to:
            since = self._recorded_to
            before = [span for span in self._spans if span.end < since]
            self._spans = before + self._travel.ask("timeline", since)
            self._recorded_to = ns
        return self._spans

    def _code(self, row: CpuRow) -> list[Instruction]:
        """A CPU's instructions from the beginning of its function, or from here where there is none."""
        spot = row.spot
        start = max(spot.address - spot.offset, spot.address - CODE_BYTES) if spot.function else spot.address
        data: bytes = self._travel.ask("memory", row.index, start, spot.address - start + CODE_BYTES)
        return [self._annotated(each, spot) for each in disassemble(data, start)]

    def _annotated(self, instruction: Instruction, spot: Spot) -> Instruction:
        """With the name of a function that it calls or jumps to."""
        mnemonic, _, target = instruction.text.partition(" ")
        if not (mnemonic.startswith(("call", "j")) and target.startswith("0x")):
            return instruction
        there = self.symbols.spot(int(target, 16))
        if not there.function or there.function == spot.function:
            return instruction
        return replace(instruction, text=f"{instruction.text} <{there}>")

    # Moves.

    def _moved(self) -> None:
        """Before a move: remember the place, and forget interrupts that came too late."""
        self._asked()
        self._why = ""
        if not self._been or self._been[-1] != self.number:
            self._been.append(self.number)

    def _after(self) -> None:
        place = self._travel.place
        if not self._loaded and any(row.name == "load-done" for row in self._travel.milestones()):
            self.symbols.load(self._travel.ask("loaded"))
            self._loaded = True
        if place.why == "end":
            self._why = f"The run is over: {self._travel.ending}"
        elif place.why == "interrupt":
            self._why = "Stopped"
        elif place.why == "break":
            spot = self._row(place.cpu).spot
            if spot.address in self._addresses():
                self._why = f"Breakpoint: {spot}, {spot.where}"

    def _forward(self, go: Go) -> Place:
        while True:
            place = self._travel.forward(replace(go, breakpoints=go.breakpoints | self._addresses()),
                                         self._asked, self._ready)  # fmt: skip
            if place.why != "break" or self._meant(place, go):
                return place

    def _addresses(self) -> frozenset[int]:
        return frozenset(address for line in self.breakpoints.values() for _, address in line.places)

    def _meant(self, place: Place, go: Go = Go()) -> bool:  # noqa: B008  it is frozen
        """Is a breakpoint there for the program that has come to it?"""
        row = self._look.cpus()[place.cpu]
        if row.spot.address in go.breakpoints:
            return True
        programs = {program for line in self.breakpoints.values()
                    for program, address in line.places if address == row.spot.address}  # fmt: skip
        return bool(programs & {"", row.task.partition("[")[0]})

    def instruction(self, cpu: int) -> None:
        """A CPU's next instruction."""
        self._moved()
        self._forward(Go(step=cpu))
        self._after()

    def instruction_back(self, cpu: int) -> None:
        """Take back a CPU's last instruction."""
        self._moved()
        before = self._trail(cpu) or self._trail(cpu, TRAILS[0])
        if before:
            self._travel.goto(before[-1].number)
            self._after()
        else:
            self._back(Go(step=cpu), breakpoints=frozenset())

    def advance(self, count: int) -> bool:
        """So many instructions of all CPUs; whether something stopped it before."""
        place = self._forward(Go(until=self.number + count))
        self._after()
        return place.why != "until"

    def play(self) -> None:
        """Before `advance` is called again and again."""
        self._moved()

    def run(self) -> None:
        """To the next breakpoint, or the end."""
        self._moved()
        self._forward(Go())
        self._after()

    def run_back(self) -> None:
        """To the breakpoint before, or the beginning."""
        self._moved()
        self._back(Go(), self._addresses())

    def _back(self, go: Go, breakpoints: frozenset[int]) -> None:
        here = self.number
        while True:
            place = self._travel.back(replace(go, breakpoints=breakpoints), self._asked, self._ready)
            if place is None or place.why != "break" or self._meant(place):
                break
        self._after()
        if place is None:
            self._why = "The beginning of the run" if here > 1 else "This is the beginning of the run"

    def goto(self, number: int) -> None:
        """To an instruction by its number, or to the end where that comes first."""
        self._moved()
        self._travel.goto(number, self._asked, self._ready)
        self._after()

    def stop(self, name: str) -> None:
        """To the first milestone of a name; LookupError if the run has none."""
        self._moved()
        if not self.ending and not any(stop.name == name for stop in self.stops()):
            self._to_end()
        found = [stop for stop in self.stops() if stop.name == name]
        if not found and not self.ending:
            self._after()  # it was interrupted
            return
        if not found:
            self.undo()
            raise LookupError(f"this run does not come to {name}")
        self._travel.goto(found[0].number, self._asked, self._ready)
        self._after()
        self._why = self._why or f"Milestone: {found[0].title}"

    def undo(self) -> None:
        """To where the last move began."""
        if self._been:
            number = self._been.pop()
            self._asked()
            self._why = ""
            self._travel.goto(number, self._asked, self._ready)
            self._after()

    # By lines.

    def line(self, cpu: int, *, into: bool) -> int:
        """To a CPU's next source line, `into` functions that it calls or over them; the CPU that the task is on then.

        Interrupts on the way are passed over; breakpoints are not.
        """
        self._moved()
        cpu = self._line(cpu, into)
        self._after()
        return cpu

    def _line(self, cpu: int, into: bool) -> int:
        before = self._row(cpu)
        begun = before.spot
        while True:
            place = self._forward(Go(step=cpu, outside=before.spot.extent))
            if place.why != "step":
                return place.cpu if place.why == "break" else cpu
            now = self._row(cpu)
            called = now.spot.offset == 0 and not now.spot.entry
            delivered = now.spot.entry and not before.spot.entry
            if delivered or (called and not into):
                back = self._interrupted(now, before) if delivered else self._caller(now)
                if back is None:
                    return cpu
                cpu, came_back = self._until_back(*back)
                if not came_back:
                    return cpu
                now = self._row(cpu)
            if now.spot.line is None or not (_same_line(now.spot, begun) or in_the_middle(now.spot, before.spot)):
                return cpu
            before = now

    def _row(self, cpu: int) -> CpuRow:
        return self._look.cpus()[cpu]

    def _stack(self, row: CpuRow, count: int) -> tuple[int, ...]:
        data: bytes = self._travel.ask("memory", row.index, stack_pointer(row.registers), count * TARGET.word)
        return words(data) if len(data) == count * TARGET.word else ()

    def _caller(self, now: CpuRow) -> tuple[int, int] | None:
        """Where a function returns to that was just called, and the stack pointer then."""
        found = self._stack(now, 1)
        return (found[0], stack_pointer(now.registers) + TARGET.word) if found else None

    def _interrupted(self, now: CpuRow, before: CpuRow) -> tuple[int, int] | None:
        """The same of an event that was just delivered; None where its frame is not understood."""
        found = self._stack(now, 5)
        for error in (0, 1):  # code
            if len(found) == 5 and found[error + 1] == before.registers.cs:
                ring = before.registers.cs & 3
                stack = self._stack(now, 6)[error + 3 : error + 4] if ring else (
                    stack_pointer(now.registers) + (error + 3) * TARGET.word,)  # fmt: skip
                return (found[error], stack[0]) if stack else None
        return None

    def _until_back(self, address: int, stack: int) -> tuple[int, bool]:
        """Run until somebody returns to an address with this stack pointer; the CPU, and whether that came."""
        while True:
            place = self._forward(Go(breakpoints=frozenset((address,))))
            row = self._row(place.cpu)
            if place.why != "break":
                return place.cpu, False
            if row.spot.address == address and stack_pointer(row.registers) == stack:
                return place.cpu, True
            if row.spot.address in self._addresses():
                return place.cpu, False

    def line_back(self, cpu: int, *, into: bool) -> None:
        """To where a CPU began its source line or, if it is there, the one before."""
        self._moved()
        row = self._row(cpu)
        paging = bool(row.registers.cr0 & PAGING)
        task = row.task.partition("[")[0]
        known: dict[int, Spot] = {}

        def spot(address: int) -> Spot:
            if address not in known:
                known[address] = self.symbols.spot(address, task, paging)
            return known[address]

        here = Trace(self.number, row.spot.address, stack_pointer(row.registers))
        for count in (0, *TRAILS):
            trail = self._trail(cpu, count)
            found = line_before(trail, here, spot, self._stack_size, into=into)
            if found is not None:
                self._travel.goto(found.number)
                self._after()
                return
            if count >= self.number:
                break
        self._why = f"This CPU began no line before this one within {min(count, self.number):,} instructions"

    def _trail(self, cpu: int, count: int = 0) -> list[Trace]:
        """What a CPU ran before this place, over so many instructions of all CPUs; 0: what is known of it."""
        here = self.number
        if count:
            found = self._travel.trail(cpu, count, self._asked, self._ready)
            if found is None:
                raise Interrupted
            self._known = (cpu, max(here - count, 1), here, found)
        known, begin, end, steps = self._known
        return [step for step in steps if step.number < here] if known == cpu and begin < here <= end else []

    # Breakpoints.

    def toggle(self, file: str, line: int) -> str:
        """Set a breakpoint on the first line from this one on that has code, or clear it; what was done."""
        if self.breakpoints.pop((file, line), None) is not None:
            return f"Cleared the breakpoint at line {line}"
        lines = self.symbols.lines(file)
        number = min((each for each in lines if each >= line), default=None)
        if number is None:
            return f"No code at line {line} or after it"
        if self.breakpoints.pop((file, number), None) is not None:
            return f"Cleared the breakpoint at line {number}"
        self.breakpoints[file, number] = lines[number]
        return f"Breakpoint at line {number}" + ("" if number == line else f": line {line} has no code")

    def clear(self) -> str:
        """Clear all breakpoints."""
        count = len(self.breakpoints)
        self.breakpoints.clear()
        return f"Cleared {count} breakpoint{'s' * (count != 1)}"

    def find(self, text: str) -> tuple[str, int]:
        """File and line of FUNCTION, FILE:LINE (a file's name will do).  LookupError."""
        name, _, line = text.partition(":")
        if line.isdecimal():
            for file in self.symbols.files():
                if file == name or file.endswith(f"/{name}"):
                    return file, int(line)
            raise LookupError(f"no source file {name}")
        spot = self.symbols.function(text)
        if spot is None or spot.file is None or spot.line is None:
            raise LookupError(f"no function {text} with source lines")
        return spot.file, spot.line
