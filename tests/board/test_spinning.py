# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of CPUs that all wait are taken together, and the run is the one there would be without."""

from __future__ import annotations

from typing import Any

import pytest

from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.board.spinning import Spinning
from kdumpsim.compiler.assembler import assemble
from kdumpsim.cpu import Cpu
from kdumpsim.cpu.engine import Engine

from test_exactness import BUSY, everything  # isort: skip
from test_machine import EPILOGUE, PROLOGUE, BASE  # isort: skip

END_NS = 400_000_000
START = BUSY[BUSY.index("    mov $trampoline, %esi") : BUSY.index("    movl $0xC4500")]
TRAMPOLINE = BUSY[BUSY.index("trampoline:\n") : BUSY.index("    movl $0x1FF, 0xFEE000F0\n    mov $41, %ebx")]
GUEST = f"""
main:
    mov $0x08, %ecx
    mov $on_pit, %edx
    call set_gate
    mov $0x34, %al
    out %al, $0x43
    mov $23864, %ax                    # every 20 ms
    out %al, $0x40
    mov %ah, %al
    out %al, $0x40
{START}
    movl $0xC4500, 0xFEE00300
    movl $0xC4608, 0xFEE00300
    sti
1:  push $0x70100
    call changed                       # by our own interrupt handler
    add $4, %esp
    test %al, %al
    jne 2f
    call relax
    jmp 1b
2:  lock incl 0x70010
    rdtsc
    add %eax, 0x70014
    jmp 1b
changed:
    push %ebp
    mov %esp, %ebp
    mov 8(%ebp), %eax
    mov (%eax), %edx
    cmp %edx, 4(%eax)
    setne %al
    mov 8(%ebp), %edx
    testb $1, %al
    je 1f
    mov (%edx), %ecx
    mov %ecx, 4(%edx)
1:  pop %ebp
    ret
relax:
    push %ebp
    mov %esp, %ebp
    pause
    pop %ebp
    ret
{TRAMPOLINE}
1:  push $0x70110                      # interrupts are off here
    call changed
    add $4, %esp
    test %al, %al
    jne 2f
    call relax
    jmp 1b
2:  lock incl 0x70018
    rdtsc
    add %eax, 0x7001C
    OTHER
    jmp 1b
on_pit:
    push %eax
    mov $0x20, %al
    out %al, $0x20
    incl 0x70104
    testb $3, 0x70104
    jne 1f
    incl 0x70110                       # now the other CPU's turn
1:  pop %eax
    iret
"""


def guest(other: str = "", seed: int = 1) -> Machine:
    computer = Machine(MachineConfig(memory=2 << 20, cpus=2, seed=seed))
    computer.load_multiboot(assemble(PROLOGUE + GUEST.replace("OTHER", other) + EPILOGUE, BASE), "")
    return computer


def run(computer: Machine, monkeypatch: pytest.MonkeyPatch, *, together: bool) -> tuple[dict[str, Any], int, int]:
    """What can be told of the machine at several times, how often CPUs ran, and how much code their engines ran."""
    slices = ran = 0
    run_slice, start = Cpu.run, Engine.start

    def sliced(cpu: Cpu, limit: int, **how: bool) -> Any:
        nonlocal slices
        slices += 1
        return run_slice(cpu, limit, **how)

    def started(engine: Engine) -> int:
        nonlocal ran
        before = engine.slice.retired
        reason = start(engine)
        ran += engine.slice.retired - before
        return reason

    with monkeypatch.context() as patch:
        patch.setattr(Cpu, "run", sliced)
        patch.setattr(Engine, "start", started)
        if not together:
            patch.setattr(Spinning, "last_end", lambda self, end, event, halt: end)
        seen = {}
        for until in (END_NS // 3, END_NS // 2 + 12_345, END_NS):
            computer.run(until=until)
            seen[until] = everything(computer)
    return seen, slices, ran


@pytest.mark.parametrize("seed", [1, 2])
def test_cpus_that_wait_together_are_hardly_run(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    together, slices, ran = run(guest(seed=seed), monkeypatch, together=True)
    alone, all_slices, all_ran = run(guest(seed=seed), monkeypatch, together=False)
    assert together == alone
    assert slices < all_slices / 5
    assert ran < all_ran / 5


def test_a_cpu_that_writes_what_another_one_reads_is_not_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes around unchanged in each turn of its own, but not for the other CPU."""
    other = "3: movl $1, 0x70120\n movl $0, 0x70120\n jmp 3b"
    main = "1: cmpl $0, 0x70120\n je 1b\n incl 0x70124\n jmp 1b"
    computers = []
    for _ in range(2):
        computer = Machine(MachineConfig(memory=2 << 20, cpus=2, seed=3))
        text = GUEST.replace("OTHER", "").replace("1:  push $0x70110 ", f"{other}\n1: push $0x70110 ")
        text = text.replace("    sti\n1:  push", f"    {main}\n1:  push", 1)
        computer.load_multiboot(assemble(PROLOGUE + text + EPILOGUE, BASE), "")
        computers.append(computer)
    together, slices, _ = run(computers[0], monkeypatch, together=True)
    alone, all_slices, _ = run(computers[1], monkeypatch, together=False)
    assert together == alone
    assert slices > all_slices * 0.9


def test_memory_that_the_host_changes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for together in (True, False):
        computer = guest()
        run(computer, monkeypatch, together=together)
        before = bytes(computer.memory.view[0x70018:0x7001C])
        computer.memory.view[0x70110] ^= 0x40
        with monkeypatch.context() as patch:
            if not together:
                patch.setattr(Spinning, "last_end", lambda self, end, event, halt: end)
            computer.run(until=END_NS + 3_000_000)
        assert bytes(computer.memory.view[0x70018:0x7001C]) != before
        ends.append(everything(computer))
    assert ends[0] == ends[1]
