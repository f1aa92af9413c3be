# SPDX-License-Identifier: GPL-2.0-or-later
"""What depends on the guest's architecture is in target.py (and compiler/target.py) alone; the PC itself is an i386."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from kdumpsim import target

ROOT = Path(str(files("kdumpsim")))
PC = {"cpu", "apic", "board", "machines"}
"""The machine and QEMU's: registers, APICs and ports of x86, by manuals that target.py does not replace."""
GUESTS = {"kernel", "purgatory", "userland"}
FORMATS = {
    "agent/client.py": "the agent's protocol",
    "disks/dumpdisk.py": "the dump's header",
    "disks/swaparea.py": "the swap area's header",
    "disks/toyfs.py": "the file system",
    "kexec/bootparams.py": "Multiboot",
    "kexec/image.py": "e_type and e_machine, the same in both ELF classes",
    "vmcore/lkcd.py": "LKCD's headers",
    "vmcore/reader.py": "the head of an ELF note, the same in both ELF classes",
    "images.py": "the cache's own files",
    "debugger/channel.py": "messages between this program's processes",
}
"""Modules that pack bytes of a format which is no matter of the guest's word, and which; beside `vmcore/formats/`."""
REGISTERS = re.compile(r"\b[er](ax|bx|cx|dx|si|di|bp|sp|ip|flags)\b", re.I)
REGISTER_NAMES = {
    "faults/text.py": "changes machine code of x86, whose encodings name registers by number",
    "commands/boot.py": "looks at the PC's interrupt flag, whatever kernel runs on it",
    "kexec/purgatory.py": "what Multiboot has a kernel find in EAX and EBX",
    "debugger/description.py": "the registers that gdb's i386 target has, in its order",
    "vmcore/registers.py": "`eip` is a name of result.json and of the public RegisterCheck",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Host modules outside the PC and the compiler, and what declares the architecture."""
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.split("/")[0] not in PC | GUESTS | {"compiler"} and name != "target.py":
            yield name, ast.parse(path.read_text())


def docstrings(tree: ast.Module) -> set[int]:
    """The strings that are statements of their own."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_words_are_packed_by_the_targets_format() -> None:
    """`<I` and its like are for formats that are what they are on every machine."""
    users = set()
    for name, tree in modules():
        prose = docstrings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                if re.fullmatch(r"[<>=!@](\d*[BbHhIiLlQqsx])+", node.value):
                    users.add(name)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cast":
                users.add(f"{name}: cast")
    assert {name for name in users if not name.startswith("vmcore/formats/")} == set(FORMATS)


def test_addresses_and_sizes_of_the_architecture_are_named() -> None:
    wrong = [
        f"{name}:{node.lineno}: {node.value:#x}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in (target.PAGE_OFFSET, target.LOWMEM_END)
    ]
    pages = [
        f"{name}:{node.lineno}: PAGE_SIZE"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "PAGE_SIZE" and isinstance(node.ctx, ast.Store)
    ]
    assert not wrong + pages


def test_addresses_are_printed_as_wide_as_the_target_has_them() -> None:
    wide = [
        f"{name}:{node.lineno}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and node.format_spec and "'08x'" in ast.dump(node.format_spec)
    ]
    assert {place.split(":")[0] for place in wide} == {"kexec/iomem.py"}  # /proc/iomem has 8 digits on x86_64, too


def test_registers_are_named_by_the_target() -> None:
    named = set()
    for name, tree in modules():
        prose = docstrings(tree)
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
                    found = text
                case ast.Constant(value=str(text)) if id(node) not in prose:
                    found = text
                case _:
                    continue
            if REGISTERS.search(found):
                named.add(name)
    assert named == set(REGISTER_NAMES)


@pytest.mark.parametrize(
    ("name", "mask"), [("cs", 0xFFFF), ("eax", 0xFFFFFFFF), ("eflags", 0xFFFEFFFF)]
)  # SDM vol. 3, 18.3.1.1: RF
def test_what_of_a_register_counts(name: str, mask: int) -> None:
    assert target.significant_bits(name) == mask


def test_a_layout_is_padded_as_the_compiler_pads() -> None:
    layout = target.StructLayout("mixed", {"first": "u32", "second": "word", "third": "u32"})
    word = target.TARGET.word
    assert layout.offsets == {"first": 0, "second": word, "third": 2 * word}
    assert layout.form.size == 2 * word + max(word, 4)
    one = layout.form.pack(1, 2, 3)
    assert list(layout.entries(one + one)) == [{"first": 1, "second": 2, "third": 3}] * 2
