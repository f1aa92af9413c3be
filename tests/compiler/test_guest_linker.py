# SPDX-License-Identifier: GPL-2.0-or-later
"""The linker, the relocator and the assembler."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from guest_machine import BASE, PRELUDE, Machine, build

from kdumpsim.compiler import ObjectFile, compile_modules
from kdumpsim.compiler.assembler import AssembleError, assemble, assemble_with_symbols
from kdumpsim.compiler.elf import ElfError, read_object, relocate_object
from kdumpsim.compiler.linker import Layout, LinkError, link

TEXT = """
table: array[u32] = [1, 2, 3]
zeroes: array[u8] = length(5000, align=4096)
mark: u32 = placed("marks", 5)
message: cstr = "text"
kallsyms_num_syms: u32 = external()
kallsyms_addresses: array[u32] = external()
kallsyms_names: array[u8] = external()
_end: array[u8] = external()
__start_marks: array[u32] = external()


@guest
def main(n: u32) -> u32:
    return helper(n) + table[1]


@guest
def helper(n: u32) -> u32:
    return n * 2


@guest
def symbols() -> u32:
    return kallsyms_num_syms


@guest
def symbol_address(index: u32) -> u32:
    return kallsyms_addresses[index]


@guest
def end() -> u32:
    return u32(_end)


@guest
def first_mark() -> u32:
    return __start_marks[0]


module_asm('''
.section .head.text, "ax"
.globl head
head:
    jmp main
''')
"""


def objects(folder: Path, **texts: str) -> list[ObjectFile]:
    extra = {}
    for name, text in texts.items():
        extra[name] = folder / f"{name}.py"
        extra[name].write_text(PRELUDE + text)
    return compile_modules([], extra_sources=extra)


def test_addresses_and_program_headers(tmp_path: Path) -> None:
    image = link(objects(tmp_path, m=TEXT), Layout(0xC0100000, 0x100000, "head", kallsyms=True))
    elf = ELFFile(io.BytesIO(image.elf))
    assert elf["e_type"] == "ET_EXEC"
    assert elf["e_machine"] == "EM_386"
    assert image.symbols["head"] == image.symbols["_text"] == 0xC0100000
    assert elf["e_entry"] == 0x100000
    loads = list(elf.iter_segments())
    assert [segment["p_flags"] for segment in loads] == [5, 4, 6]
    for segment in loads:
        assert segment["p_vaddr"] - segment["p_paddr"] == 0xC0000000
        assert segment["p_vaddr"] % 4096 == segment["p_offset"] % 4096
        assert segment["p_vaddr"] % 4096 == 0
    last = loads[-1]
    assert last["p_vaddr"] + last["p_memsz"] in (image.symbols["_end"], image.symbols["__bss_stop"])
    assert last["p_memsz"] - last["p_filesz"] >= 5000
    order = [
        "_text",
        "_etext",
        "__start_rodata",
        "__end_rodata",
        "_sdata",
        "_edata",
        "__bss_start",
        "__bss_stop",
        "_end",
    ]
    assert [image.symbols[name] for name in order] == sorted(image.symbols[name] for name in order)
    table = {s.name: s for s in elf.get_section_by_name(".symtab").iter_symbols()}
    assert table["main"]["st_value"] == image.symbols["main"]
    assert table["main"]["st_info"]["type"] == "STT_FUNC"
    assert table["main"]["st_size"] > 0
    assert image.symbols["__start_marks"] == image.symbols["mark"] == image.symbols["__stop_marks"] - 4
    assert link(objects(tmp_path, m=TEXT), Layout(0xC0100000, 0x100000, "head", True, False)).elf[24:28] == struct.pack(
        "<I", 0xC0100000
    )


def test_a_relocatable_image_is_moved_by_its_table(tmp_path: Path) -> None:
    """Every word of the table, raised by the distance, makes the image that is linked there."""

    def memory(at: int) -> tuple[dict[int, bytes], dict[str, int]]:
        layout = Layout(BASE + at, BASE + at, "main", kallsyms=True, relocatable=True)
        image = link(objects(tmp_path, m=TEXT), layout)
        elf = ELFFile(io.BytesIO(image.elf))
        assert elf["e_type"] == "ET_DYN"
        return {s["p_vaddr"] - at: s.data() for s in elf.iter_segments()}, dict(image.symbols)

    (here, symbols), (there, _) = memory(0), memory(0x50000)
    start, stop = symbols["__start_relocs"], symbols["__stop_relocs"]
    assert stop > start
    spots = {}
    for base, data in here.items():
        for address in range(base, base + len(data) - 3):
            spots[address] = data[address - base : address - base + 4]
    words = struct.unpack(f"<{(stop - start) // 4}I", b"".join(spots[at] for at in range(start, stop, 4)))
    assert list(words) == sorted(set(words))
    for base, data in here.items():
        moved = bytearray(data)
        for word in (*words, *range(start, stop, 4)):
            if base <= word < base + len(data):
                (value,) = struct.unpack_from("<I", moved, word - base)
                struct.pack_into("<I", moved, word - base, value + 0x50000)
        assert moved == there[base], hex(base)


def test_stripped_images_load_the_same(tmp_path: Path) -> None:
    image = link(objects(tmp_path, m=TEXT), Layout(BASE, BASE, "main"))
    full, small = ELFFile(io.BytesIO(image.elf)), ELFFile(io.BytesIO(image.stripped()))
    assert [s.data() for s in full.iter_segments()] == [s.data() for s in small.iter_segments()]
    assert [s["p_paddr"] for s in full.iter_segments()] == [s["p_paddr"] for s in small.iter_segments()]
    assert small.get_section_by_name(".symtab") is None
    assert not any(s.name.startswith(".debug") for s in small.iter_sections())
    assert len(image.stripped()) < len(image.elf)


def test_a_build_id_names_the_contents(tmp_path: Path) -> None:
    layout = Layout(BASE, BASE, "main", build_id=True)
    images = [link(objects(tmp_path, m=text), layout) for text in (TEXT, TEXT, TEXT.replace("n * 2", "n * 3"))]
    ids = []
    for image in images:
        for data in (image.elf, image.stripped()):
            elf = ELFFile(io.BytesIO(data))
            (note,) = elf.get_section_by_name(".note.gnu.build-id").iter_notes()
            (segment,) = (s for s in elf.iter_segments() if s["p_type"] == "PT_NOTE")
            assert [n["n_desc"] for n in segment.iter_notes()] == [note["n_desc"]]
            assert (note["n_type"], len(note["n_desc"])) == ("NT_GNU_BUILD_ID", 40)
            ids.append(note["n_desc"])
        assert image.symbols["__stop_notes"] - image.symbols["__start_notes"] == 36
    assert ids[0] == ids[1] == ids[2] == ids[3] != ids[4] == ids[5]
    assert images[0].elf[7] == 3


def test_a_constant_condition_chooses_an_initialiser(tmp_path: Path) -> None:
    text = (
        'WIDE = 1\nname: array[u8] = b"wide" if WIDE else b"no"\n\n@guest\ndef main() -> u32:\n    return len(name)\n'
    )
    assert Machine(link(objects(tmp_path, m=text), Layout(BASE, BASE, "main"))).call("main") == 4


def test_kallsyms(tmp_path: Path) -> None:
    image = link(objects(tmp_path, m=TEXT), Layout(BASE, BASE, "main", kallsyms=True))
    machine = Machine(image)
    count = machine.call("symbols")
    addresses = [machine.call("symbol_address", index) for index in range(count)]
    assert addresses == sorted(addresses)
    names = machine.read(image.symbols["kallsyms_names"], 500).split(b"\0")[:count]
    found = dict(zip(names, addresses, strict=True))
    assert found[b"main"] == image.symbols["main"]
    assert {b"head", b"main", b"helper", b"symbols", b"symbol_address", b"end", b"first_mark"} == set(found)
    assert machine.call("end") == image.symbols["_end"]
    empty = Machine(link(objects(tmp_path, m=TEXT), Layout(BASE, BASE, "main")))
    assert empty.call("symbols") == 0


def test_undefined_and_duplicate_symbols_are_all_named(tmp_path: Path) -> None:
    one = "@extern\ndef missing() -> None: ...\n@guest\ndef f() -> None:\n    missing()\nlost: u32 = external()\n"
    one += "@guest\ndef same() -> u32:\n    return lost\n"
    two = "@guest\ndef same() -> u32:\n    return 0\n"
    with pytest.raises(LinkError) as caught:
        link(objects(tmp_path, one=one, two=two), Layout(BASE, BASE, "nowhere"))
    message, lines = str(caught.value), PRELUDE.count("\n")
    assert "symbol same is defined in one and in two" in message
    assert f"undefined symbol missing, used in one:f (one.py:{lines + 5})" in message
    assert f"undefined symbol lost, used in one:same (one.py:{lines + 9})" in message
    assert "entry symbol nowhere is not defined" in message


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        results.append(build(folder, TEXT, "main").elf)
    assert results[0] == results[1]
    assert str(tmp_path).encode() not in results[0]


def test_relocating_one_object(tmp_path: Path) -> None:
    text = (
        "@guest\ndef f(n: u32) -> u32:\n    return g(n) + table[2]\n@guest\ndef g(n: u32) -> u32:\n    return n + 1\n"
    )
    (obj,) = objects(tmp_path, m="table: array[u32] = [4, 5, 6]\n" + text)
    memory, symbols = relocate_object(obj.data, 0x200000)
    assert symbols["f"] >= 0x200000
    machine = Machine(link([obj], Layout(BASE, BASE, "f")))
    machine.uc.mem_write(0x200000, memory)
    machine.symbols = symbols
    assert machine.call("f", 10) == 17
    bad = objects(tmp_path, m="@extern\ndef far() -> u32: ...\n@guest\ndef f() -> u32:\n    return far()\n")[0]
    with pytest.raises(ElfError, match="undefined symbol 'far'"):
        relocate_object(bad.data, 0x1000)
    assert relocate_object(bad.data, 0x1000, {"far": 0x5000})[1]["f"] == 0x1000


def test_what_is_no_object_is_refused() -> None:
    for data in (b"", b"\x7fELF" + bytes(60), b"MZ" + bytes(100)):
        with pytest.raises(ElfError):
            read_object(data)


def test_assembler() -> None:
    code = assemble(".code16\nmov %cs, %ax\nljmpl $8, $1f\n.code32\n1: call 1b\nmovl far, %eax", 0x7000, {"far": 0x55})
    assert code.hex() == "8cc8" + "66ea0a7000000800" + "e8fbffffff" + "a155000000"
    assert assemble_with_symbols("start: nop\n.data\nword: .long start", 0x1000) == (
        b"\x90\0\x10\0\0",
        {"start": 0x1000, "word": 0x1001},
    )
    with pytest.raises(AssembleError, match="invalid instruction mnemonic"):
        assemble("bogus %eax")
    with pytest.raises(ElfError, match="does not fit"):
        assemble(".byte 1f\n1:", 0x1000)
    assert assemble("nop") == b"\x90"


LEVELS = """
__start_calls: array[u32] = external()
__stop_calls: array[u32] = external()


@guest
def main(n: u32) -> u32:
    entry: ptr[u32] = __start_calls
    seen: u32 = 0
    while entry < __stop_calls:
        seen = seen * 10 + entry[0]
        entry += 1
    return seen
"""


def test_a_table_is_in_the_order_of_its_levels(tmp_path: Path) -> None:
    """Whatever level somebody uses is run, and within a level the modules' order holds."""
    late = 'f: u32 = placed("calls7", 8)\ng: u32 = placed("calls2", 2)\n'
    early = 'h: u32 = placed("calls3", 3)\ni: u32 = placed("calls0", 1)\nj: u32 = placed("calls7", 7)\n'
    machine = Machine(link(objects(tmp_path, m=LEVELS, late=late, early=early), Layout(BASE, BASE, "main")))
    assert machine.call("main", 0) == 12378


@pytest.mark.parametrize("section", ["call3", "calls33", "callz"])
def test_a_table_that_no_code_reads_is_an_error(tmp_path: Path, section: str) -> None:
    late = f'f: u32 = placed("{section}", 7)\ng: u32 = placed("calls2", 2)\n'
    with pytest.raises(LinkError, match=rf"no code reads section {section} \(late\)"):
        link(objects(tmp_path, m=LEVELS, late=late), Layout(0xC0100000, 0x100000, "main"))
