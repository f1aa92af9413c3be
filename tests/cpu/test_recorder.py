# SPDX-License-Identifier: GPL-2.0-or-later
"""The flight recorder: which blocks a CPU ran last."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cpu_box import CODE, Box
from test_native import ASSEMBLE

from kdumpsim.cpu import Exit, native, recorder

LOOP = "mov $20, %ecx\n1: incl %ebx\ncall 2f\nloop 1b\nhlt\n2: ret"
START, BODY, NEXT, END = (CODE, 11), (CODE + 5, 6), (CODE + 11, 2), (CODE + 13, 1)
RET = (CODE + 14, 1)


def test_bytes_are_what_the_listing_assembles_to() -> None:
    done = subprocess.run([sys.executable, "-c", ASSEMBLE], input=recorder.LISTING, text=True, capture_output=True)
    if "Unable to find target" in done.stderr or "No available targets" in done.stderr:
        pytest.skip("this LLVM has no x86-64 assembler")
    assert done.stdout.strip() == recorder.CODE, done.stderr


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_every_block_is_there_once_however_the_run_is_sliced(
    monkeypatch: pytest.MonkeyPatch, step: int, portable: bool
) -> None:
    if portable:
        slow = native.portable_hooks()
        monkeypatch.setattr(native, "hooks", lambda: slow)
    box = Box()
    box.code(LOOP)
    box.cpu.record_blocks(1000)
    while box.cpu.run(step) is Exit.LIMIT:
        pass
    assert box.cpu.recorded_blocks() == [START, RET, NEXT, *[BODY, RET, NEXT] * 19, END]


def test_the_last_ones_are_kept(box: Box) -> None:
    box.cpu.record_blocks(3)
    box.run(LOOP)
    assert box.cpu.recorded_blocks() == [RET, NEXT, END]


def test_recording_may_begin_late_and_does_not_change_time(box: Box) -> None:
    box.code(LOOP)
    box.cpu.run(100)
    before = box.cpu.retired
    box.cpu.record_blocks(1000)
    assert box.cpu.recorded_blocks() == []
    assert box.cpu.run(1 << 20) is Exit.HALT
    blocks = box.cpu.recorded_blocks()
    assert blocks[-3:] == [RET, NEXT, END]
    assert sum(size for _, size in blocks) == box.cpu.retired - before


def test_a_block_that_faults_is_the_last_before_its_handler(box: Box) -> None:
    handler = box.vector(6)
    box.cpu.record_blocks(8)
    box.run("nop\nud2")
    assert [address for address, _ in box.cpu.recorded_blocks()] == [CODE, handler]


def test_who_asked_for_nothing_gets_nothing(box: Box) -> None:
    box.run(LOOP)
    assert box.cpu.recorded_blocks() == []
