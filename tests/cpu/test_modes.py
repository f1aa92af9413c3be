# SPDX-License-Identifier: GPL-2.0-or-later
"""Real mode, INIT and SIPI, NMI, HLT, the interrupt shadow."""

from __future__ import annotations

import struct

import pytest
from cpu_box import CODE, KCODE, STACK, Box, Bus

from kdumpsim.compiler.assembler import assemble
from kdumpsim.cpu import Cpu, Exit
from kdumpsim.cpu.cpuid import SIGNATURE

IF = 1 << 9


def ap() -> tuple[Bus, Cpu]:
    bus = Bus()
    return bus, Cpu(1, bus, bsp=False)


def test_reset_state_is_the_manuals() -> None:
    bus = Bus()
    registers = Cpu(0, bus, bsp=True).registers()
    assert (registers.cs, registers.eip, registers.eflags) == (0xF000, 0xFFF0, 2)
    assert registers.cr0 == 0x60000010
    assert registers.edx == SIGNATURE
    assert registers.edx >> 8 & 0xF == 6  # family


def test_ap_waits_for_sipi() -> None:
    _, cpu = ap()
    assert cpu.waiting_for_sipi
    assert cpu.run(1000) is Exit.HALT
    assert not cpu.interruptible()
    assert cpu.nmi_blocked()


def test_sipi_starts_in_true_real_mode() -> None:
    bus, cpu = ap()
    code = assemble(".code16\nmov %cs, %ax\nmov $0x1234, %bx\nmov $0x2000, %cx\nmov %cx, %ds\nmov 4, %edx\nhlt", 0)
    bus.memory[0x9000 : 0x9000 + len(code)] = code
    bus.memory[0x20004:0x20008] = b"abcd"
    cpu.sipi(0x09)
    assert cpu.run(1000) is Exit.HALT
    registers = cpu.registers()
    assert (registers.cs, registers.eip) == (0x900, len(code))
    assert registers.eax & 0xFFFF == 0x900
    assert registers.edx == int.from_bytes(b"abcd", "little")
    assert not registers.cr0 & 1


def test_second_sipi_is_ignored() -> None:
    bus, cpu = ap()
    bus.memory[0x9000] = 0xF4
    cpu.sipi(9)
    cpu.run(100)
    cpu.sipi(0x20)
    assert cpu.registers().cs == 0x900


def test_trampoline_to_protected_mode() -> None:
    bus, cpu = ap()
    gdt = struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)
    bus.memory[0x9100 : 0x9100 + len(gdt)] = gdt
    bus.memory[0x9180:0x9186] = struct.pack("<HI", 23, 0x9100)
    code = assemble(
        ".code16\nmov %cs, %ax\nmov %ax, %ds\nlgdtl 0x180\nmov %cr0, %eax\nor $1, %al\nmov %eax, %cr0\n"
        "ljmpl $8, $1f + 0x9000\n.code32\n1: mov $16, %ax\nmov %ax, %ds\nmovl $0x12345678, 0x50000\nhlt",
        0,
    )
    bus.memory[0x9000 : 0x9000 + len(code)] = code
    cpu.sipi(9)
    assert cpu.run(1000) is Exit.HALT
    assert bus.memory[0x50000:0x50004] == struct.pack("<I", 0x12345678)
    assert cpu.registers().cs == KCODE


def test_init_from_paged_protected_mode(box: Box) -> None:
    box.put(0x40000, struct.pack("<I", 0x83) + bytes(4092))
    box.cpu.set_registers(cr3=0x40000, cr4=0x10, cr0=0x80000011)
    box.run("mov $7, %ebx\nhlt")
    box.cpu.init()
    registers = box.cpu.registers()
    assert (registers.cr0 & 0x80000001, registers.cr3, registers.cr4, registers.ebx) == (0, 0, 0, 0)
    assert (registers.cs, registers.eip) == (0xF000, 0xFFF0)
    assert not box.cpu.waiting_for_sipi  # this is the boot CPU


def test_init_drops_stale_code() -> None:
    bus, cpu = ap()
    for value in (1, 2):
        code = assemble(f".code16\nmov ${value}, %bx\nhlt", 0)
        bus.memory[0x9000 : 0x9000 + len(code)] = code
        cpu.init()
        cpu.sipi(9)
        cpu.run(100)
        assert cpu.registers().ebx & 0xFFFF == value


def real_mode(box: Box, text: str) -> Exit:
    box.put(CODE, assemble(".code16\n" + text, 0))
    box.cpu.init()
    box.cpu.set_registers(cs=CODE >> 4, eip=0, ss=0, esp=0x8000, ds=0)
    return box.cpu.run(1000)


def test_real_mode_interrupt(box: Box) -> None:
    box.put(0x21 * 4, struct.pack("<HH", 0x10, 0x2000))
    box.put(0x20010, assemble(".code16\nmov $0x55, %cx\niret", 0))
    assert real_mode(box, "sti\nint $0x21\nmov $0x66, %dx\nhlt") is Exit.HALT
    registers = box.cpu.registers()
    assert (registers.ecx & 0xFF, registers.edx & 0xFF, registers.esp) == (0x55, 0x66, 0x8000)
    assert registers.eflags & IF


def test_real_mode_frame(box: Box) -> None:
    box.put(0x21 * 4, struct.pack("<HH", 0x10, 0x2000))
    box.put(0x20010, b"\xf4")
    real_mode(box, "sti\nint $0x21")
    assert struct.unpack_from("<3H", box.memory, 0x8000 - 6) == (3, CODE >> 4, 0x202)
    assert not box.cpu.registers().eflags & IF
    assert box.cpu.registers().cs == 0x2000


def test_real_mode_divide_error(box: Box) -> None:
    box.put(0, struct.pack("<HH", 0x10, 0x2000))
    box.put(0x20010, b"\xf4")
    real_mode(box, "xor %cx, %cx\ndiv %cx")
    assert struct.unpack_from("<H", box.memory, 0x8000 - 6) == (2,)


def test_real_mode_idt_limit(box: Box) -> None:
    box.put(CODE, assemble(".code16\nint $0x21", 0))
    box.cpu.init()
    box.cpu.set_registers(cs=CODE >> 4, eip=0, ss=0, esp=0x8000, idtr=(0, 0x1F))
    assert box.cpu.run(1000) is Exit.SHUTDOWN


def test_sti_shadow_covers_one_instruction(box: Box) -> None:
    box.code("nop\nsti\nnop\nnop\nhlt")
    box.cpu.run(1)  # to the end of the block, which STI ends
    assert box.cpu.registers().eip == CODE + 2
    assert not box.cpu.interruptible()
    box.cpu.run(1)
    assert box.cpu.interruptible()


def test_sti_hlt_does_not_lose_a_wakeup(box: Box) -> None:
    box.vector(0x40)
    box.code("sti\nhlt\nmov $1, %ebx\nhlt")
    box.cpu.run(1)
    assert not box.cpu.interruptible()  # delivering here would be before the HLT
    assert box.cpu.run(100) is Exit.HALT
    assert box.cpu.interruptible()
    box.cpu.interrupt(0x40)
    assert not box.cpu.halted
    assert box.words(STACK - 12, 1) == [CODE + 2]


def test_interrupt_wakes_hlt_and_returns_behind_it(box: Box) -> None:
    box.vector(0x40)
    box.put(0x20400, b"\xcf")
    assert box.run("sti\nhlt\nmov $1, %ebx\ncli\nhlt") is Exit.HALT
    assert box.cpu.run(100) is Exit.HALT  # still asleep
    box.cpu.interrupt(0x40)
    assert box.cpu.run(100) is Exit.HALT
    assert box.cpu.registers().ebx == 1
    assert not box.cpu.interruptible()


def test_nmi_is_blocked_until_iret(box: Box) -> None:
    box.vector(2)
    box.put(0x20020, b"\x43\xf4\xcf")  # inc %ebx; hlt; iret
    box.code("nop\nhlt")
    assert not box.cpu.nmi_blocked()
    box.cpu.nmi()
    assert box.cpu.nmi_blocked()
    assert box.cpu.run(100) is Exit.HALT
    assert box.cpu.nmi_blocked()
    box.cpu.halted = False
    assert box.cpu.run(1) is Exit.LIMIT
    assert not box.cpu.nmi_blocked()
    assert box.cpu.registers().ebx == 1


def test_nmi_is_not_masked_by_if(box: Box) -> None:
    handler = box.vector(2)
    box.code("cli\nhlt")
    box.run()
    assert not box.cpu.interruptible()
    box.cpu.nmi()
    box.run()
    assert box.cpu.registers().eip == handler + 1


@pytest.mark.parametrize("bits", [0x202, 0x2])
def test_interruptible_follows_if(box: Box, bits: int) -> None:
    box.cpu.set_registers(eflags=bits)
    assert box.cpu.interruptible() is bool(bits & IF)


def test_virtual_8086_interrupt_goes_to_ring_0(box: Box) -> None:
    handler = box.vector(13)
    box.load_tr()
    box.put(0x60000, b"\xfa")  # cli with IOPL 0 in V86: #GP
    # IRET to V86: gs fs ds es ss esp eflags cs eip
    pushes = "\n".join(f"pushl ${value:#x}" for value in (4, 3, 2, 1, 0x5000, 0x100, 0x20002, 0x6000, 0))
    box.run(pushes + "\niret")
    assert box.cpu.registers().eip == handler + 1
    assert box.words(STACK - 40, 10) == [0, 0, 0x6000, 0x30002, 0x100, 0x5000, 1, 2, 3, 4]
    registers = box.cpu.registers()
    assert (registers.ds, registers.es, registers.fs, registers.gs) == (0, 0, 0, 0)
    assert not registers.eflags & 1 << 17
