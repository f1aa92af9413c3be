# SPDX-License-Identifier: GPL-2.0-or-later
"""Generated integer expressions: compiled and run on the CPU, against CPython with lang.py's wrapping integers."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_machine import PRELUDE, Machine, build
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from kdumpsim.compiler import lang
from properties import examples

TYPES = {f"{sign}{bits}": (bits, sign == "i") for sign in "ui" for bits in (8, 16, 32, 64)}
PARAMS = {f"{name}_{letter}": name for name in TYPES for letter in "ab"}


def fits(name: str) -> list[str]:
    """The types whose every value fits this one, itself included."""
    bits, signed = TYPES[name]
    return [n for n, (b, s) in TYPES.items() if n == name or (b < bits and (signed or not s))]


def constants(name: str) -> st.SearchStrategy[str]:
    bits, signed = TYPES[name]
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([0, 1, 2, 7, high]).filter(lambda n: n <= high)).map(str)


@st.composite
def expressions(draw: st.DrawFn, name: str, depth: int) -> str:
    """Text of an expression of exactly the type `name`."""
    bits, signed = TYPES[name]
    if depth == 0:
        return draw(st.sampled_from([p for p, kind in PARAMS.items() if kind == name]))

    def sub(kind: str) -> str:
        return draw(expressions(kind, depth - 1))

    match draw(st.integers(0, 9)):
        case 0 | 1:
            operator = draw(st.sampled_from("+-*&|^"))
            return f"({sub(name)} {operator} {sub(draw(st.sampled_from(fits(name))))})"
        case 2:
            operator = draw(st.sampled_from("+-*&|^"))
            return f"({sub(name)} {operator} {draw(constants(name))})"
        case 3:
            count = draw(st.one_of(st.integers(0, 70).map(str), st.sampled_from(["u8_a", "u8_b", "(u32_a & 15)"])))
            return f"({sub(name)} {draw(st.sampled_from(['<<', '>>']))} {count})"
        case 4 if bits < 64:
            divisor = draw(st.one_of(st.integers(1, 100), st.integers(-100, -2) if signed else st.integers(1, 100)))
            divisor = min(divisor, 100)
            return f"({sub(name)} {draw(st.sampled_from(['//', '%']))} {divisor})"
        case 4 | 5:
            return f"{name}({sub(draw(st.sampled_from(list(TYPES))))})"
        case 6:
            return f"({draw(st.sampled_from('-~'))}{sub(name)})"
        case 7:
            return f"{draw(st.sampled_from(['min', 'max']))}({sub(name)}, {sub(name)})"
        case 8:
            return f"({sub(name)} if {draw(conditions(depth - 1))} else {sub(name)})"
        case _:
            return sub(name)


@st.composite
def conditions(draw: st.DrawFn, depth: int) -> str:
    name = draw(st.sampled_from(list(TYPES)))
    comparison = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    left = draw(expressions(name, depth))
    right = draw(st.one_of(expressions(name, depth), constants(name)))
    text = f"({left} {comparison} {right})"
    match draw(st.integers(0, 4)) if depth else 0:
        case 1:
            return f"({text} and {draw(conditions(depth - 1))})"
        case 2:
            return f"({text} or {draw(conditions(depth - 1))})"
        case 3:
            return f"(not {text})"
    return text


FUNCTIONS = st.lists(
    st.sampled_from(list(TYPES)).flatmap(lambda name: st.tuples(st.just(name), expressions(name, 3))),
    min_size=15,
    max_size=25,
)
INTERESTING = [0, 1, 2, 3, 7, 31, 32, 63, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
               0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF]  # fmt: skip
ARGUMENTS = st.lists(
    st.lists(
        st.one_of(st.sampled_from(INTERESTING), st.integers(0, (1 << 64) - 1)),
        min_size=len(PARAMS),
        max_size=len(PARAMS),
    ),
    min_size=3,
    max_size=8,
)


@pytest.mark.parametrize("optimize", [False, True])
@examples(12, suppress_health_check=list(HealthCheck))
@given(functions=FUNCTIONS, arguments=ARGUMENTS)
def test_expressions_mean_the_same_compiled_and_in_cpython(
    tmp_path_factory: pytest.TempPathFactory,
    optimize: bool,
    functions: list[tuple[str, str]],
    arguments: list[list[int]],
) -> None:
    parameters = ", ".join(f"{name}: {kind}" for name, kind in PARAMS.items())
    text = "".join(
        f"@guest\ndef f{index}({parameters}) -> {kind}:\n    return {expression}\n\n\n"
        for index, (kind, expression) in enumerate(functions)
    )
    folder: Path = tmp_path_factory.mktemp("arithmetic")
    machine = Machine(build(folder, text, "f0", optimize=["m"] if optimize else []))
    names: dict[str, object] = {}
    exec(PRELUDE + text, names)
    for values in arguments:
        typed = [getattr(lang, kind)(value) for kind, value in zip(PARAMS.values(), values, strict=True)]
        words: list[int] = []
        for kind, value in zip(PARAMS.values(), typed, strict=True):
            words += [int(value), int(value) >> 32] if TYPES[kind][0] == 64 else [int(value)]
        for index, (kind, expression) in enumerate(functions):
            expected = getattr(lang, kind)(names[f"f{index}"](*typed))  # type: ignore[operator]
            bits = TYPES[kind][0]
            mask = (1 << bits) - 1
            call = machine.call64 if bits == 64 else machine.call
            got = call(f"f{index}", *words) & mask
            assert got == int(expected) & mask, (expression, typed)
