# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest code of a test file: what is taken of it, and where errors point."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from kdumpsim.compiler import CompileError, compile_modules
from kdumpsim.compiler.guestpart import guest_part, has_guest_code, is_test_file

FILE = """\
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from kdumpsim.compiler.lang import Struct, guest, placed, u32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpsim.kernel.core.printk import printk

ROOT = Path(__file__)
LIMIT: Final = 8
HALF = LIMIT // 2
pytestmark = pytest.mark.kdump(cpus=4)


class Sample(Struct):
    taken: u32


class Case:
    taken = 0


sample: Sample = Sample()
seen: u32 = 0
timeout: float = 2.5


@pytest.fixture
def limit() -> Iterator[int]:
    yield LIMIT


@guest
def take(count: u32) -> u32:
    limit = count // HALF
    sample.taken += limit
    printk(f"took {limit}\\n")
    return limit


def test_take(limit: int) -> None:
    assert take(limit) and os.path.exists(ROOT)
"""


def test_marked_code_is_taken_and_what_it_uses() -> None:
    tree = ast.parse(FILE)
    assert is_test_file(tree)
    part = guest_part(tree, lambda node: str(node.module).startswith("kdumpsim."))
    taken = [ast.unparse(node).splitlines()[0] for node in part.body]
    assert taken == [
        "from kdumpsim.compiler.lang import Struct, guest, u32",
        "from kdumpsim.kernel.core.printk import printk",
        "LIMIT: Final = 8",
        "HALF = LIMIT // 2",
        "class Sample(Struct):",
        "sample: Sample = Sample()",
        "@guest",
    ]
    assert part.body[-1].lineno == FILE[: FILE.index("def take")].count("\n") + 1


def test_a_guest_module_is_taken_whole() -> None:
    guest = "from kdumpsim.compiler.lang import guest\n\n@guest\ndef test_and_set() -> None:\n    pass\n"
    assert not is_test_file(ast.parse(guest))
    assert is_test_file(ast.parse("def test_it(kdump):\n    pass\n"))
    assert is_test_file(ast.parse("class TestIt:\n    pass\n"))
    assert is_test_file(ast.parse("from pytest import mark\n"))
    assert [has_guest_code(text) for text in (guest, FILE, "import kdumpsim.compiler.lang\n", "def f(:")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("line", "message", "at"),
    [
        ("os.getpid()", "unknown name os", "os.getpid()"),
        ("helper()", "a guest function needs @guest", "def helper"),
        ("limit += 0.5", "", "limit += 0.5"),
    ],
)
def test_errors_point_into_the_test_file(line: str, message: str, at: str, tmp_path: Path) -> None:
    text = FILE.replace("    sample.taken += limit\n", f"    {line}\n") + "\n\ndef helper():\n    pass\n"
    (tmp_path / "test_it.py").write_text(text)
    with pytest.raises(CompileError) as caught:
        compile_modules([], extra_sources={"test_it": tmp_path / "test_it.py"})
    first = caught.value.diagnostics[0]
    assert message in first.message
    assert (first.path, first.line) == (str(tmp_path / "test_it.py"), text[: text.index(at)].count("\n") + 1)
