# SPDX-License-Identifier: GPL-2.0-or-later
"""RDMSR, WRMSR, RDPMC and the P6 performance counters, wherever the guest has the instructions."""

from __future__ import annotations

import struct

import pytest
from cpu_box import CODE, STACK3, UCODE, UDATA, Box

from kdumpsim.cpu import Exit, native

PD, PT = 0x40000, 0x41000
NS = 32  # clocks of a code byte
SELECT = "mov $0x186, %ecx\nmov $0x530079, %eax\nxor %edx, %edx\nwrmsr\n"  # EN, INT, OS, USR, CPU_CLK_UNHALTED
COUNTER = "mov $0xc1, %ecx\n"


def load(clocks_left: int) -> str:
    """Both, with a counter that overflows after so many clocks."""
    return f"{COUNTER}mov ${-clocks_left & 0xFFFFFFFF:#x}, %eax\nwrmsr\n"


def read_counter(box: Box) -> int:
    registers = box.cpu.registers()
    return registers.edx << 32 | registers.eax


def test_the_counter_counts_the_clocks_of_code(box: Box) -> None:
    assert box.run(f"{SELECT}{load(0)}.skip 10, 0x90\nrdmsr\nhlt") is Exit.HALT
    assert read_counter(box) == 12 * NS  # ten NOPs and the RDMSR
    box.cpu.halted = False
    box.code("xor %ecx, %ecx\nrdpmc\nhlt", CODE + 0x1000)
    box.cpu.set_registers(eip=CODE + 0x1000)
    box.run()
    assert read_counter(box) == (12 + 1 + 4) * NS  # the HLT, but not the time it lasted, and four bytes


def test_a_counter_takes_32_bits_and_extends_their_sign(box: Box) -> None:
    box.run(f"{COUNTER}mov $0x80000000, %eax\nmov $0x12, %edx\nwrmsr\nrdmsr\nhlt")
    assert read_counter(box) == 0xFF80000000
    box.cpu.halted = False
    box.code(f"{COUNTER}mov $0x7fffffff, %eax\nmov $0x12, %edx\nwrmsr\nrdmsr\nhlt")
    box.cpu.set_registers(eip=CODE)
    box.run()
    assert read_counter(box) == 0x7FFFFFFF


def test_overflow_ends_the_slice_and_is_told_once(box: Box) -> None:
    box.code(f"{SELECT}{load(100 * NS)}1: nop\njmp 1b")
    assert box.run(limit=10_000) is Exit.LIMIT
    assert box.cpu.take_perf_overflow()
    assert not box.cpu.take_perf_overflow()
    assert 0 <= box.cpu.retired - (26 + 100) < 3
    box.cpu.run(10_000)
    assert not box.cpu.take_perf_overflow()  # it goes on from zero: 2^40 clocks to the next


@pytest.mark.parametrize(
    "select",
    [0x130079, 0x430079, 0x500079, 0x5300C0],
    ids=["not enabled", "no interrupt", "no ring", "an event that is not modelled"],
)
def test_no_overflow_from_a_counter_that_is_not_to_interrupt(box: Box, select: int) -> None:
    box.run(f"mov $0x186, %ecx\nmov ${select:#x}, %eax\nwrmsr\n{load(NS)}mov $1000, %ecx\n1: loop 1b\nhlt")
    assert not box.cpu.take_perf_overflow()


def test_the_enable_bit_of_the_first_counter_is_for_both(box: Box) -> None:
    second = "mov $0x187, %ecx\nmov $0x130079, %eax\nwrmsr\nmov $0xc2, %ecx\nmov $-320, %eax\nwrmsr\n"
    box.run(f"{second}mov $100, %ecx\n1: loop 1b\nhlt")
    assert not box.cpu.take_perf_overflow()
    box.cpu.halted = False
    box.cpu.set_registers(eip=CODE)
    box.run(f"{second}mov $0x186, %ecx\nmov $0x400000, %eax\nwrmsr\nmov $100, %ecx\n1: loop 1b\nhlt")
    assert box.cpu.take_perf_overflow()


def test_registers_of_the_engine_stay_its_own_and_unknown_ones_read_zero(box: Box) -> None:
    box.run(
        "mov $0x174, %ecx\nmov $0x1234, %eax\nwrmsr\nxor %eax, %eax\nrdmsr\nmov %eax, %ebx\n"
        "mov $0x777, %ecx\nrdmsr\nhlt"
    )
    registers = box.cpu.registers()
    assert (registers.ebx, registers.eax) == (0x1234, 0)


def test_the_time_stamp_counter_can_be_read_as_a_register(box: Box) -> None:
    box.bus.now = 0x1234567890
    box.run("mov $0x10, %ecx\nrdmsr\nhlt")
    assert read_counter(box) == 0x1234567890


def test_the_local_apic_is_where_and_what_ia32_apic_base_says(box: Box) -> None:
    handler = box.vector(13)
    box.run("mov $0x1b, %ecx\nrdmsr\nmov %eax, %esi\nand $~0x800, %eax\nwrmsr\nrdmsr\nhlt")
    assert (box.cpu.registers().esi, read_counter(box)) == (0xFEE00900, 0xFEE00100)
    box.cpu.halted = False
    box.code("mov $1, %eax\ncpuid\nhlt", CODE + 0x1000)
    box.cpu.set_registers(eip=CODE + 0x1000)
    box.run()
    assert not box.cpu.registers().edx & 1 << 9
    box.cpu.halted = False
    box.code("mov $0x1b, %ecx\nmov $0xfee00901, %eax\nxor %edx, %edx\nwrmsr", CODE + 0x2000)  # a reserved bit
    box.cpu.set_registers(eip=CODE + 0x2000)
    box.run()
    assert (box.cpu.registers().eip, box.bus.apic) == (handler + 1, False)


READ = "mov ${:#x}, %ecx\nrdmsr\nhlt"


def read_msr(box: Box, number: int) -> int:
    box.cpu.halted = False
    box.code(READ.format(number), CODE + 0x3000)
    box.cpu.set_registers(eip=CODE + 0x3000)
    box.run()
    return read_counter(box)


def test_an_uncorrected_error_is_in_the_bank_until_software_clears_it(box: Box) -> None:
    """SDM vol. 3A, 15.3: VAL, UC, EN and PCC; a second error while MCIP is set shuts the processor down."""
    handler = box.vector(18)
    box.load_tr()
    assert read_msr(box, 0x179) & 0xFF == 1
    box.cpu.set_registers(cr4=1 << 6, esp=0x8000)
    box.cpu.machine_check()
    assert (box.cpu.registers().eip, box.cpu.shutdown) == (handler, False)
    assert (read_msr(box, 0x17A), read_msr(box, 0x401)) == (0b110, 0xB200_0000_0000_0136)
    box.cpu.machine_check()
    assert box.cpu.shutdown
    box.cpu.reset()
    assert dict(box.cpu.state()["machine_check"])[0x401] >> 63, "kept, for whoever looks after the reset"


@pytest.mark.parametrize(("number", "value", "allowed"), [
    (0x401, 0, True), (0x401, 1, False), (0x17A, 0, True), (0x17A, 8, False), (0x179, 0, False),
    (0x400, 0xFFFFFFFF, True),
])  # fmt: skip
def test_what_may_be_written_to_the_bank(box: Box, number: int, value: int, allowed: bool) -> None:
    handler = box.vector(13)
    box.load_tr()
    box.run(f"mov ${number:#x}, %ecx\nmov ${value:#x}, %eax\nxor %edx, %edx\nwrmsr\nhlt")
    assert (box.cpu.registers().eip != handler + 1) is allowed


@pytest.mark.parametrize("instruction", ["rdmsr", "wrmsr", "rdpmc"])
def test_ring_3_gets_gp(box: Box, instruction: str) -> None:
    handler = box.vector(13)
    box.load_tr()
    box.code(f"nop\nmov $0xc1, %ecx\n{instruction}", CODE + 0x1000)
    box.run(f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\niret")
    assert box.cpu.registers().eip == handler + 1
    assert box.words(0x8000 - 24, 3) == [0, CODE + 0x1006, UCODE]


def test_rdpmc_in_ring_3_if_cr4_allows_it_and_never_of_a_third_counter(box: Box) -> None:
    handler = box.vector(13)
    box.load_tr()
    box.cpu.set_registers(cr4=0x100)
    box.code("xor %ecx, %ecx\nmov $7, %eax\nrdpmc\nmov $2, %ecx\nrdpmc", CODE + 0x1000)
    box.run(f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\niret")
    registers = box.cpu.registers()
    assert (registers.eip, registers.eax) == (handler + 1, 0)
    assert box.words(0x8000 - 24, 2) == [0, CODE + 0x100E]


def test_code_that_writes_the_instruction_first(box: Box) -> None:
    """A block that has run is overwritten with RDMSR, runs, and is overwritten with something else."""
    box.run(
        f"""
        {load(5)}
        call 2f
        movw $0x320f, 2f            # rdmsr
        xor %eax, %eax
        call 2f
        mov %eax, %ebx
        movw $0xc031, 2f            # xor %eax, %eax
        call 2f
        hlt
    2:  nop
        nop
        ret
        """
    )
    registers = box.cpu.registers()
    assert (registers.ebx, registers.eax) == (0xFFFFFFFB, 0)
    assert box.cpu.halted


def test_one_instruction_at_two_linear_addresses_and_across_two_pages(box: Box) -> None:
    entries = [number << 12 | 7 for number in range(1024)]
    entries[0x80], entries[0x81] = 0x50000 | 7, 0x51000 | 7
    entries[0x90], entries[0x91] = 0x50000 | 7, 0x52000 | 7
    box.put(PT, struct.pack("<1024I", *entries))
    box.put(PD, struct.pack("<I", PT | 7))
    box.put(0x50FF0, b"\x90" * 15 + b"\x0f")
    box.put(0x51000, b"\x32\xc3")  # rdmsr; ret
    box.put(0x52000, b"\xa2\xc3")  # cpuid; ret: the same first page, another second one
    box.cpu.set_registers(cr3=PD, cr0=0x80010011)
    box.run(
        f"""
        {load(5)}
        mov $0x80ff0, %esi
        call *%esi
        mov %eax, %edi
        xor %eax, %eax
        mov $0x90ff0, %esi
        call *%esi
        mov %eax, %ebp
        hlt
        """
    )
    registers = box.cpu.registers()
    assert (registers.edi, registers.ebp) == (0xFFFFFFFB, 1)


def test_prefixes_and_look_alikes(box: Box) -> None:
    box.run(
        f"{load(5)}xor %eax, %eax\n.byte 0x66, 0x3e\nrdmsr\nmov %eax, %ebx\n"
        "mov $0x0f320f32, %esi\nmov $0x320f, %ax\nhlt"
    )
    registers = box.cpu.registers()
    assert (registers.ebx, registers.esi, registers.eax) == (0xFFFFFFFB, 0x0F320F32, 0xFFFF320F)


def test_in_real_mode(box: Box) -> None:
    box.put(0x30000, bytes.fromhex("66b9c1000000 66b8fbffffff 0f30 6631c0 0f32 f4"))  # the same, 16 bits wide
    box.cpu.reset()
    box.cpu.set_registers(cs=0x3000, eip=0)
    assert box.cpu.run(100) is Exit.HALT
    assert box.cpu.registers().eax == 0xFFFFFFFB


def test_a_single_step_traps_behind_it(box: Box) -> None:
    handler = box.vector(1)
    box.code(f"{COUNTER}rdmsr\nnop")
    box.cpu.set_registers(eflags=0x102)
    box.run(limit=1)
    assert box.words(0x8000 - 12, 1) == [CODE + 5]
    box.put(handler, b"\xcf")  # iret
    box.cpu.invalidate(handler, handler + 1)
    box.cpu.halted = False
    box.cpu.set_registers(eip=handler)
    box.cpu.run(11)
    assert box.words(0x8000 - 12, 1) == [CODE + 7]


def test_a_watch_stops_in_front_of_it(box: Box) -> None:
    seen: list[int] = []
    box.code(f"{load(5)}xor %eax, %eax\nrdmsr\nhlt")
    box.run(limit=1)  # the block is known
    box.cpu.set_registers(eip=CODE)

    def stop(cpu: object) -> None:
        seen.append(box.cpu.registers().eax)
        box.cpu.stop()

    box.cpu.watch(CODE + 14, stop)
    assert box.run() is Exit.STOPPED
    assert (seen, box.cpu.registers().eip) == ([0], CODE + 14)
    assert box.run() is Exit.HALT
    assert box.cpu.registers().eax == 0xFFFFFFFB
    assert len(seen) == 1


def test_state_goes_to_another_processor(box: Box) -> None:
    box.run(f"{SELECT}{load(200 * NS)}1: nop\njmp 1b", limit=100)
    other = Box()
    other.memory[:] = box.memory[:]
    other.cpu.restore(box.cpu.state())
    for one in (box, other):
        assert one.cpu.run(10_000) is Exit.LIMIT
        assert one.cpu.take_perf_overflow()
    assert (other.cpu.retired, other.cpu.state()) == (box.cpu.retired, box.cpu.state())
    box.cpu.init()
    assert box.cpu.state()["counters"] == other.cpu.state()["counters"]  # table 9-1: INIT leaves them alone
    box.cpu.reset()
    assert box.cpu.state()["counters"]["select"] == [0, 0]


def test_without_machine_code_hooks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(box: Box) -> tuple[object, ...]:
        box.run(f"{SELECT}{load(500 * NS)}1: rdmsr\nmov %eax, %ebx\ncmp $-320, %eax\njb 1b\nhlt")
        return box.cpu.registers(), box.cpu.retired, box.cpu.take_perf_overflow()

    fast = run(Box())
    slow_hooks = native.portable_hooks()
    monkeypatch.setattr(native, "hooks", lambda: slow_hooks)
    assert run(Box()) == fast
