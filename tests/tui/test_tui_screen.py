# SPDX-License-Identifier: GPL-2.0-or-later
"""The screen of `kdumpsim tui`: keys and clicks, small terminals and large ones, leaving."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from kdumpsim.cli import COMMANDS
from kdumpsim.commands.tui import tui
from kdumpsim.tui.app import DECK, Tui
from kdumpsim.tui.model import Model
from kdumpsim.tui.panes import Help, Milestones, SourcePane

SMALL, LARGE = (80, 24), (120, 40)
PATIENCE_S = 60


def on_screen(model: Model, size: tuple[int, int], play: Callable[[Pilot[None], Tui], Awaitable[None]]) -> None:
    """Play with the screen of a run that begins at its crash."""

    async def whole() -> None:
        app = Tui(model, "crash")
        async with app.run_test(size=size) as pilot:
            await rest(pilot)
            await play(pilot, app)

    asyncio.run(whole())


async def rest(pilot: Pilot[None]) -> None:
    """Until nothing goes on."""
    app = pilot.app
    assert isinstance(app, Tui)
    give_up = time.monotonic() + PATIENCE_S
    while app.busy:
        assert time.monotonic() < give_up
        await pilot.pause(0.02)
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await rest(pilot)


def text(app: Tui, pane: str = "") -> str:
    """What is on the screen, or in a pane."""
    region = app.screen_stack[0].query_one(f"#{pane}").region if pane else app.screen.region
    lines = ["".join(part.text for part in strip) for strip in app.screen._compositor.render_strips()]
    return "\n".join(line[region.x : region.right] for line in lines[region.y : region.bottom])


def test_a_small_terminal_shows_one_pane_after_another(model: Model) -> None:
    async def play(pilot: Pilot[None], app: Tui) -> None:
        assert "dtt_induce(kind, point.name)" in text(app, "source")
        assert "1▶" in text(app, "source") or "0▶" in text(app, "source")
        wanted = {
            "console": "agent: listening",
            "registers": "eflags",
            "calls": "system_call",
            "memory": "purgatory",
            "timeline": "CPU 0",
        }
        for name in DECK:
            assert [other for other in DECK if app.query_one(f"#{other}").display] == [name]
            assert wanted[name] in text(app, name)
            await press(pilot, "tab")
        assert text(app).splitlines()[0].startswith(" FS_DEVRW / panic  #")
        assert "q quit" in text(app).splitlines()[-1]

    on_screen(model, SMALL, play)


def test_a_large_terminal_shows_all_panes(model: Model) -> None:
    async def play(pilot: Pilot[None], app: Tui) -> None:
        for name in DECK:
            assert app.query_one(f"#{name}").display
        assert "cr4" in text(app, "registers")
        assert "first kernel" in text(app, "memory")
        await press(pilot, *["down"] * 9)
        await pilot.resize_terminal(*SMALL)
        await pilot.pause()
        assert not app.query_one("#memory").display
        assert f" {app.query_one(SourcePane).cursor} " in text(app, "source")

    on_screen(model, LARGE, play)


def test_keys_step_and_step_back(model: Model) -> None:
    async def play(pilot: Pilot[None], app: Tui) -> None:
        crash = model.number
        await press(pilot, "s", "i")
        assert "dtt_induce" in text(app, "cpus")
        assert model.number > crash
        await press(pilot, "I", "S")
        assert "dtt_crossed" in text(app, "cpus")
        await press(pilot, "backspace")
        assert "dtt_induce" in text(app, "cpus")
        await press(pilot, "d")
        assert "pushl %ebp" in text(app, "source")

    on_screen(model, SMALL, play)


def test_a_click_sets_a_breakpoint_and_a_key_clears_it(model: Model) -> None:
    async def play(pilot: Pilot[None], app: Tui) -> None:
        await press(pilot, "s", "s")
        row = next(number for number, line in enumerate(text(app, "source").splitlines()) if "panic(" in line)
        await pilot.click("#source", offset=(20, row))
        await rest(pilot)
        assert "●" in text(app, "source").splitlines()[row]
        number = model.number
        await press(pilot, "c")
        assert "Breakpoint: dtt_induce" in text(app, "message")
        assert model.number > number
        await press(pilot, "m")
        assert isinstance(app.screen, Milestones)
        await press(pilot, "end", "enter")
        assert "The run is over" in text(app, "message") or model.over
        await press(pilot, "C")
        assert "Breakpoint: dtt_induce" in text(app, "message")
        await press(pilot, "b")
        assert "●" not in text(app, "source")

    on_screen(model, SMALL, play)


def test_places_are_typed(model: Model) -> None:
    async def play(pilot: Pilot[None], app: Tui) -> None:
        await press(pilot, "o", *"panic", "enter")
        assert "def panic(" in text(app, "source")
        await press(pilot, "g", *"panic", "enter")
        assert "▶" in text(app, "source")
        assert "panic.py" in text(app, "cpus")
        await press(pilot, "g", "-", "1", "0", "enter")
        assert model.number == next(stop.number for stop in model.stops() if stop.name == "panic") - 10
        await press(pilot, "g", "1", "escape")
        assert len(app.screen_stack) == 1
        await press(pilot, "g", *"nowhere", "enter")
        assert "does not come to nowhere" in text(app, "message")

    on_screen(model, SMALL, play)


def test_the_page_shows_the_screen(model: Model) -> None:
    """Figures aside, which another build has, too."""
    page = (Path(__file__).parents[2] / "docs/tui.md").read_text().partition("<!-- screen -->\n```text\n")[2]

    async def play(pilot: Pilot[None], app: Tui) -> None:
        await press(pilot, *["tab"] * 4, "z", "z")
        seen = "\n".join(line.rstrip() for line in text(app).splitlines())
        assert re.sub(r"[0-9a-f]+", "#", seen) == re.sub(r"[0-9a-f]+", "#", page.partition("\n```")[0])

    on_screen(model, SMALL, play)


def test_help_is_a_key_away_and_play_can_be_stopped(model: Model) -> None:
    async def play(pilot: Pilot[None], app: Tui) -> None:
        await press(pilot, "question_mark")
        assert isinstance(app.screen, Help)
        assert "capitals go back" in text(app)
        await press(pilot, "escape")
        number = model.number
        await pilot.press("space")
        while model.number == number or "playing" not in text(app, "status"):
            await pilot.pause(0.02)
        await press(pilot, "escape")
        assert "stopped" in text(app, "status")
        assert number < model.number < model.glance().end[0]

    on_screen(model, SMALL, play)


def test_without_textual_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.delitem(sys.modules, "kdumpsim.tui.app")
    result = CliRunner().invoke(tui, ["--crashpoint", "FS_DEVRW", "--type", "panic"])
    assert result.exit_code == 2
    assert "pip install 'kdumpsim[tui]'" in result.output


def test_without_a_terminal_it_says_so() -> None:
    result = CliRunner().invoke(tui, ["--crashpoint", "FS_DEVRW", "--type", "panic"])
    assert result.exit_code == 2
    assert "this needs a terminal" in result.output
    assert "tui" in COMMANDS


@pytest.mark.parametrize(("how", "status"), [("c", 0), pytest.param("term", 143, marks=pytest.mark.nightly)])
def test_leaving_leaves_no_process(how: str, status: int) -> None:
    """While the run plays, from power-on."""
    pid, terminal = os.forkpty()
    if not pid:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        words = ["-m", "kdumpsim", "tui", "--crashpoint", "FS_DEVRW", "--type", "panic"]
        os.execv(sys.executable, [sys.executable, *words])
    shown = b""
    while b"playing" not in shown:
        shown += os.read(terminal, 1 << 16)
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert children
    if how == "c":
        os.write(terminal, b"\x03")
    else:
        os.kill(pid, signal.SIGTERM)
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:  # the terminal's other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    give_up = time.monotonic() + PATIENCE_S
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < give_up
        time.sleep(0.02)
