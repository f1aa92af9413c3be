# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's `monitor` commands for a run: where it is, going elsewhere, what only the machine knows."""

from __future__ import annotations

from collections.abc import Callable

from kdumpsim.choices import unknown
from kdumpsim.debugger.travel import Traveller

CONSOLE_LINES = 20


class Monitor:
    """The commands, each with the words that follow it."""

    def __init__(self, traveller: Traveller) -> None:
        self._travel = traveller
        self._commands: dict[str, tuple[str, Callable[[list[str]], str]]] = {
            "where": ("the instruction's number, virtual time, what the CPUs are at", self._where),
            "milestones": ("what the run has come past so far: boot, crash, hand-over, …", self._milestones),
            "goto": ("goto N | NAME: to an instruction by its number, or to a milestone", self._goto),
            "checkpoint": ("the instructions that can be gone back to at once", self._checkpoint),
            "time": ("virtual time in seconds since power-on", self._time),
            "console": ("console [N]: the last lines of the serial console", self._console),
            "irqs": ("what the interrupt controllers have pending, in service, masked", self._interrupts),
            "apic": ("apic [CPU]: a local APIC's registers", self._apic),
            "ioapic": ("the I/O APIC's", lambda _: self._device("ioapic")),
            "pic": ("the two i8259s'", lambda _: self._device("pic")),
            "devices": ("devices [NAME]: the devices, or the state of one", self._devices),
            "digest": ("a SHA-256 over all registers and all RAM here", lambda _: self._travel.ask("digest") + "\n"),
            "help": ("this", self._help),
        }

    def perform(self, text: str) -> str:
        """Do what a line says; what is to be printed, a mistake's explanation, too."""
        words = text.split() or ["help"]
        known = self._commands.get(words[0])
        if known is None:
            return f"{unknown('monitor command', words[0], self._commands)}\n"
        try:
            return known[1](words[1:])
        except (ValueError, LookupError) as error:
            return f"{error}\n"

    def _help(self, _: list[str]) -> str:
        width = max(map(len, self._commands))
        return "".join(f"{name:<{width}}  {text}\n" for name, (text, _) in self._commands.items())

    def _where(self, _: list[str]) -> str:
        place = self._travel.place
        past = [m for m in self._travel.milestones() if m.number <= place.number]
        after = f", after {past[-1].name}" if past else ""
        over = f"The run is over: {self._travel.ending}\n" if place.why == "end" else ""
        cpus = "".join(f"CPU {index}: {state}\n" for index, state in enumerate(self._travel.ask("cpus")))
        return f"instruction {place.number:,} on CPU {place.cpu}, {self._time([]).strip()}{after}\n{cpus}{over}"

    def _time(self, _: list[str]) -> str:
        return f"{self._travel.ask('now') / 1e9:.9f} s\n"

    def _milestones(self, _: list[str]) -> str:
        rows = self._travel.milestones()
        if not rows:
            return "none yet: the run has only begun\n"
        return "".join(f"{row.number:>12,}  {row.ns / 1e9:>12.6f} s  {row.name:<8} {row.text}\n" for row in rows)

    def _goto(self, words: list[str]) -> str:
        if len(words) != 1:
            raise ValueError("goto where?  an instruction's number, or a milestone's name")
        target = words[0].replace(",", "")
        if not target.isdecimal():
            found = [row.number for row in self._travel.milestones() if row.name == target]
            if not found:
                known = ", ".join(dict.fromkeys(row.name for row in self._travel.milestones())) or "none"
                raise ValueError(f"no milestone {target} has been come past; so far: {known}")
            target = str(found[0])
        self._travel.goto(int(target))
        return self._where([])

    def _checkpoint(self, _: list[str]) -> str:
        return "".join(f"{number:,}\n" for number in self._travel.copies())

    def _console(self, words: list[str]) -> str:
        if words and not (words[0].isdecimal() and int(words[0])):
            raise ValueError("console takes a number of lines, 1 or more")
        return str(self._travel.ask("console", int(words[0]) if words else CONSOLE_LINES)) + "\n"

    def _interrupts(self, _: list[str]) -> str:
        return str(self._travel.ask("interrupts")) + "\n"

    def _apic(self, words: list[str]) -> str:
        return self._device(f"lapic{words[0] if words else self._travel.place.cpu}")

    def _device(self, name: str) -> str:
        return str(self._travel.ask("device", name)) + "\n"

    def _devices(self, words: list[str]) -> str:
        return self._device(words[0]) if words else "\n".join(self._travel.ask("devices")) + "\n"
