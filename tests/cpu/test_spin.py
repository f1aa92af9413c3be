# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns of a loop that only waits are counted instead of run, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from cpu_box import Box

from kdumpsim.cpu import Exit, waiting
from kdumpsim.cpu.engine import Engine

WAITING = {
    "jump": "1: jmp 1b",
    "memory": "1: cmpl $0, 0x7000\n je 1b",
    "byte through a register": "mov $0x6ff0, %ecx\n1: testb $1, 0x10(%ecx)\n nop\n je 1b",
    "spinlock": "mov $0x7000, %edx\n1: pause\n cmpb $0, (%edx)\n jle 1b",
    "loaded": "1: movl 0x7000, %eax\n movzbl 0x7004, %ebx\n cmpl %ebx, %eax\n je 1b",
    "calls": """
        mov $0x9000, %esp
        lea 0x6FF0, %ecx
    1:  push %ecx
        call 2f
        add $4, %esp
        testb %al, %al
        jne 1b
        call 3f
        jmp 1b
    2:  push %ebp
        mov %esp, %ebp
        mov 8(%ebp), %eax
        cmpl $0, 0x10(%eax)
        setne %al
        leave
        ret
    3:  push %ebp
        mov %esp, %ebp
        pause
        pop %ebp
        ret""",
    "stack frame": """
        mov $0x9000, %ebp
        mov %ebp, %esp
        movl $0x7000, -4(%ebp)
    1:  mov -4(%ebp), %eax
        mov (%eax), %edx
        mov %edx, -8(%ebp)
        cmpl $0, -8(%ebp)
        je 1b""",
    "two blocks": "1: cmpl $1, 0x7000\n je 2f\n testl $8, 0x7004\n je 1b\n2: hlt",
}
WORKING = {
    "counter": "1: incl %eax\n jmp 1b",
    "store": "1: addl $1, 0x7000\n cmpl $0, 0x7004\n je 1b",
    "device": "1: cmpl $0, 0xFEE00020\n je 1b",
    "no memory": "1: cmpl $0, 0xD0000000\n jne 1b",
    "rotating": "mov $1, %eax\n mov $2, %ebx\n1: mov %eax, %ecx\n mov %ebx, %eax\n mov %ecx, %ebx\n jmp 1b",
    "own code": "1: movb $0x90, 2f\n cmp %eax, %ebx\n2: nop\n jmp 1b",
    "stack": "mov $0x9000, %esp\n1: push $1\n jmp 1b",
    "counter in memory": """
        mov $0x9000, %esp
    1:  call 2f
        jmp 1b
    2:  mov 0x7000, %eax
        lea 1(%eax), %eax
        mov %eax, 0x7000
        mov $0, %eax
        ret""",
    "clock": "1: rdtsc\n cmpl $0, %edx\n je 1b",
}


def outcome(text: str, monkeypatch: pytest.MonkeyPatch, *, skip: bool) -> tuple[dict[str, Any], int]:
    """All that can be told of the CPU after a slice, and how much code the engine ran."""
    ran = 0
    start = Engine.start

    def counted(engine: Engine) -> int:
        nonlocal ran
        before = engine.slice.retired
        reason = start(engine)
        ran += engine.slice.retired - before
        return reason

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "start", counted)
        if not skip:
            patch.setattr(waiting, "LONG_SLICE", 1 << 60)
        box = Box()
        exits = [box.run(text, limit=40_003), *(box.cpu.run(54_321) for _ in range(40)), box.cpu.run(77)]
        return {"exits": exits, "state": box.cpu.state(), "log": box.bus.log, "memory": bytes(box.memory)}, ran


@pytest.mark.parametrize("name", WAITING)
def test_a_loop_that_waits_is_not_run_to_be_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped, ran = outcome(WAITING[name], monkeypatch, skip=True)
    run, ran_all = outcome(WAITING[name], monkeypatch, skip=False)
    assert skipped == run
    assert skipped["exits"] == [Exit.LIMIT] * 42
    assert ran < ran_all / 10  # the first two slices tell that it dwells there


@pytest.mark.parametrize("name", WORKING)
def test_a_loop_that_does_anything_else_is_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped, ran = outcome(WORKING[name], monkeypatch, skip=True)
    run, ran_all = outcome(WORKING[name], monkeypatch, skip=False)
    assert skipped == run
    assert ran == ran_all


def test_a_loop_is_found_again_after_an_interruption() -> None:
    """But not where what it looks at, its stack or a register has changed meanwhile."""
    box = Box()
    box.code(WAITING["calls"])
    assert [box.cpu.run(100_000) for _ in range(6)] == [Exit.LIMIT] * 6
    known = box.cpu.loop()
    assert known is not None
    esp = box.cpu.registers().esp
    assert box.cpu.loop() is known
    box.put(0x7000, b"\1")  # what it reads
    assert box.cpu.loop() is None
    box.put(0x7000, b"\0")
    assert box.cpu.loop() is known
    word = box.memory[esp]
    box.put(esp, bytes([word ^ 1]))  # a return address of its own
    assert box.cpu.loop() is None
    box.put(esp, bytes([word]))
    box.cpu.set_registers(ebx=77)
    assert box.cpu.loop() is None


def test_a_loop_ends_when_what_it_waits_for_has_come() -> None:
    box = Box()
    box.code("1: cmpl $0, 0x7000\n je 1b\n hlt")
    assert [box.cpu.run(100_000) for _ in range(5)] == [Exit.LIMIT] * 5
    box.put(0x7000, b"\1")
    assert box.cpu.run(100_000) is Exit.HALT


def test_a_watch_in_a_loop_is_called_every_turn() -> None:
    box = Box()
    seen: list[int] = []
    box.code("1: cmpl $0, 0x7000\n je 1b")
    box.cpu.watch(0x10000, lambda cpu: seen.append(cpu.registers().eip))
    assert [box.cpu.run(45_000) for _ in range(4)] == [Exit.LIMIT] * 4
    assert len(seen) == 4 * 45_000 // 9
