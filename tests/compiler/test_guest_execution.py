# SPDX-License-Identifier: GPL-2.0-or-later
"""What compiled guest code does when it runs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from guest_machine import PRELUDE_LINES, Machine, build
from unicorn import UcError
from unicorn.x86_const import UC_X86_REG_EIP

TEXT = """
PAGE_SHIFT: Final = 12
PAGE_SIZE = 1 << PAGE_SHIFT
GREETING: Final[cstr] = "hello"
callback_t = fn[[u32, ptr[void]], i32]


class State(IntEnum):
    RUNNING = 0
    STOPPED = RUNNING + 4
    DEAD = 8


class Pair(Struct):
    a: u8
    b: u64
    low: u32 = bits(3)
    high: u32 = bits(7)
    sign: i32 = bits(5)
    name: array[u8] = length(6)
    state: State
    op: callback_t
    next: ptr[Pair]
    inner: Inner
    flag: bool


class Inner(Struct):
    x: i16
    y: array[u32] = length(3)


class Word(Union):
    number: u32
    halves: array[u16] = length(2)
    low: u32 = bits(4)


@packed
class Tight(Struct):
    a: u8
    b: u32
    c: u16


first: Pair = Pair(a=1, b=2, low=5, high=100, sign=-3, name=b"swap", state=State.DEAD, op=twice, next=addr(second),
                   inner=Inner(x=-2, y=[7, 8]), flag=True)
second: Pair = Pair()
words: array[u32] = [1, 2, PAGE_SIZE, u32(-1)]
fives: array[u8] = [5] * 7
strings: array[cstr] = ["ab", "c", GREETING]
inside: ptr[u32] = addr(words[2])
where: u32 = u32(addr(first.inner.y))
pages: array[u8] = length(2 * PAGE_SIZE, align=PAGE_SIZE)
one: Tight = placed("table", Tight(a=1, b=2, c=3))
two: Tight = placed("table", Tight(a=4, b=5, c=6))
__start_table: array[Tight] = external()
__stop_table: array[Tight] = external()
counter: u32 = 0
wide: u64 = 0x123456789abcdef0
zeroes: array[u8] = length(8)


@guest
def twice(a: u32, p: ptr[void]) -> i32:
    return i32(a) * 2


static_word: Word = Word(halves=[0x5678, 0x1234])


@guest
def halves(n: u32) -> u32:
    word: Word = Word(number=n)
    other: Word = word
    other.low = 15
    word.halves[0] = word.halves[1]
    return word.number + other.number + static_word.number


@guest
def use_pointer(f: callback_t, n: u32) -> i32:
    return f(n, NULL) + first.op(n, NULL) + addr(first).op(1, addr(first))


@guest
def call_it(n: u32) -> i32:
    return use_pointer(twice, n)


@guest
def static_sum() -> u32:
    total: u32 = first.a + u32(first.b) + first.low + first.high + first.name[0] + u32(first.state)
    total += first.inner.y[1] + words[2] + fives[6] + strings[1][0] + inside[0]
    if where != u32(addr(first.inner.y[0])) or first.next != addr(second) or first.sign != -3 or first.inner.x != -2:
        return 0
    return total if first.flag else 0


@guest
def table_sum() -> u32:
    total: u32 = 0
    p: ptr[Tight] = __start_table
    while p < __stop_table:
        total += p.a + p.b + p.c
        p = p + 1
    return total + u32(__stop_table - __start_table) * 100


@guest
def loops(n: u32) -> u32:
    total: u32 = 0
    i: u32 = 77
    for i in range(n):
        if i == 3:
            continue
        if i == 9:
            break
        total += i
    for k in range(10, -1, -3):
        total += u32(k) * 1000
    for b in range(u8(250), u8(255), 4):
        total += b
    j = 0
    while True:
        j += 1
        if j > 4:
            break
    return total * 100 + i + u32(j)


@guest
def empty_range() -> u32:
    i: u32 = 5
    for i in range(8, 3):
        i_is = i
    return i


@guest
def bit_fields(n: u32) -> u32:
    p: Pair = Pair(low=1, a=9)
    q = addr(p)
    q.high = n
    q.low += 1
    q.sign = -1
    q.sign -= 3
    return q.low | q.high << 8 | u32(q.sign) << 16


@guest
def atomics() -> u32:
    global counter
    counter = 5
    old = fetch_add(addr(counter), 3)
    old += xchg(addr(counter), 0x30) * 10
    old += fetch_or(addr(counter), 1) * 100
    fetch_and(addr(counter), ~1)
    found = cmpxchg(addr(counter), 0x30, 7)
    missed = cmpxchg(addr(counter), 1, 2)
    barrier()
    store_volatile(addr(counter), load_volatile(addr(counter)) + 1)
    return old + found + missed + counter


@guest
def wide_atomic() -> u64:
    return cmpxchg(addr(wide), 0x123456789abcdef0, 1) + wide


@guest
def varargs(fmt: cstr, *args: u32) -> u32:
    return args[0] + args[1] * 10 + args[2] * 100 + fmt[0]


@guest
def call_varargs(a: u8) -> u32:
    return varargs("\\0", a, 2, u64(3) << 32 | 1)


captured: ptr[u8] = NULL


@guest
def log(level: u32, fmt: cstr, *args: u32) -> ptr[u32]:
    global captured
    captured = fmt
    return args


@guest
def format_strings(s: cstr, small: u8, minus: i16, big: u64, c: u8, yes: bool) -> u32:
    printed = log(3, f"100% {s:s} {small} {minus:5d} {big} {big:016x} {c:c} {s:p} {minus:x} "
                     f"{yes} {PAGE_SIZE:#x} {s:<4s}")
    return printed[1] + printed[2]


@guest
def structures() -> u32:
    a: Pair = Pair()
    b: Pair = first
    a = b
    a.inner.y[2] = 6
    b.inner = a.inner
    c: array[u8] = length(40)
    for i in range(len(c)):
        if c[i] != 0:
            return 0
    c[3] = 9
    member = addr(b.inner)
    back = container_of(member, Pair, "inner")
    return u32(back == addr(b)) + b.inner.y[2] + sizeof(Pair) * 100 + offsetof(Pair, "inner.y")


@guest
def truth(a: u32, b: u32) -> u32:
    both: bool = a and b
    either = a or b
    neither = not (a or b)
    within = 1 < a <= b < 100
    return u32(both) | u32(either) << 1 | u32(neither) << 2 | u32(within) << 3 | u32(a == 1 or b == 1 and a != 0) << 4


@guest
def choice(a: i32) -> i32:
    return (a if a > 0 else -a) + (1 if a else 2) + min(a, 10) + max(a, -10, 3) + abs(a)


@guest
def assembly(a: u32) -> u32:
    asm("incl $0", "=*m,*m", addr(counter), addr(counter))
    swapped = asm_value(u32, "bswap $0", "=r,0", a)
    low = asm_value(u8, "movb $$7, $0", "={al}")
    pair = asm_value(u64, "movl $$1, %eax; movl $$2, %edx", "=A")
    return swapped + low + u32(pair >> 32)


@extern
def from_asm(a: u32) -> u32: ...


module_asm(f\"\"\"
.globl from_asm
from_asm:
    movl 4(%esp), %eax
    addl ${PAGE_SIZE + 1}, %eax
    addl ${sizeof(Pair):#x}, %eax
    ret
\"\"\")


@naked
def naked_add() -> u32:
    asm("movl 4(%esp), %eax; addl $0, %eax; ret", "i", PAGE_SIZE)


@guest
def frame() -> u32:
    return u32(cast(ptr[u32], frame_address())[1] == return_address())


@guest
def never(code: u32) -> NoReturn:
    while True:
        asm("hlt")


@guest
def narrow(a: u8, b: i8, c: bool) -> u8:
    a += 200
    return a + u8(b) + c


@guest
def call_narrow() -> u32:
    return narrow(100, -1, True)


@guest
def pointers(p: ptr[u32]) -> i32:
    q = p + 3
    q -= 1
    r = cast(ptr[u8], q)
    return i32(q - p) * 100 + (r - cast(ptr[u8], p)) + i32(p < q)


@guest
def exchange(p: ptr[Pair], q: ptr[Pair]) -> None:
    kept: u64 = p.b
    p.b = q.b
    q.b = kept


@guest
def exchanged() -> u32:
    second.b = 50
    exchange(addr(first), addr(second))
    result = u32(first.b) * 100 + u32(second.b)
    exchange(addr(first), addr(second))
    return result


@guest
def enums(s: State) -> u32:
    if s == State.STOPPED:
        return u32(State(s + 4)) + (1 << s)
    return 0
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(build(tmp_path_factory.mktemp("guest"), TEXT, "loops"))


def test_function_pointers(machine: Machine) -> None:
    assert machine.call("call_it", 21) == 42 + 42 + 2


def test_static_initialisers(machine: Machine) -> None:
    expected = 1 + 2 + 5 + 100 + ord("s") + 8 + 8 + 4096 + 5 + ord("c") + 4096
    assert machine.call("static_sum") == expected
    assert machine.symbols["pages"] % 4096 == 0
    assert machine.symbols["inside"] % 4 == 0


def test_placed_section(machine: Machine) -> None:
    assert machine.call("table_sum") == 6 + 15 + 200
    assert machine.symbols["__stop_table"] - machine.symbols["__start_table"] == 14


@pytest.mark.parametrize("n", [0, 1, 3, 4, 9, 10, 50])
def test_loops_are_pythons(machine: Machine, n: int) -> None:
    total, i = 0, 77
    for i in range(n):
        if i == 3:
            continue
        if i == 9:
            break
        total += i
    total += sum(k * 1000 for k in range(10, -1, -3)) + 250 + 254
    assert machine.call("loops", n) == total * 100 + i + 5


def test_an_empty_range_leaves_its_variable(machine: Machine) -> None:
    assert machine.call("empty_range") == 5


def test_bit_fields(machine: Machine) -> None:
    assert machine.call("bit_fields", 0x1FF) == 2 | 0x7F << 8 | (-4 & 0xFFFF) << 16


def test_unions(machine: Machine) -> None:
    assert machine.call("halves", 0x00010002) == 0x00010001 + 0x0001000F + 0x12345678


def test_atomics(machine: Machine) -> None:
    assert machine.call("atomics") == 5 + 80 + 0x30 * 100 + 0x30 + 7 + 8
    assert machine.call64("wide_atomic") == 0x123456789ABCDEF0 + 1


def test_varargs(machine: Machine) -> None:
    assert machine.call("call_varargs", 7) == 7 + 20 + 100


def test_format_strings(machine: Machine) -> None:
    result = machine.call("format_strings", 0x5000, 200, 0xFFFE, 5, 6, 65, 1)
    assert result == (200 - 2) & 0xFFFFFFFF
    (address,) = struct.unpack("<I", machine.read(machine.symbols["captured"], 4))
    text = machine.read(address, 200).split(b"\0")[0]
    assert text == b"100%% %s %u %5d %llu %016llx %c %p %x %u %#x %-4s"


def test_structures(machine: Machine) -> None:
    size = 4 + 8 + 4 + 4 + 8 + 4 + 4 + 4 + 16 + 4
    assert machine.call("structures") == 1 + 6 + size * 100 + 44


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (2, 5), (5, 2), (2, 100), (1, 1)])
def test_truth(machine: Machine, a: int, b: int) -> None:
    expected = bool(a and b) | bool(a or b) << 1 | (not (a or b)) << 2 | (1 < a <= b < 100) << 3
    expected |= bool(a == 1 or (b == 1 and a != 0)) << 4
    assert machine.call("truth", a, b) == expected


@pytest.mark.parametrize("a", [-20, -1, 0, 1, 7, 20])
def test_choice(machine: Machine, a: int) -> None:
    expected = (a if a > 0 else -a) + (1 if a else 2) + min(a, 10) + max(a, -10, 3) + abs(a)
    assert machine.call("choice", a) == expected & 0xFFFFFFFF


def test_assembly(machine: Machine) -> None:
    assert machine.call("assembly", 0x01020304) == 0x04030201 + 7 + 2
    assert machine.call("from_asm", 3) == 3 + 4097 + 60
    assert machine.call("naked_add", 3) == 4099


def test_frames(machine: Machine) -> None:
    assert machine.call("frame") == 1


def test_narrow_arguments(machine: Machine) -> None:
    assert machine.call("call_narrow") & 0xFF == (100 + 200 + 255 + 1) & 0xFF


def test_pointer_arithmetic(machine: Machine) -> None:
    assert machine.call("pointers", 0x1000) == 200 + 8 + 1


def test_pointer_parameters_reach_the_callers_objects(machine: Machine) -> None:
    """A call that passes pointers only must not be mistaken for one that passes structures by value."""
    assert machine.call("exchanged") == 50 * 100 + 2


def test_enumerations(machine: Machine) -> None:
    assert machine.call("enums", 4) == 8 + 16
    assert machine.call("enums", 5) == 0


def test_optimised_modules_do_the_same(tmp_path: Path) -> None:
    text = """
@guest
def mix(a: u32, b: u8, c: u64, d: bool) -> u32:
    total: u32 = 0
    for i in range(a):
        total += i * b + u32(c >> 32) + d
    b += 1
    return total + b
@guest
def outer(n: u32) -> u32:
    return mix(n, 3, u64(7) << 32, True)
"""
    plain = Machine(build(tmp_path, text, "mix"))
    fast = Machine(build(tmp_path, text, "mix", optimize=["m"]))
    for n in (0, 1, 10, 100):
        expected = sum(i * 3 + 7 + 1 for i in range(n)) + 4
        assert plain.call("outer", n) == fast.call("outer", n) == expected


def test_extended_config(tmp_path: Path) -> None:
    text = 'SIZE: Final = config("SIZE", 10)\n@guest\ndef size() -> u32:\n    return SIZE\n'
    assert Machine(build(tmp_path, text, "size")).call("size") == 10
    assert Machine(build(tmp_path, text, "size", config={"SIZE": 99})).call("size") == 99


@pytest.mark.parametrize("optimize", [[], ["m"]])
def test_bug_says_where_it_stands(tmp_path: Path, optimize: list[str]) -> None:
    text = """@guest
def picky(n: u32) -> u32:
    if n == 7:
        BUG()
    if n == 8:
        BUG()
    return n
"""
    machine = Machine(build(tmp_path, text, "picky", optimize=optimize))
    assert machine.call("picky", 6) == 6
    for n, line in ((7, PRELUDE_LINES + 4), (8, PRELUDE_LINES + 6)):
        with pytest.raises(UcError):
            machine.start("picky", n)
        opcode, shown, name = struct.unpack("<2sHI", machine.read(machine.uc.reg_read(UC_X86_REG_EIP), 8))
        assert (opcode, shown) == (b"\x0f\x0b", line)
        assert machine.read(name, 5) == b"m.py\0"
