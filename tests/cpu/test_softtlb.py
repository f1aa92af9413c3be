# SPDX-License-Identifier: GPL-2.0-or-later
"""The TLB fill in machine code: same results as the engine's own walker, self-modifying code, speed of stores."""

from __future__ import annotations

import struct
import subprocess
import sys
import time

import pytest
from cpu_box import CODE, GDT, GDT_TABLE, IDT, KCODE, KDATA, STACK3, UCODE, UDATA, Box
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from test_native import ASSEMBLE

from kdumpsim.compiler.assembler import assemble
from kdumpsim.cpu import Cpu, Exit, Neighbours, native, softtlb
from properties import examples

PD, PT = 0x40000, 0x41000
needs_soft_tlb = pytest.mark.skipif(not native.hooks().compiled, reason="this host has no machine code for the fill")


def test_bytes_are_what_the_listing_assembles_to() -> None:
    done = subprocess.run([sys.executable, "-c", ASSEMBLE], input=softtlb.LISTING, text=True, capture_output=True)
    if "Unable to find target" in done.stderr or "No available targets" in done.stderr:
        pytest.skip("this LLVM has no x86-64 assembler")
    assert done.stdout.strip() == softtlb.CODE, done.stderr


def own_walker(box: Box) -> Box:
    """A CPU that never uses our fill."""
    engine = box.cpu._engine
    if engine.soft_tlb is not None:
        engine.soft_tlb.use(False)
        engine._keep.append(engine.soft_tlb)  # the hooks still know where it is
        engine.soft_tlb = None
    return box


def outcome(box: Box, pde: int, pte: int, wp: bool, pse: bool, user: bool, text: str) -> tuple[object, ...]:
    entries = [number << 12 | 7 for number in range(1024)]
    entries[0x50] = pte
    box.put(PT, struct.pack("<1024I", *entries))
    box.put(PD, struct.pack("<3I", PT | 7, pde, 0x83 | 4) + bytes(4084))
    box.load_tr()
    for vector in (6, 13, 14):
        box.vector(vector)
    box.put(0x50000, b"\xf4" * 64)
    box.cpu.set_registers(cr3=PD, cr4=0x10 if pse else 0, cr0=0x80010011 if wp else 0x80000011)
    box.code(text + "\nhlt", CODE + 0x1000)
    if user:
        box.run(
            f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\n"
            f"mov ${UDATA}, %ax\nmov %ax, %ds\nmov %ax, %es\niret"
        )
    else:
        box.cpu.set_registers(eip=CODE + 0x1000)
        box.run()
    registers = box.cpu.registers()
    stack = box.words(0x7F00, 64)
    return registers, stack, box.words(PD, 4), box.words(PT + 0x140, 1), box.cpu.retired, box.cpu.shutdown


entry_flags = st.sampled_from([0, 1, 3, 5, 7, 0x21, 0x27, 0x61, 0x67, 0x83, 0x87, 0xE7, 0x2000E7, 0x25, 0x65])


@needs_soft_tlb
@examples(150, suppress_health_check=list(HealthCheck))
@given(
    pde=st.one_of(entry_flags, entry_flags.map(lambda flags: PT | flags)),
    pte=entry_flags.map(lambda flags: 0x50000 | flags),
    wp=st.booleans(),
    pse=st.booleans(),
    user=st.booleans(),
    text=st.sampled_from(
        [
            "mov 0x50123, %eax",
            "mov %eax, 0x50123",
            "incl 0x50123",
            "mov 0x50ffe, %eax",
            "mov %eax, 0x50ffe",
            "mov 0x450123, %eax",
            "mov %eax, 0x450123",
            "mov $0x50010, %eax\njmp *%eax",
            "mov $0x450010, %eax\njmp *%eax",
            "mov 0x850123, %eax\nmov %eax, 0x850123",
            "mov 0x50000, %eax\nmov %eax, 0x50000\nmov $0x50010, %eax\njmp *%eax",
        ]
    ),
)
def test_same_as_the_engines_own_walker(pde: int, pte: int, wp: bool, pse: bool, user: bool, text: str) -> None:
    arguments = (pde, pte, wp, pse, user, text)
    assert outcome(Box(), *arguments) == outcome(own_walker(Box()), *arguments)


@needs_soft_tlb
def test_ring_3_segment_load_reads_the_gdt(box: Box) -> None:
    """A supervisor access by a ring 3 instruction: our fill cannot know, and refuses; the engine's walker allows it."""
    entries = [number << 12 | 7 for number in range(1024)]
    entries[3] = 0x3000 | 3
    box.put(PT, struct.pack("<1024I", *entries))
    box.put(PD, struct.pack("<I", PT | 7) + bytes(4092))
    box.load_tr()
    box.vector(0x80, dpl=3)
    handler = box.vector(14)
    box.cpu.set_registers(cr3=PD, cr0=0x80000011)
    box.code(f"mov ${UDATA}, %ax\nmov %ax, %ds\nmov %ax, %es\nmov 0x3008, %ebx\nint $0x80", CODE + 0x1000)
    enter = f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\nmov %cr3, %eax\nmov %eax, %cr3\niret"  # noqa: E501
    assert box.run(enter) is Exit.HALT
    assert box.cpu.registers().ds == UDATA
    assert box.cpu.registers().eip == handler + 1  # reading the GDT itself is still forbidden
    assert box.cpu.registers().cr2 == 0x3008


@pytest.mark.parametrize("mapping", ["same", "alias"])
def test_code_written_again_and_again(box: Box, mapping: str) -> None:
    """Through the mapping it runs by, or another one: every version is the one that runs."""
    entries = [number << 12 | 7 for number in range(1024)]
    entries[0x60] = 0x50000 | 7
    box.put(PT, struct.pack("<1024I", *entries))
    box.put(PD, struct.pack("<I", PT | 7) + bytes(4092))
    box.cpu.set_registers(cr3=PD, cr0=0x80000011)
    at = 0x50000 if mapping == "same" else 0x60000
    # mov $imm, %eax; ret at two places in the page, written alternately; %ebx sums what they return.
    text = f"""
        movl $0x000000b8, {at:#x}
        movl $0x0000c300, {at + 4:#x}
        movl $0x000000b8, {at + 0x800:#x}
        movl $0x0000c300, {at + 0x804:#x}
        movl $0x50000, %esi
        movl $0x50800, %edi
        movl $50, %ecx
    1:  movb %cl, {at + 1:#x}
        call *%esi
        addl %eax, %ebx
        movb %cl, {at + 0x801:#x}
        call *%edi
        addl %eax, %ebx
        movl %eax, {at + 0x400:#x}
        decl %ecx
        jnz 1b
        hlt
    """
    assert box.run(text, 100_000) is Exit.HALT
    assert box.cpu.registers().ebx == 2 * sum(range(1, 51))


def test_page_reused_for_other_code(box: Box) -> None:
    """Data, then code, then data, then code: as a page of a program that ends and another that begins."""
    text = """
        movl $20, %edx
    1:  movl $0x50000, %edi
        movl $1024, %ecx
        movl $0x90909090, %eax
        rep stosl
        movb $0xc3, 0x50fff
        movb $0x43, 0x50123(%edx)
        movl $0x50000, %esi
        call *%esi
        movl $0x50000, %edi
        movl $1024, %ecx
        xorl %eax, %eax
        rep stosl
        decl %edx
        jnz 1b
        hlt
    """
    assert box.run(text, 10_000_000) is Exit.HALT
    assert box.cpu.registers().ebx == 20


@needs_soft_tlb
def test_stores_are_not_on_the_slow_path() -> None:
    text = "movl $100000, %ecx\nmovl $0x200000, %edi\n1:" + "movl %eax, (%edi)\n" * 16 + "decl %ecx\njnz 1b\nhlt"

    def seconds(box: Box) -> float:
        box.code(text)
        begin = time.process_time()
        assert box.cpu.run(1 << 30) is Exit.HALT
        return time.process_time() - begin

    assert min(seconds(Box()) for _ in range(3)) * 3 < seconds(own_walker(Box()))


def pair() -> tuple[Box, Cpu]:
    """A box and a second CPU on its memory, in flat protected mode too."""
    box = Box(Neighbours())
    second = Cpu(1, box.bus, bsp=True, neighbours=box.neighbours)
    second.set_registers(
        cr0=0x11, gdtr=(GDT, len(GDT_TABLE) - 1), idtr=(IDT, 0x7FF), cs=KCODE, ss=KDATA, ds=KDATA, es=KDATA,
        esp=0x70000, eflags=2,
    )  # fmt: skip
    return box, second


def call(cpu: Cpu, address: int) -> int:
    cpu.halted = False
    cpu.set_registers(eip=address)
    assert cpu.run(10_000) is Exit.HALT
    return cpu.registers().ebx


@needs_soft_tlb
def test_code_written_by_one_cpu_runs_on_the_other() -> None:
    box, second = pair()
    box.code("mov $0, %ebx\nhlt", 0x50000)
    box.code("incb 0x50001\nmov $0, %ebx\nhlt")
    for version in range(5):
        assert call(second, 0x50000) == version
        call(box.cpu, CODE)
        if version == 3:
            call(box.cpu, CODE)
            break
    assert call(second, 0x50000) == 5


@needs_soft_tlb
def test_both_cpus_run_what_each_of_them_writes() -> None:
    box, second = pair()
    box.code("mov $0, %ebx\nhlt", 0x50000)
    box.code("incb 0x50001\nhlt", 0x51000)
    for version in range(6):
        writer, other = (box.cpu, second) if version & 1 else (second, box.cpu)
        assert call(writer, 0x50000) == version
        assert call(other, 0x50000) == version
        call(writer, 0x51000)


@needs_soft_tlb
@pytest.mark.parametrize("text", ["cpuid", "nop"])
def test_code_of_another_cpu_after_cpuid_or_a_jump(text: str) -> None:
    """The second CPU is in the middle of a loop that calls the code, and goes on with the next slice."""
    box, second = pair()
    box.code("mov $1, %ebx\nret", 0x50000)
    box.code("mov $0x50000, %esi\n1: call *%esi\nmov %ebx, %edi\n" + f"xor %eax, %eax\n{text}\njmp 1b", 0x51000)
    box.code("incb 0x50001\nhlt")
    second.set_registers(eip=0x51000)
    for version in range(1, 5):
        second.run(1000)
        assert second.registers().edi == version
        call(box.cpu, CODE)


def test_under_pae_code_of_another_cpu_is_seen_after_cpuid() -> None:
    """The engine's own walker tracks no stores of others, so CPUID forgets what is translated, once a turn."""
    box, second = pair()
    box.put(0x40000, struct.pack("<4Q", 0x41001, 0, 0, 0))
    box.put(0x41000, struct.pack("<2Q", 0x83, 0x200083))
    for cpu in (box.cpu, second):
        cpu.set_registers(cr3=0x40000, cr4=0x20, cr0=0x80000011)
    box.code("mov $1, %ebx\nret", 0x50000)
    box.code("mov $0x50000, %esi\n1: xor %eax, %eax\ncpuid\ncall *%esi\nmov %ebx, %edi\njmp 1b", 0x51000)
    box.code("incb 0x50001\nhlt")
    second.set_registers(eip=0x51000)
    for version in range(1, 5):
        second.run(1000)
        assert second.registers().edi == version
        call(box.cpu, CODE)


@needs_soft_tlb
def test_running_the_same_code_drops_nothing() -> None:
    box, second = pair()
    box.code("movl $5, 0x60000\nmov 0x10000, %eax\nmov $1, %ebx\nhlt")
    for _ in range(3):
        call(box.cpu, CODE)
        call(second, CODE)
        assert not box.cpu._engine._stale
        assert not second._engine._stale


@needs_soft_tlb
def test_more_written_code_pages_than_the_list_holds() -> None:
    box, second = pair()
    for page in range(100):
        box.put(0x100000 + page * 4096, b"\x43\xc3")
    box.put(
        0x30000,
        assemble(
            "mov $0x100000, %esi\nmov $100, %ecx\nxor %ebx, %ebx\n1: call *%esi\nadd $4096, %esi\nloop 1b\nhlt", 0x30000
        ),
    )
    box.code("mov $0x100000, %esi\nmov $100, %ecx\n1: movb $0x4b, (%esi)\nadd $4096, %esi\nloop 1b\nhlt")
    assert call(second, 0x30000) == 100
    call(box.cpu, CODE)
    assert call(second, 0x30000) == (1 << 32) - 100
