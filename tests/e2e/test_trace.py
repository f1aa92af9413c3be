# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim run --trace`: what every CPU ran last."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]


def of_cpu(text: str, number: int) -> str:
    """One CPU's part of a trace."""
    return text.partition(f"CPU {number}: ")[2].partition("\nCPU ")[0]


def test_the_way_from_the_crash_point_to_purgatory_is_seen_and_the_run_is_the_same(crash: Crash) -> None:
    plain, traced = crash("FS_DEVRW", "panic"), crash("FS_DEVRW", "panic", "--trace", "20000")
    assert plain.result["vmcore"] == traced.result["vmcore"]
    text = of_cpu((traced.directory / "trace.txt").read_text(), 1)
    assert "basic blocks before the jump to purgatory, oldest first" in text
    places = [text.index(f"\n  {name}+0x0 ") for name in ("dtt_induce", "panic", "crash_kexec", "machine_kexec")]
    assert places == sorted(places)
    assert re.search(r"\n  panic\+0x0 +kdumpsim/kernel/core/panic.py:\d+\n +c0\w{6}  pushl %ebp\n", text)
    stopped = of_cpu((traced.directory / "trace.txt").read_text(), 0)
    assert "crash_nmi_callback" in stopped


def test_a_triple_fault_is_traced_to_the_fault_handler_that_trusts_current(crash: Crash) -> None:
    """LKDTT paper, listing 5: do_page_fault reads through `current`, which the overflow has destroyed."""
    run = crash("INT_HARDWARE_ENTRY", "overflow", "--trace", "64")
    text = (run.directory / "trace.txt").read_text()
    dead = of_cpu(text, 0)
    assert "before the machine's reset (triple fault on CPU 0)" in dead
    last = re.findall(r"^  (\w+)\+", dead, re.MULTILINE)[-1]
    assert last == "do_page_fault", dead[-800:]
    assert "no longer mapped" not in dead


def test_only_our_own_machine_can_be_traced(tmp_path: Path) -> None:
    words = ("run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--output", str(tmp_path / "dump"), "--trace")
    assert "machine qemu cannot be traced" in kdumpsim(*words, "8", "--machine", "qemu").stderr
    assert kdumpsim(*words, "-1").returncode == 2
    assert not (tmp_path / "dump").exists()
