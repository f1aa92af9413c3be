# SPDX-License-Identifier: GPL-2.0-or-later
"""The screen of `kdumpsim tui`: keys become moves of a model, in a thread of their own; pictures become panes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ClassVar, Final

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.screen import Screen

from kdumpsim.debugger.travel import MachineGone
from kdumpsim.tui import drawing
from kdumpsim.tui.guide import GUIDE, KEYS
from kdumpsim.tui.model import MILESTONES, Interrupted, Model, Picture
from kdumpsim.tui.panes import CpuPane, Drawn, Help, Milestones, Pane, Prompt, SourcePane
from kdumpsim.tui.strip import most_zoomed

PATIENCE_S: Final = 0.3
"""A move that takes longer shows how far it is."""
TICK_S: Final = 0.1
"""Between two steps of playing."""
FULL_LOOK_S: Final = 1.0
"""While playing, between two looks at what takes longer to be seen."""
SPEEDS: Final = tuple(10**power for power in range(7))
"""Instructions of a step of playing."""
WIDE, TALL = 110, 34
"""Columns and lines from which on all panes have room beside each other."""
DECK: Final = ("console", "registers", "calls", "memory", "timeline")
"""The panes that take turns on smaller terminals."""
LATER: Final = ("crash", "jump", "capture", "save-done", "end")
"""Milestones that are offered before the run has come to them: it is run to its end to find them."""


class Tui(App[None]):
    """A run to go through."""

    TITLE = "kdumpsim"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #status, #message, #keys { height: 1; }
    #message { color: $text-warning; }
    #keys { color: $text-muted; }
    #panes { height: 1fr; layout: grid; grid-size: 2; grid-columns: 1fr 52; }
    .pane { border-top: solid $primary; border-title-color: $text-primary; border-title-style: bold; }
    #cpus { height: auto; }
    #registers, #memory, #calls { padding-left: 1; }
    #source { row-span: 2; }
    #timeline { column-span: 2; }
    #panes.deck { grid-size: 1; grid-columns: 1fr; }
    .deck #source { row-span: 1; }
    .deck #timeline { column-span: 1; }
    .deck .turn { display: none; }
    .deck .turn.shown { display: block; }
    .dialog { border: solid $primary; background: $surface; padding: 0 1; }
    Help, Milestones, Prompt { align: center middle; }
    #help { width: 84; max-width: 100%; height: 90%; }
    #milestones { width: 78; max-width: 100%; height: auto; max-height: 90%; }
    #milestones OptionList { height: auto; border: none; }
    #prompt { width: 60; max-width: 100%; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c,ctrl+q", "leave", "Quit", priority=True),
        Binding("i", "step('instruction')", "Instruction"),
        Binding("I", "step('instruction_back')", "Back"),
        Binding("s", "line(True)", "Line"),
        Binding("S", "line_back(True)", "Back"),
        Binding("n", "line(False)", "Over"),
        Binding("N", "line_back(False)", "Back"),
        Binding("c", "move('run')", "Continue"),
        Binding("C", "move('run_back')", "Back"),
        Binding("space", "play", "Play"),
        Binding("plus,equals_sign", "speed(1)", "Faster"),
        Binding("minus", "speed(-1)", "Slower"),
        Binding("escape", "pause", "Stop"),
        Binding("backspace", "move('undo')", "Where I was"),
        Binding("m", "milestones", "Milestones"),
        Binding("g", "goto", "Go to"),
        Binding("b", "breakpoint", "Breakpoint"),
        Binding("B", "clear", "Clear all"),
        Binding("o", "open", "Open source"),
        Binding("full_stop", "follow", "Here"),
        Binding("d", "code", "Machine code"),
        Binding("up", "cursor(-1)", "Up"),
        Binding("down", "cursor(1)", "Down"),
        Binding("pageup", "cursor(-10)", "Up"),
        Binding("pagedown", "cursor(10)", "Down"),
        Binding("tab", "turn(1)", "Next pane", priority=True),
        Binding("shift+tab", "turn(-1)", "Pane before", priority=True),
        Binding("z", "zoom(1)", "Zoom in"),
        Binding("Z", "zoom(-1)", "Zoom out"),
        Binding("question_mark", "help", "Help"),
        *(Binding(str(cpu), f"cpu({cpu})", f"CPU {cpu}") for cpu in range(10)),
    ]

    def __init__(self, model: Model, beginning: str, *, play: bool = False) -> None:
        super().__init__()
        self._model, self._beginning, self._play_at_once = model, beginning, play
        self._picture: Picture | None = None
        self._cpu = 0
        self._busy = ""
        """What goes on in the thread."""
        self._began = 0.0
        self._passing = 0
        self._playing = False
        self._speed = 3
        self._zoom = 0
        self._turn = 0
        self._code = False
        self._leaving = False
        self._status = 0
        model.tell(self._come_past)

    @property
    def busy(self) -> bool:
        """A move is under way, or the run plays."""
        return bool(self._busy)

    # The screen.

    def compose(self) -> ComposeResult:
        yield Drawn("status")
        yield CpuPane("CPUs", "cpus")
        with Container(id="panes"):
            yield SourcePane()
            yield Pane("registers", "registers")
            yield Pane("memory", "memory")
            yield Pane("timeline", "timeline")
            yield Pane("console", "console")
            yield Pane("calls", "calls")
        yield Drawn("message")
        yield Drawn("keys")

    def on_mount(self) -> None:
        """Open the run."""
        for name in DECK:
            self._main.query_one(f"#{name}").add_class("turn")
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._told_to_leave, signal.SIGTERM)
        self._main.query_one("#keys", Drawn).show(lambda width, height: Text(KEYS))
        self._arrange(self.size)
        self.set_interval(TICK_S, self._show_progress)
        words = "Running to the end once, to know all of it" if self._beginning != "boot" else "Powering on"
        self._perform(words, partial(self._model.open, self._beginning), self._opened)

    def on_resize(self, event: events.Resize) -> None:
        """What fits beside each other."""
        self._arrange(event.size)

    def _arrange(self, size: Size) -> None:
        panes, deck = self._main.query_one("#panes"), size.width < WIDE or size.height < TALL
        panes.set_class(deck, "deck")
        cpus = len(self._picture.cpus) if self._picture else 0
        panes.styles.grid_rows = "1fr 9" if deck else f"9 2fr {cpus + 6} 1fr"
        for name in DECK:
            self._main.query_one(f"#{name}").set_class(name == DECK[self._turn], "shown")

    def _draw(self) -> None:
        """All panes."""
        picture = self._picture
        if picture is None:
            return
        self._cpu = min(self._cpu, len(picture.cpus) - 1)
        row = picture.cpus[self._cpu]
        self._main.query_one("#status", Drawn).show(
            lambda width, height: drawing.status(picture, self._model.title, self._mode(), width)
        )
        self._main.query_one("#cpus", CpuPane).show(lambda width, height: drawing.cpus(picture, self._cpu, width))
        self._main.query_one("#cpus").styles.height = len(picture.cpus) + 1
        self._source.look(picture, self._cpu, self._model.symbols, list(self._model.breakpoints), code=self._code)
        registers = self._main.query_one("#registers", Pane)
        registers.border_title = f"registers of CPU {self._cpu}"
        registers.show(lambda width, height: drawing.registers(row, width))
        calls = self._main.query_one("#calls", Pane)
        calls.border_title = f"calls on CPU {self._cpu}"
        calls.show(lambda width, height: drawing.calls(picture, width, height))
        self._main.query_one("#memory", Pane).show(lambda width, height: drawing.memory(picture, width, height))
        self._main.query_one("#timeline", Pane).show(
            lambda width, height: drawing.timeline(picture, self._zoom, width, height)
        )
        self._main.query_one("#console", Pane).show(lambda width, height: drawing.console(picture, height, width))

    @property
    def _main(self) -> Screen[None]:
        """The screen with the panes, whatever lies over it."""
        return self.screen_stack[0]

    @property
    def _source(self) -> SourcePane:
        return self._main.query_one("#source", SourcePane)

    def _mode(self) -> str:
        if self._playing:
            return f"{drawing.HERE} playing, {SPEEDS[self._speed]:,} a tick"
        return "running" if self._busy else "the end" if self._picture and self._picture.over else "stopped"

    def _say(self, text: str) -> None:
        self._main.query_one("#message", Drawn).show(lambda width, height: drawing.one_line(text, width))

    # Moves, in a thread.

    def _perform(
        self, what: str, move: Callable[[], int | None], then: Callable[[], None] | None = None, cpu: int | None = None
    ) -> None:
        """Do something with the model, then show how it stands; what comes while it is at it is left out.

        The CPU that is looked at then is the one that the move returns, `cpu`, or whoever comes next.
        """
        if self._busy:
            self._say(f"{self._busy}: Esc stops it")
            return
        self._busy, self._began, self._passing = what, time.monotonic(), 0
        self.run_worker(partial(self._work, move, then, cpu), thread=True)

    def _work(self, move: Callable[[], int | None], then: Callable[[], None] | None, cpu: int | None) -> None:
        """In the thread."""
        picture, said = None, ""
        try:
            try:
                answer = move()
                cpu = cpu if answer is None else answer
            except LookupError as error:
                said, cpu = str(error.args[0]), self._cpu
            except Interrupted:
                said, cpu = "Stopped", self._cpu
            picture = self._model.picture(cpu)
        except (MachineGone, OSError):
            said = "The machine's process has ended: leave with q"
        with suppress(RuntimeError):  # the screen is gone
            self.call_from_thread(self._done, picture, cpu, said, then)

    def _done(self, picture: Picture | None, cpu: int | None, said: str, then: Callable[[], None] | None) -> None:
        self._busy = ""
        if self._leaving:
            self.exit(return_code=self._status)
            return
        if picture is not None:
            self._see(picture, picture.cpu if cpu is None else cpu)
            said = said or picture.why
        self._say(said)
        if then is not None:
            then()

    def _see(self, picture: Picture, cpu: int) -> None:
        self._picture, self._cpu = picture, cpu
        spot = picture.cpus[cpu].spot
        self._source.follow(spot.file, spot.line)
        self._arrange(self.size)
        self._draw()

    def _opened(self) -> None:
        ending = self._picture.ending if self._picture else ""
        self._say(f"This run ends: {ending}" if ending else "Space plays, c continues, m goes to milestones, ? helps")
        if self._play_at_once:
            self.action_play()

    def _come_past(self, number: int) -> None:
        """Called in the thread."""
        self._passing = number

    def _show_progress(self) -> None:
        elapsed = time.monotonic() - self._began
        if not self._busy or self._playing or elapsed < PATIENCE_S:
            return
        text = f"{'|/-' + chr(92)}"[int(elapsed / TICK_S) % 4] + f" {self._busy}, {elapsed:.1f} s"
        if self._passing:
            text += f": instruction {self._passing:,}"
            end = self._picture.end[0] if self._picture else 0
            if end >= self._passing:
                text += f" of {end:,}"
        self._say(f"{text}.  Esc stops")

    # Keys.

    def action_step(self, name: str) -> None:
        """An instruction of the CPU."""
        self._perform("Stepping", partial(getattr(self._model, name), self._cpu), cpu=self._cpu)

    def action_line(self, into: bool) -> None:
        """A source line of the CPU."""
        self._perform("Stepping", partial(self._model.line, self._cpu, into=into))

    def action_line_back(self, into: bool) -> None:
        """Back by a source line."""
        self._perform("Stepping back", partial(self._model.line_back, self._cpu, into=into), cpu=self._cpu)

    def action_move(self, name: str) -> None:
        """A move without more words."""
        self._perform(
            {"run": "Running", "run_back": "Running back"}.get(name, "Going back"), getattr(self._model, name)
        )

    def action_play(self) -> None:
        """Begin, or pause."""
        if self._playing:
            self._model.interrupt()
            self._playing = False
            return
        if not self._busy:
            self._playing = True
            self._perform("Playing", self._play, self._played)

    def _play(self) -> None:
        """In the thread; something to stop for ends it."""
        self._model.play()
        looked = 0.0
        while self._playing and not self._leaving:
            begun = time.monotonic()
            stopped = self._model.advance(SPEEDS[self._speed])
            if stopped:
                return
            full = begun - looked > FULL_LOOK_S
            picture = self._model.picture() if full else self._model.glance()
            looked = begun if full else looked
            self.call_from_thread(self._see, picture, picture.cpu)
            time.sleep(max(TICK_S - (time.monotonic() - begun), 0))

    def _played(self) -> None:
        self._playing = False
        self._draw()

    def action_speed(self, change: int) -> None:
        """Of playing."""
        self._speed = min(max(self._speed + change, 0), len(SPEEDS) - 1)
        self._say(f"Playing speed: {SPEEDS[self._speed]:,} instructions a tick, ten ticks a second")
        self._draw()

    def action_pause(self) -> None:
        """Have whatever goes on stop."""
        self._playing = False
        if self._busy:
            self._model.interrupt()

    def action_milestones(self) -> None:
        """The list."""
        if self._busy or self._picture is None:
            return
        known = {stop.name for stop in self._picture.stops}
        more = [] if self._picture.ending else [(name, MILESTONES.get(name, "the hand-over")) for name in LATER]
        self.push_screen(
            Milestones(self._picture.stops, self._picture.number, [one for one in more if one[0] not in known]),
            self._to_milestone,
        )

    def _to_milestone(self, name: str | None) -> None:
        if name is not None:
            self._perform("Going there", partial(self._model.stop, name))

    def action_goto(self) -> None:
        """Ask for a number."""
        hint = "an instruction's number, +N, -N, or a milestone: crash, panic, end, …"
        self.push_screen(Prompt("go to", hint), self._goto)

    def _goto(self, text: str | None) -> None:
        if text is None:
            return
        digits = text.replace(",", "").replace("_", "")
        if digits.lstrip("+-").isdecimal():
            number = int(digits) + (self._model.number if digits[0] in "+-" else 0)
            self._perform("Going there", partial(self._model.goto, number))
        else:
            self._perform("Going there", partial(self._model.stop, text))

    def action_breakpoint(self) -> None:
        """At the cursor."""
        if self._source.file is not None:
            self.on_source_pane_marked(SourcePane.Marked(self._source.file, self._source.cursor))

    def on_source_pane_marked(self, message: SourcePane.Marked) -> None:
        """Set or clear a breakpoint."""
        if self._busy:
            self._say(f"{self._busy}: Esc stops it")
            return
        self._say(self._model.toggle(message.file, message.line))
        self._draw()

    def action_clear(self) -> None:
        """All breakpoints."""
        if not self._busy:
            self._say(self._model.clear())
            self._draw()

    def action_open(self) -> None:
        """Ask for a place in the sources."""
        self.push_screen(Prompt("open a source", "a function, or FILE:LINE"), self._open)

    def _open(self, text: str | None) -> None:
        if text is None:
            return
        try:
            self._source.follow(*self._model.find(text))
        except LookupError as error:
            self._say(str(error.args[0]))
            return
        self._code = False
        self._say("b sets a breakpoint here, . goes back to the CPU's place")
        self._draw()

    def action_follow(self) -> None:
        """To the CPU's place."""
        self.action_cpu(self._cpu)

    def action_code(self) -> None:
        """Source, or machine code."""
        self._code = not self._code
        self._draw()

    def action_cursor(self, lines: int) -> None:
        """In the source."""
        self._source.move(lines)

    def action_cpu(self, cpu: int) -> None:
        """Look at another."""
        if self._picture is None or cpu >= len(self._picture.cpus):
            return
        if self._busy:
            self._cpu = cpu
        else:
            self._perform("Looking", lambda: None, cpu=cpu)

    def on_cpu_pane_chosen(self, message: CpuPane.Chosen) -> None:
        """The same."""
        self.action_cpu(message.cpu)

    def action_turn(self, step: int) -> None:
        """Another pane, where there is room for one."""
        self._turn = (self._turn + step) % len(DECK)
        self._arrange(self.size)

    def action_zoom(self, step: int) -> None:
        """The timeline's."""
        if self._picture is not None:
            self._zoom = min(max(self._zoom + step, 0), most_zoomed(self._picture.end[1]))
            self._turn = DECK.index("timeline")
            self._arrange(self.size)
            self._draw()

    def action_help(self) -> None:
        """The page."""
        self.push_screen(Help(GUIDE))

    # The end.

    def action_leave(self) -> None:
        """Leave once the thread has come to rest."""
        self._told_to_leave()

    def _told_to_leave(self, number: int | None = None) -> None:
        self._playing, self._leaving = False, True
        code = 128 + number if number is not None else 0
        if self._busy:
            self._model.interrupt()
            self._status = code
            self.set_timer(1.0, partial(self.exit, return_code=code))
        else:
            self.exit(return_code=code)
