# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells of the paper's table that turn with the one option that decides them (docs/table2.md, "What turns a cell").

Each pair of runs differs in that option alone; the console tells whether the mechanism is the one the option stands
for.  The thresholds and the operator's patience are short, the same on both sides, so that hangs cost little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.runs.forking import run_all
from kdumpsim.scenario.scenario import Scenario

SOFT_LOCKUP, LOCKUP = "BUG: soft lockup detected on CPU#", "NMI Watchdog detected LOCKUP on CPU"
SYSRQ, SURVIVED = "SysRq : Trigger a crashdump", "of type overflow survived"
FAULT, WORKS_ON = "Unable to handle kernel", "the machine answers, logins work"
NO_PROMPT, NO_EFFECT = "a login brought no prompt", "SysRq had no effect"
NO_DISK, FOUND = "savecore: no disk hdb", "hdb: KDUMPSIM HARDDISK"


@dataclass(frozen=True)
class Side:
    """How a run ends (* stands for any marks), what the console or the operator says of it, and what nobody says."""

    outcome: str
    said: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """A cell, the options that both runs share, and the option that is turned."""

    cell: str
    shared: str
    option: str
    values: tuple[str, str]
    before: Side
    after: Side
    dump_disk: str = "hdc"


OVERRUN = Side("*", (), (WORKS_ON,))
"""What lies below the stack, and so what follows, is a matter of the build; that nothing follows is not."""

BUSY_DRIVE = "combined_mode=ide ide_dma=0"
TURNS = (
    Turn(
        "FS_DEVRW oops",
        "",
        "panic_on_oops",
        ("0", "1"),
        Side("X (log, SysRq)", ("kernel BUG at", NO_PROMPT, SYSRQ)),
        Side("O", ("kernel BUG at",), (NO_PROMPT, SYSRQ)),
    ),
    Turn(
        "INT_TASKLET_ENTRY hang",
        "watchdog_thresh=1",
        "softlockup",
        ("warn", "panic"),
        Side("X (det, SysRq)", (SOFT_LOCKUP, SYSRQ), ("Kernel panic",)),
        Side("O", (SOFT_LOCKUP, "Kernel panic - not syncing: softlockup"), (SYSRQ,)),
    ),
    Turn(
        "INT_TASKLET_ENTRY hang",
        "watchdog_thresh=1",
        "softlockup",
        ("warn", "off"),
        Side("X (det, SysRq)", (SOFT_LOCKUP,)),
        Side("X (*SysRq)", (), (SOFT_LOCKUP,)),  # whom the tasklet's interrupt has interrupted differs by build
    ),
    Turn(
        "INT_HARDWARE_ENTRY hang",
        "watchdog_thresh=1",
        "nmi_watchdog",
        ("1", "0"),
        Side("O", (LOCKUP, "EIP is at dtt_loop"), (SYSRQ,)),
        Side("X", (NO_EFFECT,), (LOCKUP, SOFT_LOCKUP, SYSRQ)),
    ),
    Turn(
        "SCSI_DISPATCH_CMD hang",
        "watchdog_thresh=1",
        "preempt",
        ("1", "0"),
        Side("X (log, SysRq)", (NO_PROMPT,), (SOFT_LOCKUP,)),
        Side("X (det, SysRq)", (SOFT_LOCKUP, "dtt_loop+0x")),
    ),
    Turn(
        "SCSI_DISPATCH_CMD hang",
        "watchdog_thresh=1",
        "sysrq",
        ("1", "0"),
        Side("X (log, SysRq)", (NO_PROMPT, SYSRQ, "savecore: vmcore saved")),
        Side("X (log)", (NO_PROMPT, NO_EFFECT), (SYSRQ, "purgatory")),
    ),
    Turn(
        "SCSI_DISPATCH_CMD overflow",
        "rec_num=7",
        "stack",
        ("4k", "8k"),
        OVERRUN,
        Side("O", (SURVIVED, WORKS_ON), (FAULT,)),
    ),
    Turn(
        "SCSI_DISPATCH_CMD overflow",
        "",
        "rec_num",
        ("10", "2"),
        OVERRUN,
        Side("O", (SURVIVED, WORKS_ON), (FAULT,)),
    ),
    Turn(
        "INT_HW_IRQ_EN oops",
        BUSY_DRIVE,
        "reset_devices",
        ("0", "1"),
        Side("X (2c)", ("handle_IRQ_event+0x", NO_DISK)),
        Side("O", ("handle_IRQ_event+0x", f"\n{FOUND}", "to hdb"), (NO_DISK,)),
        dump_disk="hdb",
    ),
    Turn(
        "INT_HW_IRQ_EN oops",
        "combined_mode=ide reset_devices=0",
        "ide_dma",
        ("0", "1"),
        Side("X (2c)", (NO_DISK,)),
        Side("O", ("savecore: vmcore saved",), (NO_DISK,)),
        dump_disk="hdb",
    ),
)

Story = tuple[str, str]
"""A run's outcome; what the console said after the boot, and what was noted of it."""
RunPair = Callable[[list[Scenario]], list[Story]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPair:
    """Runs of scenarios, forked from booted machines, side by side; the same one is run once."""
    stories: dict[Scenario, Story] = {}

    def run(scenarios: list[Scenario]) -> list[Story]:
        jobs = [(scenario, tmp_path_factory.mktemp("run")) for scenario in scenarios if scenario not in stories]
        for report in run_all(jobs, 2):
            assert report.result is not None, report.died
            stories[report.scenario] = (
                str(report.result.outcome),
                _told(report.directory / "console.log", report.result.outcome),
            )
        return [stories[scenario] for scenario in scenarios]

    return run


def _told(console: Path, outcome: Outcome) -> str:
    """The console from the agent's start on (before that the disks are found for the first time), and the notes."""
    _, _, since = console.read_text().partition("agent: listening")
    return "\n".join([since, *map(str, outcome.timeline)])


def scenario(turn: Turn, value: str) -> Scenario:
    """One side of a pair."""
    point, kind = turn.cell.split()
    options = dict(word.split("=") for word in (*turn.shared.split(), f"{turn.option}={value}"))
    chosen = tuple(options.items())
    return Scenario(point, kind, profile="2.6.16", kernel_options=chosen, dump_disk=turn.dump_disk, patience=4)


@pytest.mark.parametrize("turn", TURNS, ids=[f"{t.cell}, {t.option}={t.values[1]}".replace(" ", "-") for t in TURNS])
def test_a_cell_turns_with_the_option_that_decides_it(run: RunPair, turn: Turn) -> None:
    stories = run([scenario(turn, value) for value in turn.values])
    for (outcome, told), side in zip(stories, (turn.before, turn.after), strict=True):
        assert fnmatchcase(outcome, side.outcome), told
        assert [words for words in side.said if words not in told] == []
        assert [words for words in side.unsaid if words in told] == []


def test_a_hang_in_the_handler_of_a_level_triggered_line_keeps_the_timer_out_and_is_not_seen(
    run: RunPair,
) -> None:
    """The disk's line is edge triggered, the network card's level triggered: docs/detection.md, "Edge and level"."""
    short = (("watchdog_thresh", "1"),)
    sides = [
        Scenario("INT_HW_IRQ_EN", "hang", profile="2.6.16", kernel_options=short, load=(load,), patience=4)
        for load in ("diskio", "netload")
    ]
    (edge, told), (level, untold) = run(sides)
    assert (edge, level) == ("X (det, SysRq)", "X")
    assert SOFT_LOCKUP in told
    assert NO_EFFECT in untold
    assert [words for words in (SOFT_LOCKUP, LOCKUP, SYSRQ) if words in untold] == []


def test_a_soft_lockup_watchdog_with_a_clock_of_its_own_sees_that_hang(run: RunPair) -> None:
    """Ticks of the CPU's own timer come although jiffies stand still; with jiffies it is the plain X of above."""
    options = (("watchdog_thresh", "1"), ("softlockup", "panic"))
    sides = [
        Scenario(
            "INT_HW_IRQ_EN",
            "hang",
            profile="2.6.16",
            kernel_options=(*options, ("softlockup_clock", clock)),
            load=("netload",),
            patience=4,
        )
        for clock in ("jiffies", "local")
    ]
    (by_jiffies, untold), (by_ticks, told) = run(sides)
    assert (by_jiffies, by_ticks) == ("X", "O")
    assert SOFT_LOCKUP not in untold
    assert f"{SOFT_LOCKUP}0" in told
    assert f"{SOFT_LOCKUP}1" not in told
