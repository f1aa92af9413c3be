# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim decode` on what runs have left."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]


def test_an_exception_is_shown_at_its_instruction_and_source_line(crash: Crash) -> None:
    text = kdumpsim("decode", str(crash("FS_DEVRW", "exception").directory)).stdout
    assert "Unable to handle kernel NULL pointer dereference" in text
    assert re.search(r"dtt_induce\+0x\w+ +kdumpsim/kernel/lkdtt/dtt.py:\d+\n +store_volatile\(", text), text
    assert re.search(r"=> c0\w{6}  a300000000 +movl %eax, 0\n", text), text
    assert re.search(r"ll_rw_block\+0x\w+ +kdumpsim/kernel/block/ll_rw_block.py:\d+\n", text), text
    assert "overwritten" not in text


def test_code_that_is_not_the_kernels_is_pointed_out(crash: Crash, tmp_path: Path) -> None:
    run = crash("FS_DEVRW", "exception")
    shutil.copy(run.directory / "vmlinux", tmp_path)
    (tmp_path / "console.log").write_text(run.console.replace("<a3>", "<cc>"))
    text = kdumpsim("decode", str(tmp_path)).stdout
    assert "these bytes are not those of vmlinux: the code had been overwritten" in text
    assert re.search(r"=> c0\w{6}  cc +int3", text), text


def test_a_panic_has_no_report(crash: Crash) -> None:
    done = kdumpsim("decode", str(crash("FS_DEVRW", "panic").directory))
    assert (done.returncode, done.stdout.startswith("No oops and no lockup")) == (0, True)


def test_a_directory_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    done = kdumpsim("decode", str(tmp_path))
    assert done.returncode == 2
    assert "kdumpsim run --output" in done.stderr
    (tmp_path / "console.log").write_text("")
    (tmp_path / "vmlinux").write_bytes(b"text")
    assert "no ELF file" in kdumpsim("decode", str(tmp_path)).stderr


@pytest.mark.parametrize("damage", [(32, b"\xff\xff\xff\x7f"), (46, b"\0\0"), (None, b"")])
def test_a_damaged_kernel_file_is_one_clear_message(
    crash: Crash, tmp_path: Path, damage: tuple[int | None, bytes]
) -> None:
    at, noise = damage
    image = bytearray((crash("FS_DEVRW", "exception").directory / "vmlinux").read_bytes())
    if at is None:
        del image[len(image) // 2 :]
    else:
        image[at : at + len(noise)] = noise
    (tmp_path / "vmlinux").write_bytes(image)
    shutil.copy(crash("FS_DEVRW", "exception").directory / "console.log", tmp_path)
    done = kdumpsim("decode", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "vmlinux: a damaged ELF file (" in done.stderr
    assert "Traceback" not in done.stderr
