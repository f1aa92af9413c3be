# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's and a program's debug data as a whole; llvm-dwarfdump and eu-elflint are the referees."""

from __future__ import annotations

import ast
import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kdumpsim import images
from kdumpsim.compiler.debuginfo import c_tag
from kdumpsim.compiler.modules import module_path, package_modules
from kdumpsim.vmcore.debuginfo import DebugInfo


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dwarf") / "vmlinux"
    path.write_bytes(images.kernel().elf)
    return path


@pytest.fixture(scope="module", params=["vmlinux", "savecore"])
def program(request: pytest.FixtureRequest, vmlinux: Path) -> Path:
    """The kernel, or a program of ring 3, as a file."""
    path = vmlinux.with_name(str(request.param))
    if path != vmlinux:
        path.write_bytes(images.user_program("/sbin/savecore"))
    return path


def test_llvm_finds_no_fault_in_the_debug_data(program: Path, require_tool: Callable[[str], str]) -> None:
    result = subprocess.run(
        [require_tool("llvm-dwarfdump"), "--verify", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:]
    assert result.stdout.endswith("No errors.\n")


def test_elflint_finds_no_fault_in_the_file(program: Path, require_tool: Callable[[str], str]) -> None:
    result = subprocess.run([require_tool("eu-elflint"), program], capture_output=True, text=True, check=False)
    assert result.stdout == "No errors\n"


def test_what_describes_frames_stands_before_the_frames(program: Path, require_tool: Callable[[str], str]) -> None:
    """lldb looks for an entry's CIE among those it has read: "unable to find CIE"."""
    shown = subprocess.run(
        [require_tool("readelf"), "--debug-dump=frames", program], capture_output=True, text=True, check=True
    ).stdout
    common = {int(match[1], 16) for match in re.finditer(r"^(\w+) \w+ f{8} CIE", shown, re.MULTILINE)}
    frames = re.findall(r"^(\w+) \w+ \w+ FDE cie=(\w+)", shown, re.MULTILINE)
    assert len(frames) > 20 > len(common)
    for at, cie in frames:
        assert int(cie, 16) in common
        assert int(cie, 16) < int(at, 16)


def test_each_string_is_there_once(program: Path) -> None:
    section = ELFFile(io.BytesIO(program.read_bytes())).get_section_by_name(".debug_str")
    strings = section.data().split(b"\0")[:-1]
    assert len(strings) == len(set(strings)) > 100


def test_every_function_has_lines(program: Path) -> None:
    """Those in assembly, too."""
    image = program.read_bytes()
    debug = DebugInfo(image)
    symbols = ELFFile(io.BytesIO(image)).get_section_by_name(".symtab").iter_symbols()
    functions = [symbol for symbol in symbols if symbol["st_info"]["type"] == "STT_FUNC"]
    assert len(functions) > 20
    for function in functions:
        for address in (function["st_value"], function["st_value"] + function["st_size"] - 1):
            assert debug.line(address) is not None, function.name


def test_elfutils_finds_a_functions_line_by_its_address(program: Path, require_tool: Callable[[str], str]) -> None:
    """One compiled function, and one in assembly."""
    names = ("panic", "common_interrupt") if program.name == "vmlinux" else ("main", "_start")
    shown = subprocess.run(
        [require_tool("eu-addr2line"), "-e", program, *names], capture_output=True, text=True, check=True
    ).stdout
    places = {
        "vmlinux": ("kernel/core/panic", "kernel/arch/i386/entry"),
        "savecore": ("userland/savecore", "userland/start"),
    }
    for line, file in zip(shown.splitlines(), places[program.name], strict=True):
        assert re.fullmatch(rf"\./kdumpsim/{file}\.py:\d+", line)


def test_an_embedded_structure_is_said_to_be_where_it_is_declared(
    vmlinux: Path, require_tool: Callable[[str], str]
) -> None:
    shown = subprocess.run(
        [require_tool("llvm-dwarfdump"), "--name", "list_head", vmlinux], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r'decl_file\s+\("(.*)"\)', shown)) == {"./kdumpsim/kernel/core/types.py"}


def test_a_tag_means_one_structure_in_the_whole_kernel() -> None:
    """A debugger takes the first definition that it finds for a name."""
    tags: dict[str, list[str]] = {}
    for name in package_modules("kdumpsim.kernel"):
        path = module_path(name)
        assert path is not None
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                tags.setdefault(c_tag(node.name), []).append(name)
    assert len(tags) > 100
    assert {tag: where for tag, where in tags.items() if len(where) > 1} == {}
