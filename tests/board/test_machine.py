# SPDX-License-Identifier: GPL-2.0-or-later
"""The Machine with small assembled kernels: start-up of a second CPU, IPIs, timers, resets, snapshots."""

from __future__ import annotations

import ctypes
import os
import pickle
import struct

import pytest
from unicorn.unicorn_const import UC_HOOK_EDGE_GENERATED

from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.compiler.assembler import assemble
from kdumpsim.cpu import native

BASE = 0x100000

# A flat kernel image: Multiboot header with address fields, code behind it, results in low memory.
PROLOGUE = """
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long 0x100000, 0x100000, 0, 0, entry
entry:
    mov $0x80000, %esp
    lgdt gdt_pointer
    lidt idt_pointer
    ljmp $8, $1f
1:  mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    jmp main
.align 8
gdt: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdt_pointer: .word 23
    .long gdt
idt_pointer: .word 0x7FF
    .long idt
# Turn the i8259s off: everything masked.
mask_pic:
    mov $0xFF, %al
    out %al, $0x21
    out %al, $0xA1
    ret
# A gate: vector in %ecx, handler in %edx.
set_gate:
    mov %edx, %eax
    and $0xFFFF, %eax
    or $0x80000, %eax
    mov %eax, idt(,%ecx,8)
    and $0xFFFF0000, %edx
    or $0x8E00, %edx
    mov %edx, idt+4(,%ecx,8)
    ret
"""
EPILOGUE = "\n.align 16\nidt: .space 2048\n"


def machine(text: str, **config: object) -> Machine:
    computer = Machine(MachineConfig(memory=4 << 20, **config))  # type: ignore[arg-type]
    computer.load_multiboot(assemble(PROLOGUE + text + EPILOGUE, BASE), "")
    return computer


def word(computer: Machine, address: int) -> int:
    return struct.unpack_from("<I", computer.memory.view, address)[0]


SMP = """
main:
    call mask_pic
    mov $0x40, %ecx
    mov $on_ipi, %edx
    call set_gate
    # The trampoline goes to 0x8000: real mode, vector 8.
    mov $trampoline, %esi
    mov $0x8000, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
    movl $0x1FF, 0xFEE000F0
    movl $0xC4500, 0xFEE00300        # INIT to all others
    movl $0xC4608, 0xFEE00300        # SIPI, vector 8
1:  pause
    cmpl $1, 0x70000                 # the AP is up
    jne 1b
    movl $0x1000000, 0xFEE00310
    movl $0x4040, 0xFEE00300         # vector 0x40 to APIC 1
    sti
2:  hlt
    cmpl $1, 0x70008                 # it has answered
    jne 2b
    cli
    movl $1, 0x7000C
3:  hlt
    jmp 3b
on_ipi:
    mov 0xFEE00020, %eax
    shr $24, %eax
    incl 0x70004(,%eax,4)            # 0x70004: CPU 0's count, 0x70008: CPU 1's
    movl $0, 0xFEE000B0
    cmp $0, %eax
    je 1f
    movl $0, 0xFEE00310
    movl $0x4040, 0xFEE00300         # answer CPU 0
1:  iret
trampoline:
    .code16
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + tramp_gdt - trampoline
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $8, $ap_main
tramp_gdt: .word 23
    .long gdt
trampoline_end:
    .code32
ap_main:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x90000, %esp
    lidt idt_pointer
    movl $0x1FF, 0xFEE000F0
    movl $1, 0x70000
    sti
1:  hlt
    jmp 1b
"""


def test_second_cpu_starts_and_exchanges_ipis() -> None:
    computer = machine(SMP, cpus=2)
    computer.pit.reset()
    computer.rtc.reset()
    sent: list[tuple[str, int | None]] = []
    computer.on_message = lambda message: sent.append((message.mode.name, message.source))
    assert computer.run(until=50_000_000) in (StopReason.IDLE_FOREVER, StopReason.UNTIL)
    assert word(computer, 0x7000C) == 1
    assert sent[:2] == [("INIT", 0), ("STARTUP", 0)]
    assert sent[-2:] == [("FIXED", 0), ("FIXED", 1)], "whoever watches hears of what passes between local APICs"
    assert (word(computer, 0x70004), word(computer, 0x70008)) == (1, 1)
    assert all(cpu.halted for cpu in computer.cpus)


TIMER = """
main:
    call mask_pic
    mov $0x50, %ecx
    mov $on_tick, %edx
    call set_gate
    movl $0x1FF, 0xFEE000F0
    movl $0xB, 0xFEE003E0            # divide by 1: 10 ns a tick
    movl $0x20050, 0xFEE00320        # periodic
    movl $100000, 0xFEE00380         # 1 ms
    sti
1:  hlt
    jmp 1b
on_tick:
    incl 0x70000
    rdtsc
    mov %eax, 0x70004
    movl $0, 0xFEE000B0
    iret
"""


def quiet(computer: Machine) -> Machine:
    """Without the timers the firmware has left running."""
    computer.pit.reset()
    computer.rtc.reset()
    return computer


def test_lapic_timer_ticks_in_virtual_time_while_the_cpu_sleeps() -> None:
    computer = quiet(machine(TIMER, cpus=1))
    assert computer.run(until=100_500_000) is StopReason.UNTIL
    assert word(computer, 0x70000) == 100
    assert computer.clock.now == 100_500_000
    assert word(computer, 0x70004) == pytest.approx(100_000_000, abs=100_000)


SPIN = """
main:
    call mask_pic
    mov $0x50, %ecx
    mov $on_tick, %edx
    call set_gate
    movl $0x1FF, 0xFEE000F0
    movl $0xB, 0xFEE003E0
    movl $0x20050, 0xFEE00320
    movl $100000, 0xFEE00380
    sti
1:  incl %ebx
    jmp 1b
on_tick:
    incl 0x70000
    movl $0, 0xFEE000B0
    iret
"""


def test_timer_interrupts_a_running_cpu() -> None:
    computer = quiet(machine(SPIN, cpus=1))
    computer.run(until=50_500_000)
    assert word(computer, 0x70000) == 50


MASKED = """
main:
    call mask_pic
    mov $0x50, %ecx
    mov $on_tick, %edx
    call set_gate
    movl $0x1FF, 0xFEE000F0
    movl $0x44050, 0xFEE00300        # shorthand self, vector 0x50
    mov $20000, %ecx
1:  loop 1b
    mov %ecx, 0x70004
    sti
    nop
    nop
    cli
    hlt
on_tick:
    movl $1, 0x70000
    iret
"""


def test_a_masked_interrupt_waits_for_sti() -> None:
    computer = quiet(machine(MASKED, cpus=1))
    computer.run(until=100_000_000)
    assert word(computer, 0x70000) == 1


PIC = """
main:
    mov $0x20, %ecx
    mov $on_tick, %edx
    call set_gate
    mov $0x11, %al
    out %al, $0x20
    mov $0x20, %al
    out %al, $0x21
    mov $4, %al
    out %al, $0x21
    mov $1, %al
    out %al, $0x21
    mov $0xFE, %al
    out %al, $0x21
    mov $0x34, %al                   # PIT channel 0, mode 2
    out %al, $0x43
    mov $0xA9, %al                   # 1193: 1 kHz
    out %al, $0x40
    mov $4, %al
    out %al, $0x40
    sti
1:  hlt
    jmp 1b
on_tick:
    incl 0x70000
    mov $0x20, %al
    out %al, $0x20
    iret
"""


def test_pit_through_the_i8259_and_virtual_wire() -> None:
    computer = machine(PIC, cpus=1)
    computer.run(until=1_000_000_000)
    assert word(computer, 0x70000) in (999, 1000, 1001)


NMI = """
main:
    call mask_pic
    mov $2, %ecx
    mov $on_nmi, %edx
    call set_gate
1:  hlt
    jmp 1b
on_nmi:
    incl 0x70000
    iret
"""


def test_nmi_button() -> None:
    computer = quiet(machine(NMI, cpus=1))
    assert computer.run() is StopReason.IDLE_FOREVER
    computer.nmi_button()
    assert computer.run() is StopReason.IDLE_FOREVER
    assert word(computer, 0x70000) == 1


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("mov $6, %al\nmov $0xCF9, %dx\nout %al, %dx\n1: jmp 1b", "0xCF9"),
        ("mov $0xFE, %al\nout %al, $0x64\n1: jmp 1b", "i8042"),
        ("mov $1, %al\nout %al, $0x92\n1: jmp 1b", "port 0x92"),
        ("movl $0, idt_pointer\nlidt idt_pointer\nint $3\n1: jmp 1b", "triple fault on CPU 0"),
    ],
)
def test_ways_to_reset(text: str, cause: str) -> None:
    computer = machine("main:\n" + text, cpus=2)
    assert computer.run(until=10**9) is StopReason.RESET
    assert computer.reset_cause is not None
    assert cause in computer.reset_cause
    computer.reset()
    assert computer.reset_cause is None
    assert computer.cpus[0].registers().eip == 0xFFF0
    assert computer.cpus[1].waiting_for_sipi
    assert computer.run(until=computer.clock.now + 1000) is StopReason.UNTIL  # the firmware's reset vector sleeps


SCREEN = """
main:
    movw $0x0748, 0xB8000
    movw $0x0769, 0xB8002
    movl 0xB8000, %eax
    movl %eax, 0x70000
    mov $0x3D4, %dx                   # the cursor behind it, as 16-bit writes
    mov $0x020F, %ax
    out %ax, %dx
    hlt
"""


def test_text_on_the_screen_is_no_ram() -> None:
    computer = quiet(machine(SCREEN, cpus=1))
    assert computer.run() is StopReason.IDLE_FOREVER
    screen = computer.vga.screen(computer.memory.view)
    assert (screen.lines[0].rstrip(), screen.cursor) == ("Hi", (2, 0))
    assert word(computer, 0x70000) == 0x07690748
    assert not any(begin <= 0xB8000 < begin + size for begin, size, _ in computer.memory.e820)
    other = Machine(MachineConfig(memory=4 << 20, cpus=1))
    other.restore(computer.snapshot())
    assert other.vga.screen(other.memory.view) == screen


def test_a_kernel_may_lie_where_firmware_keeps_its_data() -> None:
    computer = Machine(MachineConfig(memory=4 << 20, cpus=1))
    header = ".long 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000)\n.long 0x400, 0x400, 0, 0, 0x420\n"
    computer.load_multiboot(assemble(header + "movl $0x1234, 0x70000\nhlt", 0x400), "")
    quiet(computer)
    assert computer.run() is StopReason.IDLE_FOREVER
    assert word(computer, 0x70000) == 0x1234


def test_shutdown_without_a_chipset_that_resets() -> None:
    computer = machine("main:\nmovl $0, idt_pointer\nlidt idt_pointer\nint $3", cpus=1, shutdown_resets=False)
    assert computer.run(until=10**9) is StopReason.ALL_SHUTDOWN


def test_stop_condition_and_request() -> None:
    computer = quiet(machine(SPIN, cpus=1))
    assert computer.run(stop=lambda: word(computer, 0x70000) >= 3) is StopReason.STOPPED
    assert word(computer, 0x70000) == 3


def symbol_of(computer: Machine, pattern: bytes) -> int:
    return bytes(computer.memory.view[BASE : BASE + 0x2000]).index(pattern) + BASE


def test_watch_stops_before_the_instruction_and_changes_nothing() -> None:
    plain = quiet(machine(SPIN, cpus=1))
    plain.run(until=20_000_000)
    watched = quiet(machine(SPIN, cpus=1))
    handler = symbol_of(watched, bytes.fromhex("ff0500000700"))  # incl 0x70000
    seen: list[tuple[int, int]] = []

    def on_handler(cpu: object) -> None:
        seen.append((watched.clock.now, word(watched, 0x70000)))
        watched.request_stop()

    watched.watch(handler, on_handler)
    while watched.run(until=20_000_000) is StopReason.STOPPED:
        assert watched.cpus[0].registers().eip == handler
    assert [count for _, count in seen] == list(range(len(seen)))
    assert len(seen) == word(plain, 0x70000)
    assert watched.cpus[0].registers() == plain.cpus[0].registers()
    assert watched.cpus[0].retired == plain.cpus[0].retired


# Two CPUs race on one counter without a lock: the outcome depends on every preemption.
RACE = (
    SMP.replace("movl $1, 0x7000C", "jmp race").replace("    sti\n1:  hlt\n    jmp 1b\n", "    jmp race\n")
    + """
race:
    mov $30000, %ecx
1:  mov 0x70010, %eax
    nop
    jmp 2f
2:  inc %eax
    mov %eax, 0x70010
    mov $7, %edx
3:  dec %edx
    jnz 3b
    loop 1b
4:  cli
    hlt
    jmp 4b
"""
)
RACE = RACE.replace(
    "    sti\n2:  hlt\n    cmpl $1, 0x70008                 # it has answered\n    jne 2b\n    cli\n", ""
)


def race(seed: int) -> Machine:
    return quiet(machine(RACE, cpus=2, seed=seed))


def test_same_seed_same_run_other_seed_other_run() -> None:
    results = {}
    for seed in (1, 1, 2, 3, 4):
        computer = race(seed)
        computer.run(until=300_000_000)
        result = (
            word(computer, 0x70010),
            [cpu.retired for cpu in computer.cpus],
            [cpu.registers() for cpu in computer.cpus],
        )
        assert results.setdefault(seed, result) == result
    assert all(30_000 <= result[0] < 60_000 for result in results.values())
    assert len({result[0] for result in results.values()}) > 1


def test_slicing_the_hosts_calls_does_not_change_the_run() -> None:
    whole, pieces = race(5), race(5)
    whole.run(until=40_000_000)
    for until in range(1_000_000, 41_000_000, 1_000_000):
        pieces.run(until=until)
    assert [cpu.registers() for cpu in pieces.cpus] == [cpu.registers() for cpu in whole.cpus]
    assert word(pieces, 0x70010) == word(whole, 0x70010)


def test_snapshot_continues_the_same_way_elsewhere() -> None:
    computer = race(6)
    computer.run(until=20_000_000)
    frozen = pickle.dumps(computer.snapshot())
    computer.run(until=200_000_000)
    other = quiet(machine(SPIN, cpus=2, seed=99))
    other.run(until=3_000_000)
    other.restore(pickle.loads(frozen))
    other.run(until=200_000_000)
    assert word(other, 0x70010) == word(computer, 0x70010)
    assert other.memory.pages() == computer.memory.pages()
    assert [cpu.state() for cpu in other.cpus] == [cpu.state() for cpu in computer.cpus]


def test_fork_in_mid_run() -> None:
    computer = race(7)
    computer.run(until=20_000_000)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        computer.run(until=200_000_000)
        os.write(writer, struct.pack("<2Q", word(computer, 0x70010), computer.cpus[0].retired))
        os._exit(0)
    os.waitpid(child, 0)
    computer.run(until=200_000_000)
    assert struct.unpack("<2Q", os.read(reader, 16)) == (word(computer, 0x70010), computer.cpus[0].retired)


def test_cpus_stay_together_in_time() -> None:
    computer = race(8)
    computer.run(until=20_000_000)
    before = [cpu.retired for cpu in computer.cpus]
    computer.run(until=40_000_000)
    first, second = (cpu.retired - earlier for cpu, earlier in zip(computer.cpus, before, strict=True))
    assert abs(first - second) < 10_000  # of 625,000
    assert first == pytest.approx(20_000_000 / 32, rel=0.02)


def test_a_cpu_gains_no_time_by_long_blocks() -> None:
    """What it runs past a round's end is taken off its next share."""
    start = RACE.index("race:\n")
    code = RACE[:start] + (
        "race:\n    mov 0xFEE00020, %eax\n    shr $24, %eax\n    jnz 2f\n"
        "1:  .rept 300\n    addl $1, 0x70020\n    .endr\n    jmp 1b\n"  # two blocks of 1,000 bytes, a round being 3,125
        "2:  incl 0x70024\n    jmp 2b\n"
    )
    computer = quiet(machine(code, cpus=2))
    computer.run(until=10_000_000)
    before = [cpu.retired for cpu in computer.cpus]
    computer.run(until=50_000_000)
    first, second = (cpu.retired - earlier for cpu, earlier in zip(computer.cpus, before, strict=True))
    assert abs(first - second) < 6_000  # of 1,250,000: a block and what is left of a round
    assert first == pytest.approx(40_000_000 / 32, rel=0.01)


def test_serial_output_reaches_the_host() -> None:
    computer = machine("main:\nmov $0x3F8, %dx\nmov $0x41, %al\nout %al, %dx\ncli\nhlt", cpus=1)
    received = bytearray()
    computer.uarts[0].on_output = received.extend
    computer.run(until=10_000_000)
    assert received == b"A"


def test_bad_configurations() -> None:
    with pytest.raises(ValueError, match="0 CPUs"):
        Machine(MachineConfig(cpus=0))
    with pytest.raises(ValueError, match="16 CPUs"):
        Machine(MachineConfig(cpus=16))


def test_with_its_local_apic_off_a_cpu_takes_the_i8259s_interrupt() -> None:
    """LINT0 is masked, so nothing comes through; then IA32_APIC_BASE switches the local APIC off."""
    computer = machine(
        """
        main:
            movl $0x10000, 0xFEE00350
            mov $8, %ecx
            mov $tick, %edx
            call set_gate
            sti
            mov $2000000, %ecx
        1:  loop 1b
            mov ticks, %ebx
            mov $0x1B, %ecx
            rdmsr
            and $~0x800, %eax
            wrmsr
        2:  hlt
            cmpl $3, ticks
            jb 2b
            mov 0xFEE00020, %edx
            cli
            hlt
        tick:
            push %eax
            incl ticks
            mov $0x20, %al
            out %al, $0x20
            pop %eax
            iret
        .align 4
        ticks: .long 0
        """,
        cpus=1,
    )
    computer.run(until=1_000_000_000)
    registers = computer.cpus[0].registers()
    assert (registers.ebx, registers.edx) == (0, 0xFFFFFFFF)
    assert computer.cpus[0].halted


NMI_COMMAND = "movl $0, 0xFEE00310\nmovl $0x4400, 0xFEE00300\n"  # an NMI to the CPU itself
NMI_GATE = "movl $0x1FF, 0xFEE000F0\nmov $2, %ecx\nmov $on_nmi, %edx\ncall set_gate\n"
RECORD = """
on_nmi:                                  # where each of them came, from 0x70010 on
    incl 0x70000
    mov 0x70000, %ebx
    mov (%esp), %edx
    mov %edx, 0x7000C(,%ebx,4)
    cmpl $1, %ebx
    jne 9f
"""


@pytest.mark.parametrize("count", [1, 100, 681, 1400, 5000, 30_000])
@pytest.mark.parametrize(
    ("way", "where"),
    [
        ("1: dec %ecx\njnz 1b\n", 0x70010),
        ("1: dec %ecx\njnz 1b\njmp 2f\n2: jmp 3f\n3:\n", 0x70010),
        ("1: call 2f\ndec %ecx\njnz 1b\njmp 3f\n2: pushf\npopf\nret\n3:\n", 0x70010),
        ("1: dec %ecx\njnz 1b\npushf\npush %cs\npush $5f\niret\n5: inc %ebp\n", 0x70004),
    ],
    ids=["a loop", "a loop and jumps", "calls", "another IRET first"],
)
def test_6_7_1_a_pending_nmi_comes_at_the_instruction_iret_goes_to(count: int, way: str, where: int) -> None:
    """However long the handler has been at it, and whichever IRET it is that unblocks."""
    text = f"main:\ncall mask_pic\n{NMI_GATE}{NMI_COMMAND}jmp 1f\n1: mov $9999, %edi\n2: dec %edi\njnz 2b\ncli\nhlt\n"
    text += f"{RECORD}{NMI_COMMAND}movl $5f, 0x70004\nmov ${count}, %ecx\n{way}9: iret\n"
    computer = quiet(machine(text if "5:" in way else text + "5:\n"))
    computer.run(until=100_000_000)
    assert word(computer, 0x70000) == 2
    assert word(computer, 0x70014) == word(computer, where)


def test_6_7_1_an_nmi_of_another_cpu_comes_at_the_instruction_iret_goes_to() -> None:
    """It is sent while the handler runs; CPU 0 spins in it until CPU 1 has said so."""
    send = "movl $0, 0xFEE00310\nmovl $0x400, 0xFEE00300\nmovl $1, 0x70008\n"
    ap = f"1: cmpl $1, 0x70000\njne 1b\n{send}cli\n2: hlt\njmp 2b\n"
    text = SMP[: SMP.index("    movl $0x1000000")].replace("cmpl $1, 0x70000 ", "cmpl $1, 0x70020 ")
    text += f"{NMI_GATE}{NMI_COMMAND}jmp 1f\n1: mov $9999, %edi\n2: dec %edi\njnz 2b\ncli\n3: hlt\njmp 3b\non_ipi:\n"
    text += f"{RECORD}1: cmpl $1, 0x70008\njne 1b\nmov $3333, %ecx\n2: dec %ecx\njnz 2b\n9: iret\n"
    text += SMP[SMP.index("trampoline:") :].replace("movl $1, 0x70000\n    sti\n", f"movl $1, 0x70020\n{ap}")
    computer = quiet(machine(text, cpus=2))
    computer.run(until=100_000_000)
    assert word(computer, 0x70000) == 2
    assert word(computer, 0x70014) == word(computer, 0x70010)


def test_6_8_3_an_nmi_comes_after_the_shadow_of_mov_ss() -> None:
    computer = quiet(
        machine(f"main:\ncall mask_pic\n{NMI_GATE}mov %ss, %eax\n{NMI_COMMAND}mov %eax, %ss\nshadow: nop\nafter: nop\n"
                f"mov $200, %ecx\n1: dec %ecx\njnz 1b\ncli\n1: hlt\n{RECORD}9: iret\n")
    )  # fmt: skip
    where: list[int] = []
    computer.watch(symbol_of(computer, b"\x90\x90\xb9\xc8"), lambda cpu: where.append(cpu.registers().eip))
    computer.run(until=100_000_000)
    assert word(computer, 0x70000) == 1
    assert where[0] - 2 <= word(computer, 0x70010) <= where[0] + 1


EVENTS = {
    "a software interrupt": "int $0x40",
    "an exception": "ud2",
    "an interrupt of the i8259, spinning": "sti\n1: jmp 1b",
    "an interrupt of the i8259, halted": "sti\n1: hlt\njmp 1b",
    "a fixed interrupt": "movl $0x1FF, 0xFEE000F0\nmovl $0, 0xFEE00310\nsti\nmovl $0x4040, 0xFEE00300\n1: jmp 1b",
    "an NMI, spinning": f"movl $0x1FF, 0xFEE000F0\n{NMI_COMMAND}1: jmp 1b",
    "an NMI, at once halted": f"movl $0x1FF, 0xFEE000F0\n{NMI_COMMAND}hlt",
}


@pytest.mark.parametrize("event", EVENTS)
def test_6_15_a_triple_fault_resets_whatever_was_delivered(event: str) -> None:
    computer = machine(f"main:\nlidt nothing\n{EVENTS[event]}\n1: cli\nhlt\nnothing: .word 0\n.long 0\n")
    assert computer.run(until=2_000_000_000) is StopReason.RESET
    assert computer.reset_cause == "triple fault on CPU 0"


def test_6_15_without_that_chipset_a_triple_fault_is_the_end() -> None:
    text = "main:\nlidt nothing\nsti\n1: hlt\njmp 1b\nnothing: .word 0\n.long 0\n"
    computer = machine(text, cpus=1, shutdown_resets=False)
    assert computer.run(until=2_000_000_000) is StopReason.ALL_SHUTDOWN


@pytest.mark.parametrize("wait", ["hlt", "nop"])
@pytest.mark.parametrize("message", [0x4040, 0x4400])
def test_6_15_a_triple_fault_of_another_cpu_resets(wait: str, message: int) -> None:
    """An IPI, fixed or NMI, to a CPU without an IDT, which sleeps or spins."""
    text = SMP.replace("movl $0x4040, 0xFEE00300         # vector 0x40 to APIC 1", f"movl ${message:#x}, 0xFEE00300")
    text = text.replace("lidt idt_pointer\n    movl $0x1FF", "lidt nothing\n    movl $0x1FF")
    text = text.replace(
        "    sti\n1:  hlt\n    jmp 1b\n", f"    sti\n1:  {wait}\n    jmp 1b\nnothing: .word 0\n.long 0\n"
    )
    computer = quiet(machine(text, cpus=2))
    assert computer.run(until=2_000_000_000) is StopReason.RESET
    assert computer.reset_cause == "triple fault on CPU 1"


def test_a_machine_put_back_runs_what_it_has_translated_and_what_has_changed_anew() -> None:
    counting = """
    main:
        movl $0, 0x9000
        movl $1, %ecx
    1:  addl $1, 0x9000
        loop 1b
        cli
        hlt
    """
    computer = machine(counting, cpus=1)
    before = computer.snapshot()
    translated: list[int] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_void_p, ctypes.c_void_p)
    keep, function = native.callback(kind, lambda _uc, block, _previous, _data: translated.append(block[0]))
    native.hook_add(computer.cpus[0]._engine.uc, UC_HOOK_EDGE_GENERATED, function, 0)

    def run() -> tuple[bytes, int]:
        translated.clear()
        assert computer.run(stop=lambda: computer.cpus[0].halted) is StopReason.STOPPED
        return bytes(computer.memory.view[0x9000:0x9004]), len(translated)

    value, first = run()
    assert (value, first > 2) == (b"\1\0\0\0", True)
    computer.restore(before)
    assert run() == (b"\1\0\0\0", 0)
    at = bytes(computer.memory.view[:]).index(b"\xb9\1\0\0\0")
    other = before | {"memory": {"pages": dict(before["memory"]["pages"])}}
    page = bytearray(other["memory"]["pages"][at & -4096])
    page[at % 4096 + 1] = 3
    other["memory"]["pages"][at & -4096] = bytes(page)
    computer.restore(other)
    assert run()[0] == b"\3\0\0\0"
    del keep


def test_observers_that_were_forgotten_are_not_called_and_new_ones_are() -> None:
    computer = machine("main: nop\n nop\n cli\n hlt", cpus=1)
    at = bytes(computer.memory.view[:]).index(b"\x90\x90\xfa\xf4")
    before = computer.snapshot()
    seen: list[str] = []
    for name in ("first", "second"):
        computer.watch(at, lambda cpu, name=name: seen.append(f"{name} at {cpu.registers().eip - at}"))
        computer.run(stop=lambda: computer.cpus[0].halted)
        computer.forget_observers()
        computer.restore(before)
    computer.run(stop=lambda: computer.cpus[0].halted)
    assert seen == ["first at 0", "second at 0"]
