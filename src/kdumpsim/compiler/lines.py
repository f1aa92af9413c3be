# SPDX-License-Identifier: GPL-2.0-or-later
"""Source lines of a relocatable object's code, for complaints about it."""

from __future__ import annotations

from io import BytesIO


def source_line(data: bytes, offset: int) -> str | None:
    """``file.py:12`` of the code at `offset` in an object's .text; None where its debug data have no line for it."""
    from elftools.elf.elffile import ELFFile  # a complaint's only: builds do without

    dwarf = ELFFile(BytesIO(data)).get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        before = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if before is not None and before.address <= offset < state.address:
                name = program["file_entry"][before.file - (program["version"] < 5)].name
                return f"{name.decode()}:{before.line}"
            before = None if state.end_sequence else state
    return None
