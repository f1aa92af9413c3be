# SPDX-License-Identifier: GPL-2.0-or-later
"""Judging a kernel that dumps itself: a page is true if the dump has it as it was when a device read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.target import PAGE_SIZE
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.handed import HandedPages
from kdumpsim.vmcore.oracle import Oracle
from kdumpsim.vmcore.picture import Picture
from kdumpsim.vmcore.reader import Vmcore

from .builders import MIB, STACK_SIZE, SYMBOLS, FakeMachine, dump

ENTRY, TAKES_OVER, DONE = "my_dump", 0xC0108000, 0xC0108800
PAGE = MIB + 0x4000
ALL = ((0, 0xA0000), (MIB, 4 * MIB))
"""A kernel that dumps itself has no reserved region."""


def dumping(machine: FakeMachine) -> Oracle:
    """A machine whose kernel has panicked and is about to dump itself."""
    oracle = Oracle(machine, SYMBOLS | {ENTRY: 0xC0107000}, STACK_SIZE, entry=ENTRY)  # type: ignore[arg-type]
    oracle.watch_jump(TAKES_OVER, None, (), where="my_write_dump", keep_handed=True)
    oracle.watch_milestone("all is written", DONE)
    machine.reach(0, SYMBOLS["panic"], esp=0xC0380F00)
    machine.reach(0, 0xC0107000, esp=0xC0380E00)
    machine.reach(0, TAKES_OVER)
    return oracle


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[Oracle, bytes], Judgement]:
    """Judge a core file."""

    def run(oracle: Oracle, core: bytes) -> Judgement:
        (tmp_path / "vmcore").write_bytes(core)
        with Vmcore(tmp_path / "vmcore") as vmcore:
            return judge(vmcore, oracle)

    return run


def test_what_was_written_before_a_page_changed_is_true(judged: Callable[[Oracle, bytes], Judgement]) -> None:
    machine = FakeMachine(cpus=1)
    oracle = dumping(machine)
    machine.memory.dma_read(PAGE, PAGE_SIZE)
    core = dump(machine.memory.view, ALL)
    machine.memory.view[PAGE] = 1  # the kernel goes on
    judgement = judged(oracle, core)
    assert (judgement.accuracy, judgement.completeness, judgement.handed) == (1, 1, [])


def test_what_changed_before_it_was_written_is_true_as_it_was_then(
    judged: Callable[[Oracle, bytes], Judgement],
) -> None:
    machine = FakeMachine(cpus=1)
    oracle = dumping(machine)
    machine.memory.view[PAGE] = 1
    machine.memory.dma_read(PAGE, 512)
    judgement = judged(oracle, dump(machine.memory.view, ALL))
    assert (judgement.accuracy, [change.page for change in judgement.handed]) == (1, [PAGE])


@pytest.mark.parametrize("stale", [0, 2], ids=["older", "newer"])
def test_a_page_that_is_not_what_the_device_read_is_wrong(
    judged: Callable[[Oracle, bytes], Judgement], stale: int
) -> None:
    machine = FakeMachine(cpus=1)
    oracle = dumping(machine)
    machine.memory.view[PAGE] = 1
    machine.memory.dma_read(PAGE, PAGE_SIZE)
    machine.memory.view[PAGE] = stale
    judgement = judged(oracle, dump(machine.memory.view, ALL))
    (difference,) = judgement.differences
    assert (difference.start & -PAGE_SIZE, difference.cause) == (PAGE, "after it was handed to a device")
    assert judgement.pages.present - judgement.pages.equal == 1


def test_a_page_that_was_copied_and_not_handed_over_is_held_to_the_picture(
    judged: Callable[[Oracle, bytes], Judgement],
) -> None:
    machine = FakeMachine(cpus=1)
    oracle = dumping(machine)
    machine.memory.view[PAGE] = 1
    assert judged(oracle, dump(machine.memory.view, ALL)).accuracy < 1


def test_pictures_are_taken_at_milestones_once_each() -> None:
    machine = FakeMachine(cpus=1)
    oracle = dumping(machine)
    assert oracle.jump is not None
    assert (oracle.jump.where, oracle.milestones) == ("my_write_dump", {})
    for value in (7, 8):
        machine.memory.view[PAGE] = value
        machine.reach(0, DONE)
    (instant,) = oracle.milestones.values()
    assert instant.where == "all is written"
    assert instant.ram is not None
    assert instant.ram.read(PAGE, PAGE + 1) == b"\x07"


def test_nobody_listens_to_what_devices_read_for_kdump() -> None:
    machine = FakeMachine()
    oracle = Oracle(machine, SYMBOLS, STACK_SIZE, ENTRY)  # type: ignore[arg-type]
    oracle.watch_jump(TAKES_OVER, None, (), where="my_write_dump")
    machine.reach(0, SYMBOLS["panic"])
    machine.reach(0, TAKES_OVER)
    assert machine.memory.read is None
    assert oracle.handed is None


def test_pages_are_kept_as_they_were_and_only_once() -> None:
    view = memoryview(bytearray(4 * PAGE_SIZE))
    pages = HandedPages(view, Picture({}))
    pages.read(PAGE_SIZE - 2, PAGE_SIZE + 2)
    view[0] = 1
    pages.read(0, 1)
    pages.read(0, 1)
    view[0] = 0
    pages.read(0, 1)
    assert list(pages) == [0, PAGE_SIZE]
    assert [version[0] for version in pages.versions(0)] == [0, 1]
    assert pages.versions(2 * PAGE_SIZE) == []
    assert not pages.changed(0)
