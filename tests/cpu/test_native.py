# SPDX-License-Identifier: GPL-2.0-or-later
"""The hooks' machine code, its portable twin, and the proof of the context's layout."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cpu_box import Box

from kdumpsim.cpu import Exit, layout, listings, native

ASSEMBLE = """
import io, sys
import llvmlite.binding as llvm
from elftools.elf.elffile import ELFFile
llvm.initialize_all_targets(); llvm.initialize_all_asmprinters(); llvm.initialize_native_asmparser()
triple = "x86_64-unknown-linux-gnu"
lines = "".join(f'module asm "{line}"\\n' for line in sys.stdin.read().split("\\n"))
module = llvm.parse_assembly(f'target triple = "{triple}"\\n' + lines)
data = llvm.Target.from_triple(triple).create_target_machine().emit_object(module)
print(ELFFile(io.BytesIO(data)).get_section_by_name(".text").data().hex())
"""


@pytest.mark.parametrize("name", sorted(listings.LISTINGS))
def test_bytes_are_what_the_listing_assembles_to(name: str) -> None:
    listing, code = listings.LISTINGS[name]
    done = subprocess.run([sys.executable, "-c", ASSEMBLE], input=listing, text=True, capture_output=True)
    if "Unable to find target" in done.stderr or "No available targets" in done.stderr:
        pytest.skip("this LLVM has no x86-64 assembler")
    assert done.stdout.strip() == code, done.stderr


def test_layout_is_proven_at_start() -> None:
    offsets = layout.verify()
    assert offsets.is_int == offsets.error_code + 1


def test_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "EIP", layout.EIP + 1)
    with pytest.raises(layout.LayoutError, match="eip"):
        layout.verify.__wrapped__()


def test_portable_hooks_give_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "mov $100, %ecx\n1: call 2f\nloop 1b\nint $0x40\nhlt\n2: ret"

    def trace(box: Box) -> list[object]:
        box.vector(0x40)
        box.code(program)
        points: list[object] = []
        while (reason := box.cpu.run(37)) is Exit.LIMIT:
            points.append((box.cpu.retired, box.cpu.registers()))
        return [*points, reason, box.cpu.retired, box.cpu.registers()]

    fast = trace(Box())
    slow_hooks = native.portable_hooks()
    monkeypatch.setattr(native, "hooks", lambda: slow_hooks)
    assert trace(Box()) == fast
