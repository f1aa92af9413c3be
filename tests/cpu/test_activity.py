# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CPU has done since somebody asked: code it ran, pages it stored to."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from cpu_box import CODE, STACK, Box
from test_native import ASSEMBLE

from kdumpsim.cpu import Exit, activity, native

STORES = """
    movl %eax, 0x30010
    movl $0x32ffc, %edi
    movl $3, %ecx
    rep stosl
    lock xaddl %eax, 0x35000
    movl 0x36000, %eax
    hlt
"""


@pytest.fixture(params=[False, True], ids=["machine code", "portable"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A CPU with the hooks in machine code, and one with those through ctypes."""
    if request.param:
        slow = native.portable_hooks()
        monkeypatch.setattr(native, "hooks", lambda: slow)
    return Box()


def test_bytes_are_what_the_listing_assembles_to() -> None:
    done = subprocess.run([sys.executable, "-c", ASSEMBLE], input=activity.LISTING, text=True, capture_output=True)
    if "Unable to find target" in done.stderr or "No available targets" in done.stderr:
        pytest.skip("this LLVM has no x86-64 assembler")
    assert done.stdout.strip() == activity.CODE, done.stderr


def test_every_page_stored_to_is_there_and_none_that_was_only_read(either: Box) -> None:
    either.run(STORES)  # translated, and before anybody asked
    assert either.cpu.activity().code_bytes == 0
    before = either.cpu.retired
    either.cpu.record_activity()
    either.cpu.set_registers(eip=CODE)
    either.cpu.halted = False
    assert either.cpu.run(1000) is Exit.HALT
    done = either.cpu.activity()
    assert done.pages == (0x30000, 0x32000, 0x33000, 0x35000)
    assert done.code_bytes == either.cpu.retired - before > 0


def test_addresses_are_physical(either: Box) -> None:
    """Paging maps 0xC0000000 to 0, as a kernel's linear mapping does, and one page elsewhere."""
    either.put(0x100000, struct.pack("<I", 0x101003) + bytes(0xBFC) + struct.pack("<I", 0x102003))
    either.put(0x101000, b"".join(struct.pack("<I", page << 12 | 0x63) for page in range(0x100)))
    either.put(0x102000, b"".join(struct.pack("<I", page << 12 | 0x63) for page in range(0x100)))
    either.put(0x102000 + 4 * 0x40, struct.pack("<I", 0x77000 | 0x63))
    either.code("movl %eax, 0xc0030010\nmovl %eax, 0xc0040010\nhlt")
    either.cpu.set_registers(cr3=0x100000, cr0=0x80010011)
    either.cpu.record_activity()
    assert either.cpu.run(1000) is Exit.HALT
    assert either.cpu.activity().pages == (0x30000, 0x77000)


def test_an_interrupts_frame_is_the_cpus_own_store(either: Box) -> None:
    either.vector(0x40)
    either.code("sti\nnop\n1: jmp 1b")
    either.cpu.run(8)
    either.cpu.record_activity()
    either.cpu.interrupt(0x40)
    assert either.cpu.activity().pages == (STACK - 0x1000,)


def test_init_and_reset_end_it(either: Box) -> None:
    either.code("movl %eax, 0x30010\n1: movl %eax, 0x31000\njmp 1b")
    either.cpu.record_activity()
    either.cpu.run(8)
    either.cpu.init()
    done = either.cpu.activity()
    assert done.pages[0] == 0x30000
    either.cpu.set_registers(
        cr0=0x11, cs=8, ss=0x10, ds=0x10, es=0x10, gdtr=(0x3000, 0x3F), eip=CODE, esp=STACK, eflags=2
    )
    either.code("movl %eax, 0x70010\nhlt")
    assert either.cpu.run(1000) is Exit.HALT
    assert either.cpu.activity() == done
