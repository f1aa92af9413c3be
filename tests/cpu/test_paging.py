# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults and their error codes (SDM vol. 3A, 4.7), and delivery under paging."""

from __future__ import annotations

import struct

import pytest
from cpu_box import CODE, KCODE, STACK, STACK3, UCODE, UDATA, Box

from kdumpsim.cpu import Exit

PD, PT = 0x40000, 0x41000
P, W, U = 1, 2, 4


def paged(box: Box, **pages: int) -> None:
    """Identity-map 4 MiB; `pages` overrides entries: p20="flags" for the page 0x20."""
    entries = [number << 12 | P | W | U for number in range(1024)]
    for name, value in pages.items():
        entries[int(name[1:], 16)] = value
    box.put(PT, struct.pack("<1024I", *entries))
    box.put(PD, struct.pack("<I", PT | P | W | U) + bytes(4092))
    box.cpu.set_registers(cr3=PD, cr0=0x80000011)


@pytest.mark.parametrize(
    ("text", "entry", "error"),
    [
        ("mov 0x50123, %eax", 0, 0),
        ("mov %eax, 0x50123", 0, 2),
        ("mov %eax, 0x800123", 0, 2),
    ],
)
def test_not_present(box: Box, text: str, entry: int, error: int) -> None:
    paged(box, p50=entry)
    handler = box.vector(14)
    box.run("nop\n" + text)
    assert box.cpu.registers().eip == handler + 1
    assert box.words(STACK - 16, 3) == [error, CODE + 1, KCODE]
    assert box.cpu.registers().cr2 & 0xFFF == 0x123


def test_write_protect_needs_cr0_wp_in_ring_0(box: Box) -> None:
    paged(box, p50=0x50000 | P)
    box.vector(14)
    assert box.run("mov %eax, 0x50000\nhlt") is Exit.HALT
    assert box.cpu.registers().eip == CODE + 6
    box.cpu.halted = False
    box.cpu.set_registers(cr0=0x80010011, eip=CODE)
    box.run()
    assert box.words(STACK - 16, 2) == [3, CODE]
    assert box.cpu.registers().cr2 == 0x50000


@pytest.mark.parametrize(
    ("text", "entry", "error"),
    [
        ("mov 0x50000, %eax", 0x50000 | P | W, 5),
        ("mov %eax, 0x50000", 0x50000 | P | U, 7),
        ("mov %eax, 0x50000", 0, 6),
        ("mov $0x50000, %eax\njmp *%eax", 0, 4),
    ],
)
def test_user_faults(box: Box, text: str, entry: int, error: int) -> None:
    box.load_tr()
    paged(box, p50=entry)
    handler = box.vector(14)
    box.code(text, CODE + 0x1000)
    box.run(
        f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\n"
        f"mov ${UDATA}, %ax\nmov %ax, %ds\niret"
    )
    assert box.cpu.registers().eip == handler + 1
    at = 0x50000 if "jmp" in text else CODE + 0x1000
    assert box.words(STACK - 24, 6) == [error, at, UCODE, 0x10002, STACK3, UDATA]
    assert box.cpu.registers().cr2 == 0x50000


def test_second_fault_is_a_page_fault_too(box: Box) -> None:
    """The engine would report it as #DF: its "exception in flight" is ours to clear."""
    paged(box, p50=0, p51=0)
    box.vector(14)
    # A handler that counts and skips the instruction: 5 bytes.
    box.code("incl %ebx\naddl $5, 4(%esp)\nadd $4, %esp\niret", 0x200E0)
    box.vector(8)
    assert box.run("mov 0x50000, %eax\nmov 0x51000, %eax\nmov 0x50000, %eax\nhlt") is Exit.HALT
    assert box.cpu.registers().ebx == 3
    assert box.cpu.registers().eip == CODE + 16


def test_page_fault_while_delivering_a_page_fault_is_a_double_fault(box: Box) -> None:
    paged(box, p50=0)
    box.vector(14)
    box.vector(8)
    box.run("mov $0x50010, %esp\nmov 0x50000, %eax")
    assert box.cpu.shutdown  # the double fault has the same bad stack


def test_page_fault_while_delivering_an_interrupt_is_a_page_fault(box: Box) -> None:
    """...whose own delivery then fails on the same stack: double fault, shutdown. CR2 tells the pushed address."""
    paged(box, p50=0)
    box.vector(14)
    box.vector(0x30)
    box.run("mov $0x50010, %esp\nint $0x30")
    assert box.cpu.shutdown
    assert box.cpu.registers().cr2 >= 0x50000
    assert box.cpu.registers().cr2 < 0x50010


def test_delivery_sets_accessed_and_dirty(box: Box) -> None:
    paged(box)
    box.vector(0x30)
    box.cpu.interrupt(0x30)
    assert box.words(PT + (STACK - 4 >> 12) * 4, 1)[0] & 0x60 == 0x60
    assert box.words(PT + (0x2000 >> 12) * 4, 1)[0] & 0x60 == 0x20  # the IDT is only read


def test_frame_across_two_pages(box: Box) -> None:
    """The stack's two pages are not neighbours in physical memory."""
    paged(box, p60=0x70000 | P | W, p61=0x62000 | P | W)
    box.vector(0x30)
    box.run("mov $0x61004, %esp\nint $0x30")
    assert struct.unpack_from("<I", box.memory, 0x62000) == (2,)
    assert struct.unpack_from("<2I", box.memory, 0x70FF8) == (CODE + 7, KCODE)


def test_4_mib_pages(box: Box) -> None:
    box.put(PD, struct.pack("<2I", 0x83 | U, 0x83 | U) + bytes(4088))  # both 4 MiB to physical 0
    box.cpu.set_registers(cr3=PD, cr4=0x10, cr0=0x80000011)
    box.vector(0x30)
    box.put(0x51000, b"hello")
    assert box.cpu.read_linear(0x451000, 5) == b"hello"
    box.run("add $0x400000, %esp\nint $0x30")
    assert box.words(STACK - 12, 2) == [CODE + 8, KCODE]


def test_pae(box: Box) -> None:
    box.put(0x42000, struct.pack("<4Q", 0x43000 | P, 0, 0, 0))
    box.put(0x43000, struct.pack("<2Q", 0x83, 0x44000 | P | W))
    box.put(0x44000, struct.pack("<2Q", 0x51000 | P | W, 0))
    box.cpu.set_registers(cr3=0x42000, cr4=0x20, cr0=0x80000011)
    box.put(0x51234, b"hello")
    assert box.cpu.read_linear(0x200234, 5) == b"hello"
    assert box.cpu.read_linear(0x201000, 1) is None
    box.vector(0x30)
    box.run("mov $0x201000, %esp\nint $0x30")
    assert box.words(0x52000 - 12, 2) == [CODE + 7, KCODE]


def test_read_linear(box: Box) -> None:
    paged(box, p60=0x70000 | P, p61=0x62000 | P, p62=0)
    box.put(0x70FFE, b"ab")
    box.put(0x62000, b"cd")
    assert box.cpu.read_linear(0x60FFE, 4) == b"abcd"
    assert box.cpu.read_linear(0x61FFE, 4) is None
    assert box.cpu.translate(0x60004) == 0x70004
    assert box.words(PT + 0x60 * 4, 1) == [0x70000 | P]  # no accessed bit
