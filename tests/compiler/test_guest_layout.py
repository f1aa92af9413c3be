# SPDX-License-Identifier: GPL-2.0-or-later
"""Structure layout against gcc -m32 on generated structures, and against the psABI's rules by hand."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from kdumpsim.compiler.diagnostics import Reporter, Source
from kdumpsim.compiler.modules import Module
from kdumpsim.compiler.program import Program
from kdumpsim.compiler.symbols import TypeName
from kdumpsim.compiler.types import StructType
from properties import examples

C_TYPES = {
    "u8": "unsigned char", "i8": "signed char", "u16": "unsigned short", "i16": "short", "u32": "unsigned",
    "i32": "int",
    "u64": "unsigned long long", "i64": "long long", "bool": "_Bool", "ptr[u8]": "unsigned char *",
}  # fmt: skip
HEAD = """\
from kdumpsim.compiler.lang import Struct, Union, aligned, array, bits, length, packed, ptr
from kdumpsim.compiler.lang import i8, i16, i32, i64, u8, u16, u32, u64
"""


def structs(text: str) -> dict[str, StructType]:
    """The structures of a module text, laid out."""
    source = HEAD + text
    reporter = Reporter()
    module = Module(Source("m", Path(__file__), "m.py", source), ast.parse(source))
    program = Program({"m": module}, {}, reporter)
    found = {
        name: symbol.type
        for name, symbol in program.scopes["m"].names.items()
        if isinstance(symbol, TypeName) and isinstance(symbol.type, StructType)
    }
    for kind in found.values():
        kind.complete()
    reporter.finish()
    return found


FIELDS = st.lists(
    st.tuples(
        st.sampled_from(list(C_TYPES)), st.sampled_from([None, None, None, "array", "inner", "bits"]), st.integers(1, 5)
    ),
    min_size=1,
    max_size=9,
)


@examples(6, suppress_health_check=list(HealthCheck))
@given(cases=st.lists(st.tuples(FIELDS, st.sampled_from(["", "packed", "aligned"])), min_size=15, max_size=25))
def test_layout_is_gccs(
    tmp_path_factory: pytest.TempPathFactory,
    require_tool: Callable[[str], str],
    cases: list[tuple[list[tuple[str, str | None, int]], str]],
) -> None:
    guest = "class Inner(Struct):\n    a: u8\n    b: u64\n    c: u16\n"
    source = "#include <stddef.h>\nstruct Inner { unsigned char a; unsigned long long b; unsigned short c; };\n"
    checks = []
    for index, (fields, form) in enumerate(cases):
        decorator = {"packed": "@packed\n", "aligned": "@aligned(16)\n", "": ""}[form]
        attribute = {"packed": "__attribute__((packed))", "aligned": "__attribute__((aligned(16)))", "": ""}[form]
        guest += f"{decorator}class S{index}(Struct):\n"
        source += f"struct S{index} {{\n"
        for number, (kind, shape, count) in enumerate(fields):
            if shape == "array":
                guest += f"    f{number}: array[{kind}] = length({count})\n"
                source += f"  {C_TYPES[kind]} f{number}[{count}];\n"
            elif shape == "inner":
                guest += f"    f{number}: Inner\n"
                source += f"  struct Inner f{number};\n"
            elif shape == "bits":
                # All of one type, and together no wider than it: there C and the guest language agree.
                guest += f"    f{number}: u32 = bits({count})\n    g{number}: u32 = bits(27)\n    e{number}: u32\n"
                source += f"  unsigned :0; unsigned f{number}: {count}, g{number}: 27; unsigned e{number};\n"
            else:
                guest += f"    f{number}: {kind}\n"
                source += f"  {C_TYPES[kind]} f{number};\n"
            if shape != "bits":
                checks.append((index, f"f{number}"))
            else:
                checks.append((index, f"e{number}"))
        source += f"}} {attribute};\n"
    source += "const unsigned table[] = {\n"
    source += "".join(f"  offsetof(struct S{index}, {name}),\n" for index, name in checks)
    source += "".join(f"  sizeof(struct S{index}), __alignof__(struct S{index}),\n" for index in range(len(cases)))
    source += "};\n"
    folder = tmp_path_factory.mktemp("layout")
    (folder / "s.c").write_text(source)
    built = subprocess.run(
        [require_tool("gcc"), "-m32", "-S", "-w", "-o", folder / "s.s", folder / "s.c"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode:
        pytest.skip(f"gcc -m32 does not work: {built.stderr}")
    words: list[int] = []
    for directive, value in re.findall(r"\.(long|zero)\s+(\d+)", (folder / "s.s").read_text()):
        words += [int(value)] if directive == "long" else [0] * (int(value) // 4)
    laid_out = structs(guest)
    expected = dict(zip(checks, words, strict=False))
    sizes = words[len(checks) :]
    for index, (fields, form) in enumerate(cases):
        if form == "packed" and any(shape == "bits" for _, shape, _ in fields):
            continue  # C packs bit-fields of packed structures to the byte, the guest language keeps whole units
        kind = laid_out[f"S{index}"]
        for (owner, name), offset in expected.items():
            if owner == index:
                assert kind.fields[name].offset == offset, (name, fields, form)
        assert (kind.size, kind.align) == (sizes[2 * index], sizes[2 * index + 1]), (fields, form)


def test_bit_fields_share_their_unit() -> None:
    kind = structs(
        "class S(Struct):\n    a: u32 = bits(30)\n    b: u32 = bits(2)\n    c: u32 = bits(1)\n    d: u8 = bits(7)\n"
        "    e: u8 = bits(2)\n    f: u8\n"
    )["S"]
    placed = {name: (field.offset, field.bit) for name, field in kind.fields.items()}
    assert placed == {"a": (0, 0), "b": (0, 30), "c": (4, 0), "d": (8, 0), "e": (9, 0), "f": (10, 0)}
    assert kind.size == 12


def test_wide_integers_are_aligned_to_words() -> None:
    kind = structs("class S(Struct):\n    a: u8\n    b: u64\n@packed\nclass P(Struct):\n    a: u8\n    b: u64\n")
    assert (kind["S"].fields["b"].offset, kind["S"].size, kind["S"].align) == (4, 12, 4)
    assert (kind["P"].fields["b"].offset, kind["P"].size, kind["P"].align) == (1, 9, 1)


def test_a_union_is_as_large_as_its_largest_field_and_as_aligned_as_the_strictest() -> None:
    text = "Union):\n    a: u8\n    b: u32 = bits(3)\n    c: array[u8] = length(6)\n"
    kind = structs(
        f"class U({text}@packed\nclass P({text}@aligned(16)\nclass A({text}class S(Struct):\n    x: u8\n    u: U\n"
    )
    assert [field.offset for field in kind["U"].fields.values()] == [0, 0, 0]
    assert [(kind[name].size, kind[name].align) for name in "UPA"] == [(8, 4), (6, 1), (16, 16)]
    assert (kind["S"].fields["u"].offset, kind["S"].size) == (4, 12)
