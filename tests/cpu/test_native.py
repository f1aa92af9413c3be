# SPDX-License-Identifier: GPL-2.0-or-later
"""The hooks' machine code, its portable twin, and the proof of the context's layout."""

from __future__ import annotations

import ctypes
import random
import subprocess
import sys

import pytest
from cpu_box import Box

from kdumpsim.cpu import Exit, layout, listings, native, sites

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


@pytest.mark.skipif(not native.hooks().compiled, reason="no machine code here")
def test_a_build_that_keeps_its_state_elsewhere_gets_portable_hooks_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kdumpsim")
    found = native.hooks()
    elsewhere = dict(found.addresses, locate=found.addresses["go_on"])
    monkeypatch.setattr(native, "_machine_code", lambda: native.Hooks(elsewhere, found))
    assert not native.hooks.__wrapped__().compiled
    assert "keeps the CPU's state elsewhere" in caplog.text


@pytest.mark.skipif(not native.hooks().compiled, reason="no machine code here")
def test_python_is_asked_about_no_block_but_those_that_may_hold_a_site() -> None:
    """It costs 10 us a block, and most blocks end in bytes like those of a far jump: CLI, MOV, CALL."""
    code, asked = b"", []

    def read(_uc: int, _address: int, _access: int, buffer: int, size: int) -> int:
        ctypes.memmove(buffer, code, size)
        return 0

    reader, address = native.callback(
        ctypes.CFUNCTYPE(
            ctypes.c_int, *[ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p], ctypes.c_size_t
        ),
        read,
    )
    suspect, callback = native.callback(sites._SUSPECT, lambda uc, address, size: asked.append(size))
    shared = native.Slice()
    shared.vmem_read, shared.suspect = address, callback
    translated = sites._TRANSLATED(native.hooks().addresses["translated"])
    rng = random.Random(1)
    likely = bytes.fromhex("9aeaffcf0f01c7053032333418289058fae8")
    for _ in range(5000):
        code = bytes(
            rng.choice(likely) if rng.random() < 0.6 else rng.randrange(256) for _ in range(rng.randint(1, 20))
        )
        asked.clear()
        block = sites._Block(0x1000, 1, len(code))
        translated(None, ctypes.byref(block), None, ctypes.addressof(shared))
        if any(sites.candidates(code)):
            assert asked == [len(code)], code.hex()
        elif asked:
            assert b"\x0f\xc7" in code or 0x0F in code[-2:], code.hex()
    del reader, suspect  # they had to live until here
