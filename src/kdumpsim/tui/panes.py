# SPDX-License-Identifier: GPL-2.0-or-later
"""The panes, and what lies over them: help, the list of milestones, a line to type in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult, RenderResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from kdumpsim.debugger.symbols import Symbols
from kdumpsim.tui import drawing
from kdumpsim.tui.model import Picture, Stop


class Drawn(Widget):
    """A part of the screen that draws what it is told to, at its size."""

    def __init__(self, name: str, classes: str = "") -> None:
        super().__init__(id=name, classes=classes)
        self._draw: Callable[[int, int], Text] = lambda width, height: Text("")

    def show(self, draw: Callable[[int, int], Text]) -> None:
        """Draw this: a function of width and height."""
        self._draw = draw
        self.refresh()

    def render(self) -> RenderResult:
        return self._draw(self.size.width, self.size.height)


class Pane(Drawn):
    """One with a title."""

    def __init__(self, title: str, name: str) -> None:
        super().__init__(name, "pane")
        self.border_title = title


class CpuPane(Pane):
    """A click chooses a CPU."""

    class Chosen(Message):
        """A CPU's line was clicked."""

        def __init__(self, cpu: int) -> None:
            super().__init__()
            self.cpu = cpu

    def on_click(self, event: events.Click) -> None:
        """Its number is the line's."""
        offset = event.get_content_offset(self)
        if offset is not None:
            self.post_message(self.Chosen(offset.y))


class SourcePane(Pane):
    """A source file, or machine code, around a CPU's place.  A click on a line is a breakpoint, set or cleared."""

    class Marked(Message):
        """A line was clicked."""

        def __init__(self, file: str, line: int) -> None:
            super().__init__()
            self.file, self.line = file, line

    def __init__(self) -> None:
        super().__init__("source", "source")
        self.file: str | None = None
        self.cursor = 1
        self._top = 1
        self._following = True
        """The cursor has moved, and is to be kept in sight."""
        self._text: tuple[str, ...] = ()
        self._machine_code = False

    def look(
        self, picture: Picture, cpu: int, symbols: Symbols, breakpoints: Sequence[tuple[str, int]], *, code: bool
    ) -> None:
        """Show the file that is open; `code`: a CPU's machine code in its place."""
        row = picture.cpus[cpu]
        self._text = symbols.text(self.file) if self.file else ()
        self._machine_code = code or not self._text
        if self._machine_code:
            self.border_title = f"{row.spot.owner or 'machine code'}: {row.spot}"
            self.show(lambda width, height: drawing.instructions(picture.code, row.spot.address, height, width))
            return
        file = self.file or ""
        here: dict[int, str] = {}
        for each in picture.cpus:
            if each.spot.file == file and each.spot.line is not None:
                here[each.spot.line] = here.get(each.spot.line, "") + str(each.index)
        lines = symbols.lines(file)
        marked = {line for name, line in breakpoints if name == file}
        self.border_title = f"{file}, {row.spot.owner}" if row.spot.file == file else file
        self.show(
            lambda width, height: drawing.source(
                self._text, self._first(height), height, width, cursor=self.cursor, here=here, code=lines,
                breakpoints=marked,
            )
        )  # fmt: skip

    def follow(self, file: str | None, line: int | None) -> None:
        """Open a file at a line."""
        self.file, self.cursor, self._following = file, line or 1, True

    def move(self, lines: int) -> None:
        """Move the cursor."""
        self.cursor = min(max(self.cursor + lines, 1), max(len(self._text), 1))
        self._following = True
        self.refresh()

    def _first(self, height: int) -> int:
        """The line to begin with, so that the cursor is in sight with some lines around it."""
        if not self._following:
            return self._top
        self._following = False
        margin = min(3, max(height // 2 - 1, 0))
        if not self._top <= self.cursor < self._top + height:
            self._top = self.cursor - height // 3
        self._top = min(self._top, self.cursor - margin)
        self._top = max(self._top, self.cursor + margin - height + 1)
        self._top = max(min(self._top, len(self._text) - height + 1), 1)
        return self._top

    def on_resize(self) -> None:
        """The cursor stays in sight."""
        self._following = True

    def on_click(self, event: events.Click) -> None:
        """Tell which line it was."""
        offset = event.get_content_offset(self)
        if offset is None or self._machine_code or self.file is None:
            return
        line = self._top + offset.y
        if line <= len(self._text):
            self.cursor = line
            self.post_message(self.Marked(self.file, line))


class Help(ModalScreen[None]):
    """The page behind `?`; any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q,question_mark,enter,space", "app.pop_screen", "Close"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help", classes="dialog") as scroll:
            scroll.border_title = "help: arrow keys scroll, Esc closes"
            yield Static(self._text, markup=False)


class Milestones(ModalScreen[str | None]):
    """Choose a milestone."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,m", "dismiss", "Close")]

    def __init__(self, stops: Sequence[Stop], number: int, more: Sequence[tuple[str, str]]) -> None:
        """`more`: (name, title) of those that were not come past yet."""
        super().__init__()
        self._stops, self._number, self._more = stops, number, more

    def compose(self) -> ComposeResult:
        first = {stop.name: stop for stop in reversed(self._stops)}
        rows = [
            Option(f"{mark} {stop.ns / 1e9:12.6f} s {stop.number:>13,}  {stop.title}", stop.name)
            for stop in reversed(first.values())
            for mark in (drawing.HERE if stop.number == self._number else " ")
        ]
        rows += [Option(f"  {'not reached yet':>28}  {title}", name) for name, title in self._more]
        with Vertical(id="milestones", classes="dialog") as box:
            box.border_title = "milestones: Enter goes there"
            yield OptionList(*rows, markup=False)

    def on_mount(self) -> None:
        """Begin at the one come past last."""
        options = self.query_one(OptionList)
        past = {stop.name for stop in self._stops if stop.number <= self._number}
        numbers = [number for number, option in enumerate(options.options) if option.id in past]
        options.highlighted = numbers[-1] if numbers else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """This one."""
        self.dismiss(event.option.id)


class Prompt(ModalScreen[str | None]):
    """A line to type in."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def __init__(self, title: str, hint: str) -> None:
        super().__init__()
        self._title, self._hint = title, hint

    def compose(self) -> ComposeResult:
        with Vertical(id="prompt", classes="dialog") as box:
            box.border_title = self._title
            yield Input(placeholder=self._hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """That is all."""
        self.dismiss(event.value.strip() or None)
