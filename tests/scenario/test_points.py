# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash points and types as the host reads them from the kernel's ELF file; the referee is the file's own DWARF."""

from __future__ import annotations

import ast
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from elftools.elf.elffile import ELFFile

from kdumpsim import images
from kdumpsim.cli import main
from kdumpsim.compiler import CompileError
from kdumpsim.explain.pictures.parts import RESOURCE
from kdumpsim.mechanisms.base import DUMP_MECHANISM
from kdumpsim.mechanisms.loaded import IMAGE, SEGMENT
from kdumpsim.runs.run import power_on
from kdumpsim.runs.timeline import THREAD_INFO
from kdumpsim.scenario import points
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import StructLayout

KERNEL = Path(str(files("kdumpsim") / "kernel"))
HOOK = """
from kdumpsim.compiler.lang import addr, guest, placed
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

MINE: CrashPoint = placed("cpoints", CrashPoint(name="MINE", help="mine: nowhere", load="none"))


@guest
def mine() -> None:
    cpoint(addr(MINE))
"""


def structure(name: str) -> tuple[int, dict[str, int]]:
    """Size and offsets of fields of a structure, as gdb would see them."""
    for unit in ELFFile(io.BytesIO(images.kernel().elf)).get_dwarf_info().iter_CUs():
        for die in unit.iter_DIEs():
            named: Any = die.attributes.get("DW_AT_name")
            if die.tag == "DW_TAG_structure_type" and named and named.value == name.encode() and die.has_children:
                fields = {
                    child.attributes["DW_AT_name"].value.decode(): child.attributes["DW_AT_data_member_location"].value
                    for child in die.iter_children()
                }
                return die.attributes["DW_AT_byte_size"].value, fields
    raise LookupError(name)


@pytest.mark.parametrize(
    "layout",
    [points.CRASH_POINT, points.CRASH_TYPE, points.WORKLOAD, DUMP_MECHANISM, SEGMENT, RESOURCE],
    ids=lambda layout: layout.name,
)
def test_a_layout_is_the_kernels(layout: StructLayout) -> None:
    size, fields = structure(layout.name)
    places = {name.removesuffix("[0]"): offset for name, offset in layout.offsets.items()}
    assert {name: places[name] for name in fields} == fields
    assert layout.form.size == size


@pytest.mark.parametrize("layout", [IMAGE, THREAD_INFO], ids=lambda layout: layout.name)
def test_a_layout_is_how_the_kernels_begins(layout: StructLayout) -> None:
    size, fields = structure(layout.name)
    assert {name: fields[name] for name in layout.fields} == layout.offsets
    assert layout.form.size <= size
    if layout is IMAGE:
        assert layout.form.size == fields["segment"]


def test_every_place_in_the_source_is_a_point_and_every_point_has_a_place() -> None:
    crossed = set()
    for path in KERNEL.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="cpoint"), args=[ast.Name(id=name)]):
                    crossed.add(name)
    assert crossed == set(points.crash_points())


def test_points_say_what_they_need() -> None:
    known = points.crash_points()
    assert known["MEM_SWAPOUT"].load == "memdrain"
    assert known["IDE_CORE_CP"].dynamic == 50
    assert dict(known["IDE_CORE_CP"].needs) == {"combined_mode": "ide"}
    assert points.aliases(known) == {"FS_SUBMIT_BH": "FS_DEVRW", "SCSI_QUEUE_RQ": "SCSI_DISPATCH_CMD"}
    assert points.aliases(points.crash_types()) == {"bug": "oops", "loop": "hang"}
    assert all(entry.help for entry in [*known.values(), *points.crash_types().values()])


def test_a_users_module_brings_its_points(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HOOK)
    scenario = Scenario("MINE", "panic", guest_modules=(str(path),))
    assert scenario.load == ()
    assert f"--guest-module {path}" in scenario.command()
    before = scenario.boot_key()
    path.write_text(HOOK.replace("nowhere", "somewhere"))
    assert scenario.boot_key() == before
    assert Scenario("MINE", "panic", guest_modules=(str(path),)).boot_key() != before
    with pytest.raises(ScenarioError, match="MINE"):
        Scenario("MINE", "panic")


def test_a_broken_module_is_a_compile_error_that_points_into_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HOOK.replace("cpoint(addr(MINE))", "cpoint(7.5)"))
    with pytest.raises(CompileError, match=rf"{path}:10:12: error"):
        Scenario("MINE", "panic", guest_modules=(str(path),))


def test_a_module_that_is_not_utf_8_is_a_compile_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(b"# caf\xe9\n" + HOOK.encode())
    with pytest.raises(CompileError, match=rf"{path}:1:1: error: this is not UTF-8"):
        Scenario("MINE", "panic", guest_modules=(str(path),))


def test_a_scenario_outlives_the_files_of_its_modules(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HOOK)
    scenario = Scenario("MINE", "panic", guest_modules=(str(path),))
    path.unlink()
    assert scenario.point.help == "mine: nowhere"
    assert scenario.to_dict()["guest_modules"] == [str(path)]
    assert f"--guest-module {path}" in scenario.command()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.py", "no such file"),
        ("my-driver.py", "identifier"),
        ("driver.c", "Python file"),
        ("kdumpsim.py", "taken"),
    ],
)
def test_files_that_cannot_be_modules(tmp_path: Path, name: str, message: str) -> None:
    if name != "absent.py":
        (tmp_path / name).write_text("")
    with pytest.raises(ScenarioError, match=message):
        Scenario("FS_DEVRW", "panic", guest_modules=(str(tmp_path / name),))


def test_a_name_that_is_taken_is_refused_with_both_places(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HOOK.replace('"MINE"', '"FS_DEVRW"'))
    message = r"^mine.py:5: FS_DEVRW is a crash point already, of kdumpsim/kernel/block/ll_rw_block.py:\d+; rename it"
    with pytest.raises(ScenarioError, match=message):
        Scenario("FS_DEVRW", "panic", guest_modules=(str(path),))
    with pytest.raises(ScenarioError, match=message):  # as the console does, which names no point
        power_on(PcPart(), KernelPart(guest_modules=(str(path),)))
    path.write_text(HOOK.replace("load=", 'alias="TIMERADD", load='))
    with pytest.raises(ScenarioError, match=r"^mine.py:5: TIMERADD is a crash point already"):
        Scenario("MINE", "panic", guest_modules=(str(path),))


def test_more_points_than_there_are_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    more = points.MAX_ID - len(points.crash_points())
    points_ = "".join(
        f'MINE{number}: CrashPoint = placed("cpoints", CrashPoint(name="MINE{number}", help="mine"))\n'
        for number in range(more)
    )
    path.write_text(HOOK + points_)
    with pytest.raises(ScenarioError, match=r"^mine.py:\d+: the kernel would have 64 crash points; it has ids for 63"):
        Scenario("MINE", "panic", guest_modules=(str(path),))


@pytest.mark.parametrize("words", [["--help", "--guest-module"], ["--guest-module"]])
def test_help_shows_a_modules_points(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HOOK)
    done = CliRunner().invoke(main, ["run", *words, str(path), "--help"])
    assert done.exit_code == 0, done.output
    assert "mine: nowhere" in done.output
    assert "mine: nowhere" not in CliRunner().invoke(main, ["run", "--help"]).output
