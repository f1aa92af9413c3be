# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run is shown: live on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kdumpsim.runs.events import Phase

_QUARTERS = 4


def format_virtual(ns: int) -> str:
    """Virtual time for people: `12.345 s`, as a kernel log would date it."""
    return f"{ns / 1e9:.3f} s"


class PlainDisplay:
    """One line a phase, a line a quarter of the dump; the guest's console in between where it was asked for."""

    def __init__(self, console: Console, *, guest_console: bool) -> None:
        self._console = console
        self._guest_console = guest_console
        self._at_line_start = True
        self._quarter = 0
        self._headed = False

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.fresh_line()

    def begin(self, name: str, title: str) -> None:
        """Nothing: a plain line stands for a phase that ended."""

    def end(self, phase: Phase) -> None:
        """A line with the phase's virtual end, name, host cost and detail."""
        if not self._headed:
            self._headed = True
            self._line(f"{'virtual s':>11} {'phase':<9} {'host':>8}")
        self._line(f"[{phase.virtual_end_ns / 1e9:9.3f}] {phase.name:<9} {phase.host_s:6.2f} s  {phase.detail}")

    def progress(self, done: int, total: int) -> None:
        """A line at each quarter."""
        quarter = done * _QUARTERS // total if total else 0
        if quarter > self._quarter:
            self._quarter = quarter
            self._line(f"{'':11} {'saving':<9} {done / (1 << 20):6.1f} of {total / (1 << 20):.1f} MiB")

    def console(self, text: str) -> None:
        """The guest's own words, where asked for."""
        if self._guest_console:
            self._console.file.write(text)
            self._console.file.flush()
            self._at_line_start = text.endswith("\n")

    def fresh_line(self) -> None:
        """End a line that the guest has begun, so that another can begin."""
        if not self._at_line_start:
            self._console.file.write("\n")
            self._at_line_start = True

    def _line(self, text: str) -> None:
        self.fresh_line()
        self._console.print(Text(text, style="bold" if self._guest_console else ""), soft_wrap=True)


class LiveDisplay:
    """Phases ticked off as they pass, a spinner on the one that runs, a bar while the dump is saved."""

    def __init__(self, console: Console) -> None:
        self._done = Table.grid(padding=(0, 1))
        for style, width in (("green", 3), ("bold", 7), ("cyan", 10), ("dim", 8)):
            self._done.add_column(style=style, width=width, justify="left" if style == "bold" else "right")
        self._done.add_column()  # as wide as there is room; it wraps within itself
        self._done.add_row("", *(Text(head, style="dim not bold") for head in ("phase", "virtual", "host")))
        self._spinner: Spinner | None = None
        self._bar = Progress(TextColumn("    saving"), BarColumn(40), DownloadColumn(binary_units=True))
        self._task = self._bar.add_task("dump", total=None, visible=False)
        self._live = Live(console=console, refresh_per_second=12, get_renderable=self._render)
        self._drawn = 0.0

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._spinner = None
        self._bar.update(self._task, visible=False)
        self._live.refresh()
        self._live.__exit__(kind, error, tb)

    def begin(self, name: str, title: str) -> None:
        """Show a spinner beside the phase's title."""
        self._spinner = Spinner("dots", text=Text(f" {title} …"))

    def end(self, phase: Phase) -> None:
        """Tick the phase off."""
        self._done.add_row(
            "✓", phase.name, format_virtual(phase.virtual_end_ns), f"{phase.host_s:.2f} s", Text(f" {phase.detail}")
        )
        self._spinner = None
        self._bar.update(self._task, visible=False)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total, visible=True)
        now = time.monotonic()
        if now - self._drawn > 0.05:
            self._drawn = now
            self._live.refresh()

    def console(self, text: str) -> None:
        """Not shown live; console.log has it."""

    def _render(self) -> Group:
        parts: list[Table | Spinner | Progress] = [self._done]
        if self._spinner is not None:
            parts.append(self._spinner)
        if self._bar.tasks[self._task].visible:
            parts.append(self._bar)
        return Group(*parts)
