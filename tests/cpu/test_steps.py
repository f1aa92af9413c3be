# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions, numbered: all of them, in the order in which they run, and calls before those that are asked for."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable

import pytest
from cpu_box import CODE, Box
from test_native import ASSEMBLE

from kdumpsim.cpu import Exit, native, steps
from kdumpsim.cpu.steps import Steps

LOOP = "mov $5, %ecx\n1: incl %ebx\nmov %ebx, 0x8000\nloop 1b\nhlt"
MOV, INC, STORE, AGAIN, HLT = CODE, CODE + 5, CODE + 6, CODE + 12, CODE + 14
WORD = 0x8000


def test_bytes_are_what_the_listing_assembles_to() -> None:
    done = subprocess.run([sys.executable, "-c", ASSEMBLE], input=steps.LISTING, text=True, capture_output=True)
    if "Unable to find target" in done.stderr or "No available targets" in done.stderr:
        pytest.skip("this LLVM has no x86-64 assembler")
    assert done.stdout.strip() == steps.CODE, done.stderr


@pytest.fixture(params=[False, True], ids=["native", "portable"])
def box(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Box:
    if request.param:
        portable = native.portable_hooks()
        monkeypatch.setattr(native, "hooks", lambda: portable)
    box = Box()
    box.code(LOOP)
    return box


def watched(box: Box, prepare: Callable[[Steps], None]) -> list[tuple[int, int]]:
    """(number, address) of all calls in a run of the loop."""
    seen: list[tuple[int, int]] = []

    def before(index: int, address: int) -> None:
        assert index == 0
        assert box.cpu.registers().eip == address
        seen.append((counter.number, address))
        again(counter)

    again: Callable[[Steps], None] = prepare
    counter = Steps([box.cpu], before)
    prepare(counter)
    assert box.cpu.run(1 << 20) is Exit.HALT
    assert counter.number == 17
    assert counter.last(0) == 17
    assert counter.last_address() == HLT
    return seen


def test_every_instruction_has_its_number(box: Box) -> None:
    seen = watched(box, lambda counter: counter.each(0))
    assert seen == list(enumerate([MOV, *5 * [INC, STORE, AGAIN], HLT], 1))


def test_an_alarm_calls_back_before_an_instruction_by_its_number(box: Box) -> None:
    seen = watched(box, lambda counter: counter.alarm(7 if counter.number < 7 else None))
    assert seen == [(7, AGAIN)]


def test_places_call_back_before_instructions_there(box: Box) -> None:
    seen = watched(box, lambda counter: counter.places({STORE}))
    assert seen == [(number, STORE) for number in (3, 6, 9, 12, 15)]


def test_a_watched_word_calls_back_before_the_instruction_after_the_store(box: Box) -> None:
    (block,) = [block for block in box.bus.ram if block.base <= WORD < block.base + block.size]
    host = block.host_address + WORD - block.base
    changes: list[steps.Change] = []

    def prepare(counter: Steps) -> None:
        if counter.number:
            changes.extend(counter.changes())
        else:
            counter.watch([(WORD, host, 2)])

    seen = watched(box, prepare)
    assert seen == [(number, AGAIN) for number in (4, 7, 10, 13, 16)]
    assert [(change.address, change.old[0], change.new[0]) for change in changes] == [
        (WORD, number, number + 1) for number in range(5)
    ]


def test_more_than_there_is_room_for_is_refused(box: Box) -> None:
    memory = ctypes.create_string_buffer(128)
    counter = Steps([box.cpu], lambda index, address: None)
    with pytest.raises(ValueError, match="no more than 64 bytes"):
        counter.watch([(0, ctypes.addressof(memory), 80)])


def test_when_it_is_stopped_nothing_is_counted_any_more(box: Box) -> None:
    called: list[int] = []
    counter = Steps([box.cpu], lambda index, address: called.append(counter.number))
    counter.each(0)
    assert box.cpu.run(20) is Exit.LIMIT
    counted = counter.number
    assert 0 < counted < 17
    counter.stop()
    assert box.cpu.run(1 << 20) is Exit.HALT
    assert counter.number == counted == len(called)
    assert box.words(WORD, 1) == [5]


def test_what_is_raised_comes_out_of_run(box: Box) -> None:
    def before(index: int, address: int) -> None:
        raise ZeroDivisionError

    Steps([box.cpu], before).each(0)
    with pytest.raises(ZeroDivisionError):
        box.cpu.run(100)
