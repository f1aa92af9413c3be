# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compiler refuses, where it points, and what it advises."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_machine import PRELUDE_LINES, build

from kdumpsim.compiler import CompileError, compile_modules

HEAD = """
class S(Struct):
    a: u32
    f: u32 = bits(3)
    n: array[u8] = length(4)
class T(Struct):
    s: S
class E(IntEnum):
    A = 1
class Link(Struct):
    next: ptr[Link]
class Node(Struct):
    link: Link
ring: Link = Link()
LIMIT: Final = 10
g: u32 = 0
buf: array[u8] = length(8)
@guest
def take8(x: u8) -> u8:
    return x
@guest
def show(fmt: cstr, *args: u32) -> None:
    pass
@guest
def nothing() -> None:
    pass
"""

BODIES = [  # statements of a function f(a: u32, b: i32, c: u8, p: ptr[S], v: ptr[void], big: u64) -> u32
    ("return a + b", "u32 and i32 do not mix"),
    ("return a < b", "u32 and i32 do not mix"),
    ("c = a", "u32 does not fit u8"),
    ("c = 256", "256 does not fit u8"),
    ("a = -1", "-1 does not fit u32"),
    ("a = big", "u64 does not fit u32"),
    ("return take8(a)", "u32 does not fit u8"),
    ("return take8(c, c)", "takes 1 argument"),
    ("return take8(x=c)", "arguments are given by position"),
    ("return a / 2", "'/' is not an integer operation"),
    ("return a // 0", "division by zero"),
    ("return a ** 2", "operator **"),
    ("x = 1 << a", "meets no type"),
    ("return unknown", "unknown name unknown"),
    ("return p.b", "S has no field b"),
    ("return v.a", "has no field a"),
    ("return v[0]", "cannot be stepped"),
    ("q = addr(p.f)", "a bit-field has no address"),
    ("p.f = 9", "9 does not fit 3 bits"),
    ("q: ptr[S] = v", "ptr[void] does not fit ptr[S]"),
    ("q: ptr[u32] = p", "ptr[S] does not fit ptr[u32]"),
    ("q: ptr[S] = 5", "does not fit ptr[S]"),
    ("a = p", "ptr[S] does not fit u32"),
    ("x: usize = big", "u64 does not fit usize"),
    ("x: usize = a\n    return x + b", "usize and i32 do not mix"),
    ("if p == 5:\n        pass", "do not compare"),
    ("if p is NULL:\n        pass", "'is' and 'in'"),
    ("x = p[0]", "a structure (S) is not a value"),
    ("show('%p', p[0])", "a structure (S) is not a value"),
    ("if p[0]:\n        pass", "S has no truth value"),
    ("if p[0] == p[1]:\n        pass", "S and S do not mix"),
    ("q: ptr[T] = p[0]", "ptr[S] does not fit ptr[T]"),
    ("a = p[0]", "S does not fit u32"),
    ("for x in list_for_each_entry(p, T, 's'):\n        pass", "T.s is no link of a list"),
    ("for x in list_for_each_entry(p, Node, 'link'):\n        pass", "ptr[S] is no head of a list through Node.link"),
    ("for x in list_for_each_entry(ring, Node, 'hook'):\n        pass", "Node has no field hook"),
    ("for x in list_for_each_entry(ring, Node):\n        pass", "takes 3 arguments"),
    ("for a in list_for_each_entry(ring, Node, 'link'):\n        pass", "a is already a u32"),
    ("for x in list_for_each_entry(ring, Node, 'link'):\n        x = x", "variable of the loop"),
    ("for x in section(5, S):\n        pass", "a section is named by a string"),
    ("x = section('s', S)", "section() cannot stand here"),
    ("x = NULL", "NULL alone does not tell"),
    ("x = nothing()", "this call gives no value"),
    ("x = None", "None is no guest value"),
    ("x = 1.5", "float constants"),
    ("x = [1, 2]", "a list only initialises"),
    ("x, y = 1, 2", "there are no tuples"),
    ("x = y = 1", "one target"),
    ("x = (y := 1)", "':='"),
    ("x = lambda: 1", "lambda"),
    ("x = [i for i in range(3)]", "comprehensions"),
    ("for i in p:\n        pass", "range(...) only"),
    ("for i in range(3):\n        i = 5", "variable of the loop"),
    ("for i in range(3):\n        pass\n    else:\n        pass", "'for ... else'"),
    ("while a:\n        pass\n    else:\n        pass", "'while ... else'"),
    ("try:\n        pass\n    except X:\n        pass", "no exceptions"),
    ("with a:\n        pass", "'with'"),
    ("match a:\n        case 1:\n            pass", "'match'"),
    ("del a", "'del'"),
    ("assert a", "'assert'"),
    ("def inner() -> None:\n        pass", "do not nest"),
    ("a + 1", "does nothing"),
    ("x: u32 = 1\n    x: u8 = 2", "already a u32"),
    ("return x\n    x = 1", "used before it is assigned"),
    ("g = 5", "g is a global variable"),
    ('return f"{a}"', "f-string only stands"),
    ('show(f"{p}")', "how is a ptr[S]"),
    ('show(f"{a:s}")', "not printed by"),
    ('show(f"{a!r}")', "!r"),
    ('show(f"{a:5.2f}")', "not known to printk"),
    ("return buf[8]", "outside the array"),
    ("buf = buf", "buf is a global variable"),
    ("x: array[u8]", "needs its length"),
    ("x: S = S(z=1)", "S has no field z"),
    ("x: E = 1", "does not fit E"),
    ("return E.B", "E has no member B"),
    ("x: int = 1", "unknown name int"),
    ('asm("nop", "r")', "1 operands in the constraints, but 0 given"),
    ('x = asm_value(u32, "nop", "r", a)', "0 outputs"),
    ("return a if a else b", "different types"),
    ('return "text"', "does not fit u32"),
    ("p.a.x = 1", "u32 has no field x"),
    ("return p()", "cannot be called"),
    ("return LIMIT()", "cannot be called"),
    ("a[0] = 1", "u32 has no elements"),
    ('return container_of(p, T, "q")', "T has no field q"),
    ("bool_x: bool = 2", "does not fit bool"),
    ("break", "no loop around"),
    ("pass", "ends without a value"),
]


@pytest.mark.parametrize(("body", "message"), BODIES)
def test_bad_statements(tmp_path: Path, body: str, message: str) -> None:
    function = f"@guest\ndef f(a: u32, b: i32, c: u8, p: ptr[S], v: ptr[void], big: u64) -> u32:\n    {body}\n"
    if "return" not in body and "ends without" not in message:
        function += "    return 0\n"
    with pytest.raises(CompileError) as caught:
        build(tmp_path, HEAD + function, "f")
    assert message in str(caught.value)
    assert len(caught.value.diagnostics) == 1, str(caught.value)


MODULES = [
    ("import os", "'import x' is not guest code"),
    ("from kdumpsim.compiler.lang import *", "'import *'"),
    ("from kdumpsim.compiler.lang import u33", "the guest language has no u33"),
    ("from nowhere import x", "no guest module named 'nowhere'"),
    ("x: u32", "no initialiser"),
    ("x: u32 = g", "must be known to the linker"),
    ("x: u8 = 300", "300 does not fit u8"),
    ("x: array[u8] = 5", "an array's initialiser"),
    ("x: array[array[u8]] = length(5)", "no array of"),
    ("x: S = T()", "does not initialise S"),
    ("x: u32 = 0\nx: u32 = 1", "already defined"),
    ("A: Final = B\nB: Final = A", "depends on itself"),
    ("A: Final[u8] = 300", "does not fit u8"),
    ("A = g + 1", "not a constant"),
    ("print(1)", "cannot stand at module level"),
    ("def f() -> None:\n    pass", "needs @guest"),
    ("@guest\ndef f():\n    pass", "no result type"),
    ("@guest\ndef f(a) -> None:\n    pass", "no type"),
    ("@guest\ndef f(a: S) -> None:\n    pass", "is a structure"),
    ("@guest\ndef f(a: u32 = 1) -> None:\n    pass", "without defaults"),
    ("@guest\n@naked\ndef f() -> None:\n    g = 1", "asm(...) only"),
    ("@naked\n@extern\ndef f() -> None: ...", "exclude each other"),
    ("@interrupt()\ndef f() -> None:\n    pass", "takes the saved registers"),
    ("@cache\ndef f() -> None:\n    pass", "unknown decorator"),
    ("class X(Struct):\n    x: X", "contains itself"),
    ("class X(Struct):\n    x: u32 = 5", "takes no default"),
    ("class X(Struct):\n    x: array[u8]", "needs its length"),
    ("class X(Struct):\n    x: u32 = bits(33)", "1 to 32 bits"),
    ("class U(Union):\n    a: u8\n    b: u32\nu: U = U(a=1, b=2)", "U is a union: one field"),
    ("class X:\n    pass", "derives from Struct, Union or IntEnum"),
    ("class X(IntEnum):\n    A = -1", "does not fit"),
    ("@guest\ndef f() -> NoReturn:\n    pass", "returns on some path"),
    ("module_asm(5)", "takes a string"),
    ("if 1:\n    x = 1", "cannot stand at module level"),
    ("@guest\ndef f( -> None:", "syntax error"),
]


@pytest.mark.parametrize(("text", "message"), MODULES)
def test_bad_modules(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        build(tmp_path, HEAD + text + "\n", "f")
    assert message in str(caught.value)


def test_all_errors_are_shown_with_place_and_hint(tmp_path: Path) -> None:
    text = HEAD + "@guest\ndef f(a: u32, b: i32) -> u32:\n    g2 = a + b\n    h = g2 + 1\n    return b\n"
    with pytest.raises(CompileError) as caught:
        build(tmp_path, text, "f")
    first, second = caught.value.diagnostics  # nothing about g2 or h, which follow from the first
    line = PRELUDE_LINES + HEAD.count("\n") + 3
    assert (first.line, first.column, second.line) == (line, 10, line + 2)
    shown = str(caught.value)
    assert (
        f"m.py:{line}:10: error: u32 and i32 do not mix\n        g2 = a + b\n             ^~~~~\n  hint: cast" in shown
    )
    assert shown.endswith("2 errors")


def test_errors_of_all_modules_come_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from kdumpsim.compiler.lang import guest, u32\n@guest\ndef f_" + name + "() -> u32:\n    return missing\n"
        )
    with pytest.raises(CompileError) as caught:
        compile_modules([], extra_sources={name: tmp_path / f"{name}.py" for name in ("one", "two")})
    assert len(caught.value.diagnostics) == 2


def test_impossible_constraints_name_the_function(tmp_path: Path) -> None:
    text = '@guest\ndef f() -> None:\n    g(1)\n@guest\ndef g(a: u32) -> None:\n    asm("nop", "{ebx},{ebx}", a, a)\n'
    text += '@guest\ndef h(a: u32) -> None:\n    asm("nop", "{xyz}", a)\n'
    with pytest.raises(CompileError) as caught:
        build(tmp_path, text, "f")
    lines = [error.line for error in caught.value.diagnostics]
    assert PRELUDE_LINES + 8 in lines
    assert "LLVM refuses h: couldn't allocate input reg for constraint '{xyz}'" in str(caught.value)


def test_assembler_errors_name_the_guest_line(tmp_path: Path) -> None:
    text = '@guest\ndef f() -> None:\n    asm("nop")\n    asm("bogus %eax")\n'
    with pytest.raises(CompileError) as caught:
        build(tmp_path, text, "f")
    (error,) = caught.value.diagnostics
    assert error.line == PRELUDE_LINES + 4
    assert "invalid instruction mnemonic 'bogus'" in error.message
    text = 'module_asm("""\n    nop\n    movl %nowhere, %eax\n""")\n@guest\ndef f() -> None:\n    pass\n'
    with pytest.raises(CompileError) as caught:
        build(tmp_path, text, "f")
    assert caught.value.diagnostics[0].line == PRELUDE_LINES + 3


def test_a_wrong_list_is_pointed_at(tmp_path: Path) -> None:
    body = (
        '@guest\ndef f(p: ptr[S]) -> None:\n    for x in list_for_each_entry(p, Node, "link"):\n        g2 = x.link\n'
    )
    with pytest.raises(CompileError) as caught:
        build(tmp_path, HEAD + body, "f")
    line = PRELUDE_LINES + HEAD.count("\n") + 3
    assert (
        f"m.py:{line}:34: error: ptr[S] is no head of a list through Node.link\n"
        '        for x in list_for_each_entry(p, Node, "link"):\n'
        "                                     ^\n  hint: a Link"
    ) in str(caught.value)
