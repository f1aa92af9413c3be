# SPDX-License-Identifier: GPL-2.0-or-later
"""EFLAGS where the engine keeps them elsewhere: what an instruction leaves in them is what the manual says, wherever
blocks, slices, faults and interrupts fall.

TCG computes the arithmetic flags when somebody asks, and its helpers for CMPXCHG8B and far jumps ask too early. QEMU
7.2 has the same faults, so it is no referee here.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from cpu_box import CODE, GDT, KCODE, KDATA, STACK, TSS, TSS_DF, TSS_DF_SEL, Box
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.cpu import Exit, native
from properties import examples

CF, PF, AF, ZF, SF, OF = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11
ARITHMETIC = CF | PF | AF | ZF | SF | OF
RF = 1 << 16
OPERAND = 0x60000
WORDS = st.sampled_from([0, 1, 0x11, 0x7FFFFFFF, 0x80000000, 0xC21C66C0, 0xFFFFFFFF])


class Result(NamedTuple):
    value: int
    flags: int
    undefined: int = 0


def result(value: int, carry: bool, overflow: bool, adjust: bool) -> Result:
    low = value & 0xFFFFFFFF
    flags = CF * carry | OF * overflow | AF * adjust | ZF * (low == 0) | SF * (low >> 31)
    return Result(low, flags | PF * (bin(low & 0xFF).count("1") % 2 == 0))


def add(a: int, b: int, carry: int = 0) -> Result:
    total = a + b + carry
    return result(total, total >> 32 != 0, (a ^ total) & (b ^ total) & 1 << 31 != 0, (a ^ b ^ total) & 16 != 0)


def sub(a: int, b: int, borrow: int = 0) -> Result:
    total = a - b - borrow
    return result(total, total < 0, (a ^ b) & (a ^ total) & 1 << 31 != 0, (a ^ b ^ total) & 16 != 0)


def logic(value: int) -> Result:
    return result(value, False, False, False)._replace(undefined=AF)


def keep_carry(done: Result, flags: int) -> Result:
    return done._replace(flags=done.flags & ~CF | flags & CF)


MODEL: dict[str, Callable[[int, int, int], Result]] = {
    # text: (EAX, ESI, flags) -> what is in EAX, and the flags (SDM vol. 1, 7.3; vol. 2)
    "add %esi, %eax": lambda a, b, f: add(a, b),
    "adc %esi, %eax": lambda a, b, f: add(a, b, f & CF),
    "sub %esi, %eax": lambda a, b, f: sub(a, b),
    "sbb %esi, %eax": lambda a, b, f: sub(a, b, f & CF),
    "cmp %esi, %eax": lambda a, b, f: sub(a, b)._replace(value=a),
    "neg %eax": lambda a, b, f: sub(0, a),
    "inc %eax": lambda a, b, f: keep_carry(add(a, 1), f),
    "dec %eax": lambda a, b, f: keep_carry(sub(a, 1), f),
    "xor %esi, %eax": lambda a, b, f: logic(a ^ b),
    "xor %eax, %eax": lambda a, b, f: logic(0),
    "test %eax, %eax": lambda a, b, f: logic(a),
    "stc": lambda a, b, f: Result(a, f | CF),
    "clc": lambda a, b, f: Result(a, f & ~CF),
    "cmc": lambda a, b, f: Result(a, f ^ CF),
    "nop": lambda a, b, f: Result(a, f),
}
INSTRUCTIONS = st.sampled_from(sorted(MODEL))


def expected(texts: list[str], eax: int, esi: int, flags: int = 0) -> tuple[int, int]:
    """(flags, which of them are defined) after the instructions."""
    undefined = 0
    for text in texts:
        done = MODEL[text](eax, esi, flags)
        eax, flags = done.value, done.flags
        undefined = undefined if text in ("stc", "clc", "cmc", "nop") else done.undefined
    return flags, ARITHMETIC & ~undefined


def beginning(before: str, texts: list[str], eax: int, esi: int) -> str:
    """The operand's page is in the TLB; another block leaves its own kind of flags behind."""
    return (
        f"incl {OPERAND + 8:#x}\nxor %eax, %eax\n{before}\njmp 1f\n"
        f"1: mov ${esi:#x}, %esi\nmov ${eax:#x}, %eax\nclc\ntest %esp, %esp\n" + "".join(f"{text}\n" for text in texts)
    )


def run_it(box: Box, text: str, step: int) -> None:
    box.put(OPERAND, struct.pack("<2I", 1, 2))
    box.code(text)
    while box.cpu.run(step) is Exit.LIMIT:
        pass


def start_flags(esp: int = STACK) -> int:
    return logic(esp).flags


@examples(150)
@given(
    before=INSTRUCTIONS,
    texts=st.lists(INSTRUCTIONS, min_size=1, max_size=3),
    eax=WORDS,
    esi=WORDS,
    equal=st.booleans(),
    lock=st.booleans(),
    then=st.sampled_from(["", "mov %edx, %edx\n", "jne 2f\n2:\n", "int $0x40\n"]),
    step=st.sampled_from([1, 20, 10_000]),
    watched=st.booleans(),
)
def test_cmpxchg8b_changes_zf_alone(
    before: str, texts: list[str], eax: int, esi: int, equal: bool, lock: bool, then: str, step: int, watched: bool
) -> None:
    box = Box()
    box.vector(0x40)
    box.put(0x20400, b"\xcf")  # iret
    begin = beginning(before, texts, eax, esi)
    operands = f"mov ${1 if equal else 9}, %eax\nmov $2, %edx\n"
    if watched:
        box.code(begin)
        length = len(bytes(box.memory[CODE : CODE + 200]).rstrip(b"\0"))
        box.cpu.watch(CODE + length, lambda cpu: None)
    run_it(box, f"{begin}{operands}{'lock ' if lock else ''}cmpxchg8b {OPERAND:#x}\n{then}pushf\npop %edi\nhlt", step)
    flags, defined = expected(texts, eax, esi, start_flags())
    want = flags & ~ZF | ZF * equal
    assert box.cpu.registers().edi & (defined | ZF) == want & (defined | ZF)
    assert not box.cpu.registers().edi & ~(ARITHMETIC | 2)
    assert box.cpu.registers().eax == 1


def test_cmpxchg8b_in_the_frame_of_a_fault() -> None:
    """#PF in CMPXCHG8B: the flags are those of the instruction before it, and it can be repeated."""
    box = Box()
    entries = [number << 12 | 7 for number in range(1024)]
    entries[OPERAND >> 12] &= ~1
    box.put(0x41000, struct.pack("<1024I", *entries))
    box.put(0x40000, struct.pack("<I", 0x41007) + bytes(4092))
    box.vector(14)
    box.code(
        f"orl $1, {0x41000 + (OPERAND >> 10):#x}\nmov 8(%esp), %ebp\nmov 12(%esp), %ebp\nadd $4, %esp\niret", 0x200E0
    )
    box.cpu.set_registers(cr3=0x40000, cr0=0x80010011)
    box.put(OPERAND, struct.pack("<2I", 1, 2))
    box.run(f"mov $0x7fffffff, %esi\nincl 0x61000\nadd $1, %esi\nmov $1, %eax\nmov $2, %edx\nmov $5, %ebx\n"
            f"cmpxchg8b {OPERAND:#x}\npushf\npop %edi\nhlt")  # fmt: skip
    overflow = OF | SF | AF | PF
    assert box.cpu.registers().ebp == overflow | 2 | RF
    assert box.cpu.registers().edi == overflow | ZF | 2
    assert box.words(OPERAND, 2) == [5, 0]


def test_a_watch_sees_each_cmpxchg8b_once_and_no_time_is_lost() -> None:
    box = Box()
    text = f"mov $50, %ebp\n1: add $1, %esi\ncmpxchg8b {OPERAND:#x}\ninc %edi\ndec %ebp\njnz 1b\nhlt"
    box.code(text)
    seen: list[int] = []
    box.cpu.watch(CODE + 8, lambda cpu: seen.append(cpu.registers().esi))
    assert box.cpu.run(1 << 20) is Exit.HALT
    assert seen == list(range(1, 51))
    assert box.cpu.registers().edi == 50
    assert box.cpu.retired == 5 + 50 * (3 + 7 + 1 + 1 + 2) + 1
    box.cpu.halted = False
    box.cpu.unwatch(CODE + 8)
    box.cpu.set_registers(eip=CODE)
    box.cpu.run(1 << 20)
    assert box.cpu.retired == 2 * (5 + 50 * 14 + 1)


def test_a_watch_does_not_change_the_flags() -> None:
    """The engine brings its flags up to date at a hook unless they are of the same kind as at the last one."""
    box = Box()
    texts = "mov $0x7fffffff, %eax\nadd $1, %eax\n"
    text = f"incl {OPERAND + 8:#x}\ncmp %esp, %ebp\njmp 1f\n1: {texts}nop\nsub %ebp, %ecx\npushf\n{texts}"
    box.code(text)
    nop = bytes(box.memory[CODE : CODE + 40]).index(b"\x90\x29")
    box.cpu.watch(CODE + nop, lambda cpu: None)
    run_it(box, f"{text}cmpxchg8b {OPERAND:#x}\npushf\npop %edi\nhlt", 10_000)
    assert box.cpu.registers().edi == OF | SF | AF | PF | 2


@pytest.mark.parametrize(
    "jump", ["ljmp *0x7000", f"ljmp ${TSS_DF_SEL:#x}, $0", "lcall *0x7000", f"lcall ${TSS_DF_SEL:#x}, $0"]
)
def test_a_far_jump_to_a_task_saves_and_loads_all_flags(box: Box, jump: str) -> None:
    box.load_tr()
    tss = bytearray(104)
    incoming = 0x2 | CF | ZF | SF | 1 << 10
    struct.pack_into("<2I", tss, 32, 0x21000, incoming)
    struct.pack_into("<8I", tss, 40, 0, 0, 0, 0, 0xA000, 0, 0, 0)
    struct.pack_into("<6I", tss, 72, KDATA, KCODE, KDATA, KDATA, KDATA, KDATA)
    box.put(TSS_DF, bytes(tss))
    box.put(0x7000, struct.pack("<IH", 0, TSS_DF_SEL))
    box.code("pushf\npop %esi\nhlt", 0x21000)
    warm = f"incl {TSS + 100:#x}\nincl {TSS_DF + 100:#x}\nmov {GDT:#x}, %eax\nincl 0x7008\n"
    assert box.run(f"{warm}cmp %esp, %ebp\njmp 1f\n1: mov $0x7fffffff, %eax\nadd $1, %eax\n{jump}") is Exit.HALT
    assert box.words(TSS + 36, 1) == [OF | SF | AF | PF | 2]
    assert box.cpu.registers().esi & ~(1 << 14) == incoming


def test_iret_from_a_nested_task_saves_its_flags(box: Box) -> None:
    box.load_tr()
    tss = bytearray(104)
    struct.pack_into("<2I", tss, 32, 0x21000, 2)
    struct.pack_into("<8I", tss, 40, 0, 0, 0, 0, 0xA000, 0, 0, 0)
    struct.pack_into("<6I", tss, 72, KDATA, KCODE, KDATA, KDATA, KDATA, KDATA)
    box.put(TSS_DF, bytes(tss))
    box.code(
        "incl 0x5070\nincl 0x4070\nincl 0x3070\ncmp %esp, %ebp\njmp 1f\n1: mov $0x7fffffff, %eax\nadd $1, %eax\niret",
        0x21000,
    )
    box.run(f"mov $0x7fffffff, %eax\nstd\nadd $1, %eax\nlcall ${TSS_DF_SEL:#x}, $0\npushf\npop %edi\nhlt")
    assert box.words(TSS_DF + 36, 1) == [OF | SF | AF | PF | 2]  # NT is clear again
    assert box.cpu.registers().edi == OF | SF | AF | PF | 2 | 1 << 10


OTHERS = [
    "lahf\nmovzbl %ah, %eax", "into", "lar %eax, %ebx", "lsl %eax, %ebx", "verr %ax", "verw %ax", "daa", "das", "aaa",
    "aas", "aam", "aad", "rcl $1, %eax", "rcr $3, %eax", "shld $3, %esi, %eax", "bt $3, %eax", "cmpxchg %esi, (%esp)",
    "xadd %esi, %eax", "imul %esi, %eax", "bsf %esi, %eax", "setbe %al", "cmovo %esi, %eax", "fld1\nfldz\nfcomip",
    "fld1\nfldz\nfucomip", "sahf", "salc", "ljmp $8, $2f\n2:", "lcall $8, $2f\n2: add $8, %esp",
    "push %cs\npush $2f\nlret\n2:",
    "pushf\npush %cs\npush $2f\niret\n2:", "str %ax", "smsw %eax", "cpuid", "rdtsc", "in $0x60, %al",
    "mov $8, %ax\nlar %ax, %ax",
    "bound %eax, 0x60010", "enter $8, $0\nleave", "push %ds\npop %ds", "cmpxchg8b 0x60000", "popf\npushf", "sti", "cli",
    "rep movsb", "repe cmpsb", "mov %cr0, %edx\nmov %edx, %cr0", "clts", "invlpg (%esp)", "xlat", "arpl %ax, %bx",
]  # fmt: skip


UNDEFINED = {"bt $3, %eax": OF | SF | AF | PF}


@pytest.mark.parametrize("text", OTHERS)
def test_flags_do_not_depend_on_where_blocks_end(text: str) -> None:
    """Every instruction that reads or changes flags: in the middle of a block, and with a block of its own."""

    def run(separate: bool, seed: int) -> tuple[int, ...]:
        rng = random.Random(seed)
        box = Box()
        for vector in (4, 5, 6, 13):
            box.vector(vector)
        texts = [rng.choice(sorted(MODEL)) for _ in range(3)]
        words = [rng.choice([0, 8, 0x10, 0x7FFFFFFF, 0x80000000, 0xC21C66C0, 0xFFFFFFFF]) for _ in range(2)]
        parts = [
            f"mov ${words[0]:#x}, %esi",
            f"mov ${words[1]:#x}, %eax",
            *texts,
            text,
            "nop",
            "pushf",
            "pop %edx",
            "hlt",
        ]
        code = "finit\nmov $0x70000, %edi\nmov $0x71000, %ebx\nmov $3, %ecx\nincl 0x60000\npush $2\n"
        code += f"{texts[0]}\njmp 8f\n8:\n"
        if text.startswith("rep"):
            parts[0] = "mov $0x70000, %esi"
        box.code(code + ("\njmp 9f\n9:\n" if separate else "\n").join(parts))
        assert box.cpu.run(100_000) is Exit.HALT
        registers = box.cpu.registers()
        faulted = registers.eip < CODE or registers.eip >= 0x20000
        return registers.edx & ~UNDEFINED.get(text, 0), box.words(registers.esp + 8, 1)[0] if faulted else 0

    for seed in range(8):
        assert run(True, seed) == run(False, seed), seed


def test_without_machine_code_hooks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(box: Box) -> tuple[object, ...]:
        begin = beginning("cmp %esp, %ebp", ["add %esi, %eax"], 0x11, 0x7FFFFFFF)
        end = "pushf\npush %cs\npush $2f\nstd\niret\n2: pushf\npop %edi\nhlt"
        run_it(box, f"{begin}cmpxchg8b {OPERAND:#x}\n{end}", 10_000)
        return box.cpu.registers(), box.cpu.retired

    fast = run(Box())
    slow_hooks = native.portable_hooks()
    monkeypatch.setattr(native, "hooks", lambda: slow_hooks)
    assert run(Box()) == fast
