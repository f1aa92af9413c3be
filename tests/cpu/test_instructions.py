# SPDX-License-Identifier: GPL-2.0-or-later
"""SYSENTER and SYSEXIT, SMSW, and the resume flag, from SDM vol. 2 and vol. 3 (5.8.7, 17.3.1.1)."""

from __future__ import annotations

import struct

import pytest
from cpu_box import CODE, GDT, KCODE, KDATA, STACK, STACK3, UCODE, UDATA, Box

from kdumpsim.cpu import Exit, native

TF, IF, IOPL3, NT, RF, VM = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 17
ENTRY = 0x30000
KERNEL_STACK = 0xB000
USER = CODE + 0x1000
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176


def wrmsr(number: int, value: int) -> str:
    return f"mov ${number:#x}, %ecx\nmov ${value:#x}, %eax\nxor %edx, %edx\nwrmsr\n"


def registers_set(cs: int = KCODE) -> str:
    return wrmsr(SYSENTER_CS, cs) + wrmsr(SYSENTER_ESP, KERNEL_STACK) + wrmsr(SYSENTER_EIP, ENTRY)


def enter_user(flags: int = 2) -> str:
    return f"pushl ${UDATA}\npushl ${STACK3}\npushl ${flags:#x}\npushl ${UCODE}\npushl ${USER:#x}\niret"


def run_user(box: Box, text: str, kernel: str, *, cs: int = KCODE, flags: int = 2) -> Exit:
    box.load_tr()
    box.code(text, USER)
    box.code(kernel, ENTRY)
    return box.run(registers_set(cs) + enter_user(flags))


def test_sysenter_goes_to_where_its_registers_say(box: Box) -> None:
    assert run_user(box, "mov $7, %ebx\nsysenter", "hlt", flags=0x3202 | 1) is Exit.HALT
    registers = box.cpu.registers()
    assert (registers.eip, registers.cs, registers.esp, registers.ss) == (ENTRY + 1, KCODE, KERNEL_STACK, KCODE + 8)
    assert registers.eflags == 0x3202 & ~IF | 1
    assert (registers.ebx, box.cpu.cpl()) == (7, 0)


def test_sysenter_reads_no_descriptor(box: Box) -> None:
    """4 GiB from 0, whatever stands in the GDT (5.8.7.1: "fixed")."""
    box.load_tr()
    box.code("sysenter", USER)
    box.code("push $5\nmov 0x200000, %ebx\nmov %cs:0x200000, %ecx\nhlt", ENTRY)
    box.put(0x200000, struct.pack("<I", 0x77))
    box.code(f"movl $0x2345000f, {GDT + 8:#x}\nmovl $0x0040931f, {GDT + 12:#x}\nmovl $0, {GDT + 16:#x}\n"
             + registers_set() + enter_user())  # fmt: skip
    assert box.cpu.run(10_000) is Exit.HALT
    assert box.words(KERNEL_STACK - 4, 1) == [5]
    assert box.cpu.registers().ecx == 0x77


@pytest.mark.parametrize("cs", [0, 1, 3])
def test_sysenter_without_a_code_segment_is_gp(box: Box, cs: int) -> None:
    handler = box.vector(13)
    assert run_user(box, "nop\nsysenter", "hlt", cs=cs) is Exit.HALT
    assert box.cpu.registers().eip == handler + 1
    assert box.words(STACK - 24, 3) == [0, USER + 1, UCODE]


def test_sysenter_in_real_mode_is_gp(box: Box) -> None:
    box.run(registers_set() + "hlt")
    box.cpu.init()
    box.put(13 * 4, struct.pack("<HH", 0x100, 0x2000))
    box.put(0x20100, b"\xf4")
    box.put(0x30000, b"\x0f\x34")
    box.cpu.set_registers(cs=0x3000, eip=0)
    assert box.cpu.run(100) is Exit.HALT
    assert (box.cpu.registers().cs, box.cpu.registers().eip) == (0x2000, 0x101)


def test_sysenter_leaves_virtual_8086_mode(box: Box) -> None:
    box.load_tr()
    box.put(0x20000, b"\x0f\x34")
    box.code("mov %cs, %ebx\nhlt", ENTRY)
    box.run(
        registers_set()
        + "pushl $0\npushl $0\npushl $0\npushl $0\npushl $0x1000\npushl $0x1000\n"
        + f"pushl ${VM | IF | 2:#x}\npushl $0x2000\npushl $0\niret"
    )
    registers = box.cpu.registers()
    assert (registers.eip, registers.ebx, box.cpu.cpl(), registers.eflags & (VM | IF)) == (ENTRY + 3, KCODE, 0, 0)


def test_sysenter_from_ring_0(box: Box) -> None:
    box.code("hlt", ENTRY)
    assert box.run(registers_set() + "sti\nsysenter") is Exit.HALT
    assert (box.cpu.registers().eip, box.cpu.registers().esp) == (ENTRY + 1, KERNEL_STACK)
    assert not box.cpu.registers().eflags & IF


def test_a_single_step_traps_behind_sysenter(box: Box) -> None:
    """TF is not cleared: the trap comes before the kernel's first instruction."""
    handler = box.vector(1)
    assert run_user(box, f"pushl ${TF | 2:#x}\npopf\nsysenter", "hlt") is Exit.HALT
    assert box.cpu.registers().eip == handler + 1
    assert box.words(KERNEL_STACK - 12, 2) == [ENTRY, KCODE]


def test_sysenter_takes_its_bytes_of_time(box: Box) -> None:
    run_user(box, "sysenter", "hlt")
    begin = box.cpu.retired
    box.cpu.halted = False
    box.cpu.set_registers(eip=CODE, cs=KCODE, ss=KDATA, esp=STACK, eflags=2)
    box.run()
    length = len(bytes(box.memory[CODE : CODE + 200]).rstrip(b"\0"))
    assert box.cpu.retired - begin == length + 2 + 1


@pytest.mark.parametrize(
    ("number", "value"),
    [(SYSENTER_CS, 0x60), (SYSENTER_ESP, 0x12345678), (SYSENTER_EIP, 0xFEDCBA98)],
)
def test_what_is_written_is_read(box: Box, number: int, value: int) -> None:
    box.run(registers_set() + wrmsr(number, value) + "xor %eax, %eax\nrdmsr\nhlt")
    assert (box.cpu.registers().eax, box.cpu.registers().edx) == (value, 0)


def test_init_keeps_and_reset_clears_the_registers(box: Box) -> None:
    def read() -> int:
        box.put(0x30000, bytes.fromhex("66b9760100000f32f4"))  # mov $0x176, %ecx; rdmsr; hlt
        box.cpu.set_registers(cs=0x3000, eip=0)
        assert box.cpu.run(100) is Exit.HALT
        return box.cpu.registers().eax

    box.run(wrmsr(SYSENTER_EIP, 0x1234) + "hlt")
    box.cpu.init()
    assert read() == 0x1234
    box.cpu.reset()
    assert read() == 0


def test_sysexit_goes_back(box: Box) -> None:
    box.vector(0x80, dpl=3)
    kernel = f"mov ${USER + 0x100:#x}, %edx\nmov ${STACK3 - 64:#x}, %ecx\nsti\nsysexit"
    box.code("mov %cs, %ebx\nmov %ss, %esi\npush $9\nint $0x80", USER + 0x100)
    assert run_user(box, "sysenter", kernel) is Exit.HALT
    registers = box.cpu.registers()
    assert (registers.ebx, registers.esi) == (KCODE + 16 | 3, KCODE + 24 | 3)
    assert box.words(STACK - 20, 5)[:2] == [USER + 0x100 + 8, KCODE + 16 | 3]
    assert box.words(STACK - 8, 2) == [STACK3 - 68, KCODE + 24 | 3]
    assert box.words(STACK3 - 68, 1) == [9]


@pytest.mark.parametrize(("cs", "user"), [(0, False), (KCODE, True)])
def test_sysexit_is_gp_without_a_segment_and_in_ring_3(box: Box, cs: int, user: bool) -> None:
    handler = box.vector(13)
    box.load_tr()
    box.code("sysexit", USER)
    box.run(registers_set(cs) + (enter_user() if user else f"mov ${USER:#x}, %eax\njmp *%eax"))
    assert box.cpu.registers().eip == handler + 1
    assert box.words(STACK - (24 if user else 16), 2) == [0, USER]


def test_system_calls_by_sysenter_go_on_and_on(box: Box) -> None:
    box.vector(0x80, dpl=3)
    text = "mov $100, %esi\n1: mov %esp, %ebp\nmov $2f, %edi\nsysenter\n2: dec %esi\njnz 1b\nint $0x80"
    assert run_user(box, text, "inc %ebx\nmov %edi, %edx\nmov %ebp, %ecx\nsysexit") is Exit.HALT
    assert (box.cpu.registers().ebx, box.cpu.registers().esi) == (100, 0)
    assert box.words(STACK - 8, 1) == [STACK3]


@pytest.mark.parametrize(("text", "value"), [
    ("smsw %eax", 0x80000011), (".byte 0x66\nsmsw %eax", 0x12340011), ("smsw 0x7000\nmov 0x7000, %eax", 0x55550011),
])  # fmt: skip
def test_smsw_stores_as_much_as_its_operand_has(box: Box, text: str, value: int) -> None:
    box.put(0x40000, struct.pack("<I", 0x83) + bytes(4092))
    box.put(0x7000, b"\x55" * 4)
    box.cpu.set_registers(cr3=0x40000, cr4=0x10, cr0=0x80000011)
    box.run(f"mov $0x12345678, %eax\n{text}\nhlt")
    assert box.cpu.registers().eax == value


def test_smsw_in_16_bit_code(box: Box) -> None:
    box.put(0x30000, bytes.fromhex("66b8785634120f01e0660f01e1f4"))  # mov; smsw %ax; smsw %ecx; hlt
    box.cpu.reset()
    box.cpu.set_registers(cs=0x3000, eip=0)
    assert box.cpu.run(100) is Exit.HALT
    assert (box.cpu.registers().eax, box.cpu.registers().ecx) == (0x12340010, 0x60000010)


LATER = [
    "movaps %xmm0, %xmm1", "xorps %xmm0, %xmm0", "movups 0x7000, %xmm0", "addsd %xmm0, %xmm0", "ldmxcsr 0x7000",
    "movnti %eax, 0x7000", "sfence", "mfence", "clflush 0x7000", "popcnt %eax, %eax", "movbe 0x7000, %eax",
    "crc32 %eax, %ebx", "rdrand %eax", "rdtscp", "andn %eax, %ebx, %ecx", "vxorps %xmm0, %xmm0, %xmm0", "xgetbv",
    "monitor", "syscall", "vmcall", "rsm",
]  # fmt: skip


@pytest.mark.parametrize("text", LATER)
@pytest.mark.parametrize("cr4", [0, 0x600], ids=["", "OSFXSR"])
def test_what_cpuid_does_not_announce_is_ud(box: Box, text: str, cr4: int) -> None:
    handler = box.vector(6)
    box.run(f"mov ${cr4}, %eax\nmov %eax, %cr4\n{text}\nhlt")
    assert box.cpu.registers().eip == handler + 1
    assert box.words(STACK - 12, 1) == [CODE + 8]


def test_tzcnt_is_bsf_on_a_processor_that_lacks_it(box: Box) -> None:
    box.run("mov $5, %eax\nxor %ecx, %ecx\n.byte 0xf3\nbsf %ecx, %eax\nhlt")
    assert box.cpu.registers().eflags & 1 << 6  # ZF: there was no bit; TZCNT would have set CF
    assert box.cpu.registers().eax == 5


PAE_NX = "mov $0x20, %eax\nmov %eax, %cr4\nmov $0x40000, %eax\nmov %eax, %cr3\nmov $0x80000011, %eax\nmov %eax, %cr0\n"
EFER = "mov $0xc0000080, %ecx\nmov ${:#x}, %eax\nxor %edx, %edx\nwrmsr\n"


@pytest.mark.parametrize(("nxe", "access", "error"), [
    (True, "mov 0x200000, %ebx\nhlt", None), (True, "mov $0x200000, %eax\njmp *%eax", 0x11),
    (False, "mov 0x200000, %ebx\nhlt", 0x9),
])  # fmt: skip
def test_nx_is_what_efer_says(box: Box, nxe: bool, access: str, error: int | None) -> None:
    """SDM vol. 3, 4.4 and 4.7: without NXE the bit is reserved, with it the page can be read, but not fetched from."""
    handler = box.vector(14)
    box.put(0x40000, struct.pack("<4Q", 0x41001, 0, 0, 0))
    box.put(0x41000, struct.pack("<2Q", 0x83, 1 << 63 | 0x200083))
    box.put(0x200000, struct.pack("<I", 0x77))
    box.run((EFER.format(0x800) if nxe else "") + PAE_NX + access)
    if error is None:
        assert box.cpu.registers().ebx == 0x77
    else:
        assert box.cpu.registers().eip == handler + 1
        assert box.words(STACK - 16, 1)[0] | 1 == error  # the engine leaves P clear for a reserved bit


@pytest.mark.parametrize("value", [0x1, 0x100, 0xD00])
def test_efer_has_no_more_than_nxe(box: Box, value: int) -> None:
    handler = box.vector(13)
    box.run(EFER.format(value) + "hlt")
    assert box.cpu.registers().eip == handler + 1


def test_efer_is_read_as_written_and_cleared_by_init(box: Box) -> None:
    box.run(EFER.format(0x800) + "xor %eax, %eax\nrdmsr\nhlt")
    assert (box.cpu.registers().eax, box.cpu.registers().edx) == (0x800, 0)
    box.cpu.init()
    box.put(0x30000, bytes.fromhex("66b9800000c00f32f4"))
    box.cpu.set_registers(cs=0x3000, eip=0)
    assert box.cpu.run(100) is Exit.HALT
    assert box.cpu.registers().eax == 0


def resumed(text: str, flags: int = RF | 2) -> str:
    return f"pushl ${flags:#x}\npush %cs\npush $1f\niret\n1: {text}\nhlt"


@pytest.mark.parametrize(
    "text",
    [
        "nop\npushf\npop %edi",
        "pushf\npop %edi",
        "nop\nint $0x40\nmov -4(%esp), %edi",
        "int $0x40\nmov -4(%esp), %edi",
        "jmp 2f\n2: jmp 3f\n3: int $0x40\nmov -4(%esp), %edi",
    ],
)
def test_rf_lasts_for_one_instruction(box: Box, text: str) -> None:
    box.vector(0x40)
    box.put(0x20400, b"\xcf")
    assert box.run(resumed(text)) is Exit.HALT
    assert box.cpu.registers().edi == 2
    assert not box.cpu.registers().eflags & RF


def test_rf_is_there_when_an_interrupt_comes_before_that_instruction(box: Box) -> None:
    handler = box.vector(0x40)
    box.code(resumed("nop"))
    assert box.cpu.run(1) is Exit.LIMIT
    box.cpu.interrupt(0x40)
    assert box.words(STACK - 4, 1) == [RF | 2]
    box.put(handler, b"\xcf")
    box.cpu.invalidate(handler, handler + 1)
    box.cpu.run(10_000)
    assert not box.cpu.registers().eflags & RF


def test_a_repeated_fault_loses_rf_with_its_instruction(box: Box) -> None:
    """What a page fault's handler goes back to is resumed with RF set, as every fault is."""
    box.vector(6)
    box.put(0x20060, b"\x83\x04\x24\x02\xcf")  # addl $2, (%esp); iret
    box.run("ud2\nnop\nnop\npushf\npop %edi\nhlt")
    assert box.words(STACK - 4, 1) == [2]
    assert box.cpu.registers().edi == 2


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_slices_do_not_matter(step: int) -> None:
    def run(limit: int) -> tuple[object, ...]:
        box = Box()
        box.vector(0x80, dpl=3)
        box.load_tr()
        box.code("mov $20, %esi\n1: mov %esp, %ebp\nmov $2f, %edi\nsysenter\n2: dec %esi\njnz 1b\nint $0x80", USER)
        box.code("smsw %eax\nmov %edi, %edx\nmov %ebp, %ecx\nsysexit", ENTRY)
        box.code(registers_set() + enter_user())
        while box.cpu.run(limit) is Exit.LIMIT:
            pass
        return box.cpu.registers(), box.cpu.retired, bytes(box.memory[STACK - 64 : STACK])

    assert run(step) == run(77)


def test_without_machine_code_hooks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(box: Box) -> tuple[object, ...]:
        box.vector(0x80, dpl=3)
        run_user(
            box, "mov $7, %edi\nsmsw %eax\nsysenter", f"pushl ${RF | 2:#x}\npush %cs\npush $1f\niret\n1: pushf\nhlt"
        )
        return box.cpu.registers(), box.cpu.retired, box.words(KERNEL_STACK - 4, 1)

    fast = run(Box())
    slow_hooks = native.portable_hooks()
    monkeypatch.setattr(native, "hooks", lambda: slow_hooks)
    assert run(Box()) == fast


SITES = {
    "split": ("cmpxchg8b (%esi)", "xor %ebx, %ebx\n" * 2),
    "far jump": (f"ljmp ${KCODE}, ${CODE + 0x100}", "nop\n" * 7),
    "stop": ("rdmsr", "inc %eax\nnop"),
    "lock": ("lock cmpxchg8b (%esi)", "mov %eax, %ebx\n nop\n nop"),
}


@pytest.mark.skipif(not native.hooks().compiled, reason="no machine code here")
@pytest.mark.parametrize("name", list(SITES))
def test_what_other_code_was_there_before_does_not_show(name: str) -> None:
    """A block that is run in two parts can end a slice between them."""
    instruction, plain = SITES[name]

    def ends(*, before: bool) -> list[int]:
        box = Box()
        text = "mov $0x9000, %esi\n mov $0x10, %ecx\n nop\n nop\n {}\n nop\n nop\n hlt\n .org 0x100\n hlt"
        if before:
            box.run(text.format(instruction))
            box.cpu.halted = False
        box.code(text.format(plain))
        found = []
        for limit in range(1, 40):
            begun = box.cpu.retired
            box.cpu.set_registers(eip=CODE, esp=STACK, eax=0, edx=0, ecx=0)
            box.cpu.run(limit)
            box.cpu.halted = False
            found.append(box.cpu.retired - begun)
        return found

    assert ends(before=True) == ends(before=False)
