# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest sees of its TLB (SDM vol. 3A, 4.10): the same whatever the host has translated, and part of a state."""

from __future__ import annotations

import struct

import pytest
from cpu_box import CODE, KCODE, KDATA, STACK, TSS_DF, TSS_DF_SEL, Box
from test_paging import P, W, paged

from kdumpsim.cpu import Cpu, Exit, Neighbours, native
from kdumpsim.cpu.softtlb import ENTRIES
from kdumpsim.cpu.steps import Steps

needs_soft_tlb = pytest.mark.skipif(not native.hooks().compiled, reason="this host has no machine code for the fill")
PTE = 0x41000 + 4 * 0x50
FIRST, SECOND, FUNCTION = 0x50000, 0x51000, CODE + 0x3000
OLD, NEW = 1, 2

BEGIN = f"""
    mov {FIRST}, %eax                   # its page is in the TLB now,
    movl ${SECOND | P | W}, {PTE}       # and its entry in memory another one
    hlt
"""
END = f"""
    mov ${FUNCTION}, %eax
    call *%eax
    mov {FIRST}, %ebx
    hlt
"""


def begun(neighbours: Neighbours | None = None, *, fetched: bool = False) -> Box:
    """Up to the HLT in the middle; `fetched`: the function's page has been."""
    box = Box(neighbours)
    paged(box)
    box.put(FIRST, struct.pack("<I", OLD))
    box.put(SECOND, struct.pack("<I", NEW))
    box.code("ret", FUNCTION)
    box.code(f"mov ${FUNCTION}, %eax\ncall *%eax\n" * fetched + BEGIN + END)
    assert box.cpu.run(1000) is Exit.HALT
    box.cpu.halted = False
    return box


def seen(box: Box) -> int:
    assert box.cpu.run(1000) is Exit.HALT
    return box.cpu.registers().ebx


@needs_soft_tlb
@pytest.mark.parametrize("fetched", [False, True], ids=["first fetch", "fetched before"])
def test_a_first_fetch_empties_no_tlb(fetched: bool) -> None:
    assert seen(begun(fetched=fetched)) == OLD


@needs_soft_tlb
@pytest.mark.parametrize("other", [False, True], ids=["same engine", "fresh engine"])
def test_a_state_has_the_tlb(other: bool) -> None:
    box = begun()
    state, memory = box.cpu.state(), box.memory[:]
    if other:
        box = Box()
        box.memory[:] = memory
    else:
        assert seen(box) == OLD
    box.cpu.restore(state)
    box.cpu.halted = False
    assert seen(box) == OLD


@needs_soft_tlb
def test_a_hook_of_all_instructions_that_goes_leaves_no_trace_in_page_tables() -> None:
    """The engine looks up what it had hooked; the guest has forgotten that page, and has not come to it again."""
    box = Box()
    paged(box)
    entry = 0x41000 + 4 * (FUNCTION >> 12 & 0x3FF)
    box.code("ret", FUNCTION)
    box.code(f"mov ${FUNCTION}, %eax\ncall *%eax\nandl $~0x20, {entry}\nmov %cr3, %ecx\nmov %ecx, %cr3\nhlt\nhlt")
    counter = Steps([box.cpu], lambda index, address: None)
    assert box.cpu.run(1000) is Exit.HALT
    box.cpu.halted = False
    counter.stop()
    assert not box.words(entry, 1)[0] & 0x20
    assert box.cpu.run(1000) is Exit.HALT
    assert counter.number == 7
    assert not box.words(entry, 1)[0] & 0x20


@needs_soft_tlb
def test_a_watch_that_goes_leaves_no_trace_in_page_tables() -> None:
    """As above, for the hook of one instruction; another watch there is called once."""
    box = Box()
    paged(box)
    entry = 0x41000 + 4 * (FUNCTION >> 12 & 0x3FF)
    box.code("ret", FUNCTION)
    again = f"mov ${FUNCTION}, %eax\ncall *%eax\nandl $~0x20, {entry}\nmov %cr3, %ecx\nmov %ecx, %cr3\nhlt\n"
    box.code(again + again)
    seen: list[str] = []
    box.cpu.watch(FUNCTION, lambda cpu: seen.append("first"))
    assert box.cpu.run(1000) is Exit.HALT
    box.cpu.halted = False
    box.cpu.unwatch(FUNCTION)
    box.cpu.watch(FUNCTION, lambda cpu: seen.append("second"))
    assert not box.words(entry, 1)[0] & 0x20
    assert box.cpu.run(1000) is Exit.HALT
    assert seen == ["first", "second"]
    assert not box.words(entry, 1)[0] & 0x20


@needs_soft_tlb
@pytest.mark.parametrize(
    "what",
    ["forgotten code", "a device's store into code", "a watch", "activity", "a look", "a page fault"],
)
def test_what_the_host_does_empties_no_tlb(what: str) -> None:
    box = begun()
    if what == "forgotten code":
        box.cpu._engine.flush_code()
    elif what == "a device's store into code":
        box.cpu.invalidate(CODE, CODE + 0x1000)
    elif what == "a watch":
        box.cpu.watch(CODE, lambda cpu: None)
    elif what == "activity":
        box.cpu.record_activity()
    elif what == "a look":
        assert box.cpu.read_linear(FIRST, 4) == struct.pack("<I", NEW)
    else:
        box.put(PTE + 4 * 0x20, bytes(4))
        handler = box.vector(14)
        box.code("mov 0x70000, %eax\n ret", FUNCTION)
        box.code("addl $4, %esp\n addl $5, (%esp)\n iret", handler)  # skip it
    assert seen(box) == OLD


@needs_soft_tlb
def test_another_cpus_first_fetch_empties_no_tlb() -> None:
    box = begun(neighbours := Neighbours())
    other = Cpu(1, box.bus, bsp=True, neighbours=neighbours)
    other.set_registers(cs=0xF000, eip=0)
    assert other.run(10) is not Exit.STOPPED
    assert seen(box) == OLD


@needs_soft_tlb
@pytest.mark.parametrize(
    "instruction",
    [
        f"invlpg {FIRST}",
        f"mov ${FIRST}, %ecx\n invlpg (%ecx)",
        "mov %cr3, %eax\n mov %eax, %cr3",
        "mov %cr4, %eax\n xor $0x10, %eax\n mov %eax, %cr4",
        "mov %cr0, %eax\n xor $0x10000, %eax\n mov %eax, %cr0",
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_the_guest_does_to_empty_its_tlb_empties_it(instruction: str, times: int) -> None:
    box = begun()
    box.code(f"{instruction}\n" * times + f"mov {FIRST}, %ebx\n hlt", CODE + 0x1000)
    box.cpu.set_registers(eip=CODE + 0x1000)
    assert seen(box) == NEW


def test_registers_set_by_a_debugger_empty_it() -> None:
    box = begun()
    box.cpu.set_registers(cr3=0x40000)
    assert seen(box) == NEW


@needs_soft_tlb
def test_the_tlb_holds_so_many_pages_and_is_emptied_when_it_is_full() -> None:
    for pages, value in ((ENTRIES // 2, OLD), (ENTRIES, NEW)):
        box = begun()
        directory = [0x42000 | P | W] * 1023
        box.put(0x42000, struct.pack("<1024I", *(number % 0x40 << 12 | P | W for number in range(1024))))
        box.put(0x40004, struct.pack("<1023I", *directory))
        box.code(
            f"mov ${pages}, %ecx\n mov $0x400000, %esi\n 1: mov (%esi), %eax\n add $4096, %esi\n loop 1b\n"
            f"mov {FIRST}, %ebx\n hlt",
            CODE + 0x1000,
        )
        box.cpu.set_registers(eip=CODE + 0x1000)
        while box.cpu.run(10_000) is Exit.LIMIT:
            pass
        assert box.cpu.registers().ebx == value


@needs_soft_tlb
def test_a_task_switch_empties_it() -> None:
    box = begun()
    box.load_tr()
    task = struct.pack("<18I", *[0] * 7, 0x40000, CODE + 0x1100, 2, *[0] * 8).ljust(0x48, b"\0")
    task = task[:0x38] + struct.pack("<I", STACK) + task[0x3C:]
    task += struct.pack("<8I", KDATA, KCODE, *[KDATA] * 4, 0, 0x68 << 16)
    box.put(TSS_DF, task)
    box.code(f"mov {FIRST}, %eax\n ljmp ${TSS_DF_SEL}, $0", CODE + 0x1000)
    box.code(f"mov {FIRST}, %ebx\n hlt", CODE + 0x1100)
    box.cpu.set_registers(eip=CODE + 0x1000)
    assert seen(box) == NEW
    assert box.cpu.registers().eip == CODE + 0x1107
