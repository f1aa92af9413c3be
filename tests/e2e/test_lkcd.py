# SPDX-License-Identifier: GPL-2.0-or-later
"""LKCD: the dump it takes, as its readers read it, and what becomes of it where the crashing kernel cannot be trusted.

One boot, of the older of the paper's kernels; each crash is a copy of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kdumpsim import images
from kdumpsim.agent.errors import AgentError
from kdumpsim.board.machine import Machine
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.mechanisms.lkcd import DEVICE, Lkcd
from kdumpsim.runs.account import outcome_of
from kdumpsim.runs.forking import Booted
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import power_on, prepare, start
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import PAGE_SIZE
from kdumpsim.vmcore.lkcd import FIRST_PAGE, LkcdCore, read_header
from kdumpsim.vmcore.reader import FileStorage, VmcoreError

PYTHON = "/usr/bin/python3"
"""The one that Debian's bindings are for."""
PAGES = [*range(160), *range(256, 2048)]
"""The first 8 MiB of RAM, without the hole below 1 MiB."""
KDUMPFILE = f"""
import hashlib, json, sys
from kdumpfile import KDUMP_MACHPHYSADDR, kdumpfile
dump = kdumpfile(sys.argv[1])
memory = b"".join(dump.read(KDUMP_MACHPHYSADDR, page * {PAGE_SIZE}, {PAGE_SIZE}) for page in {PAGES})
print(json.dumps([dump.attr["file.description"], dump.attr["linux.uts.release"], hashlib.sha256(memory).hexdigest()]))
"""


def scenario(point: str = "FS_DEVRW", kind: str = "panic", **more: Any) -> Scenario:
    return Scenario(point, kind, mechanism="lkcd", profile="2.6.13-rc7", **more)


@pytest.fixture(scope="module")
def booted() -> Booted:
    return Booted(scenario())


Crashed = Callable[..., tuple[Result, Path]]


@pytest.fixture(scope="module")
def crashed(booted: Booted, tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    """`crashed(point, kind)`: the result of that crash, and the directory with its files."""
    done: dict[Scenario, tuple[Result, Path]] = {}

    def crash(*words: str, **more: Any) -> tuple[Result, Path]:
        wanted = scenario(*words, **more)
        if wanted not in done:
            directory = tmp_path_factory.mktemp("lkcd")
            prepare(directory)
            done[wanted] = booted.again(wanted, directory), directory
        return done[wanted]

    return crash


def said(directory: Path) -> str:
    return (directory / "console.log").read_text()


def test_a_panic_is_dumped_and_the_machine_restarts(crashed: Crashed) -> None:
    result, directory = crashed()
    assert str(result.outcome) == "O"
    assert [phase.name for phase in result.phases] == ["boot", "load", "arm", "crash", "save", "restart", "judge"]
    assert "the machine reset" in result.outcome.timeline[-1].text
    assert said(directory).index("Kernel panic") < said(directory).index("LKCD: Dumping to block device sda on CPU 1")
    assert said(directory).endswith("Rebooting in 5 seconds..")


def test_every_page_is_as_it_was_when_the_disk_read_it_and_every_cpu_as_the_machine_saw_it(crashed: Crashed) -> None:
    result, _ = crashed()
    assert result.judgement is not None
    assert (result.judgement.completeness, result.judgement.accuracy) == (1, 1)
    assert result.judgement.registers_ok, result.judgement.registers
    # No picture at one instant would do: the kernel went on living while it wrote.
    assert result.judgement.handed


def test_libkdumpfile_reads_it(crashed: Crashed) -> None:
    _, directory = crashed()
    asked = subprocess.run([PYTHON, "-c", "import kdumpfile"], capture_output=True, check=False)
    if asked.returncode:
        if os.environ.get("CI"):
            pytest.fail("python3-libkdumpfile is not installed, and CI must have it")
        pytest.skip("python3-libkdumpfile is not installed")
    done = subprocess.run(
        [PYTHON, "-c", KDUMPFILE, str(directory / "vmcore")], capture_output=True, text=True, timeout=300, check=True
    )
    with LkcdCore("vmcore", FileStorage(directory / "vmcore")) as core:
        memory = b"".join(core.read_physical(page * PAGE_SIZE, PAGE_SIZE) for page in PAGES)
    assert json.loads(done.stdout) == ["Linux Kernel Crash Dump v8", "2.6.16-toy", hashlib.sha256(memory).hexdigest()]


def test_crash_reads_it(crashed: Crashed, i386_tool: Callable[[str], str], tmp_path: Path) -> None:
    _, directory = crashed()
    script = tmp_path / "questions"
    script.write_text("sys\nlog\nps\nbt\nquit\n")
    words = [i386_tool("crash"), "-i", str(script), str(directory / "vmlinux"), str(directory / "vmcore")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    for words_said in ("LKDTT: crash point FS_DEVRW", "LKCD: Dumping to block device sda", "[kswapd0]", "ll_rw_block"):
        assert words_said in done.stdout


def test_it_is_the_format_that_the_header_says(crashed: Crashed) -> None:
    _, directory = crashed()
    storage = FileStorage(directory / "vmcore")
    header = read_header(storage)
    assert header is not None
    assert (header.panic_string, header.cpus, header.dumping_cpu) == ("LKDTT: crash point FS_DEVRW", 2, 1)
    assert header.size == storage.size
    assert storage.read(FIRST_PAGE, 16) == (0).to_bytes(8, "little") + (4096).to_bytes(4, "little") + b"\1\0\0\0"


def test_a_dump_that_is_cut_off_is_refused(crashed: Crashed, tmp_path: Path) -> None:
    _, directory = crashed()
    whole = (directory / "vmcore").read_bytes()
    for size, why in ((len(whole) // 2, "cut off"), (100, "not a whole LKCD dump")):
        (tmp_path / "part").write_bytes(whole[:size])
        with pytest.raises(VmcoreError, match=why):
            LkcdCore("part", FileStorage(tmp_path / "part"))
    begun = bytearray(whole[:PAGE_SIZE])
    begun[48:52] = bytes(4)  # the number of pages, which is written last
    (tmp_path / "part").write_bytes(begun)
    with pytest.raises(VmcoreError, match="not a whole LKCD dump"):
        LkcdCore("part", FileStorage(tmp_path / "part"))


def test_a_disk_that_waits_for_a_command_never_sent_takes_no_dump(crashed: Crashed) -> None:
    """SCSI_DISPATCH_CMD: the device is busy with the command on whose way the crash lay, and takes no other."""
    result, directory = crashed("SCSI_DISPATCH_CMD", "panic", patience=5)
    assert (str(result.outcome), result.outcome.captured) == ("X", False)
    assert "began to write the dump and did not come to its end" in result.outcome.reason
    assert "the machine reset" not in result.outcome.timeline[-1].text
    assert "LKCD: Dumping to block device" in said(directory)


def test_a_task_that_dies_in_task_context_is_dumped_at_its_oops(crashed: Crashed) -> None:
    """kdump lets an oops that can be survived pass; LKCD dumps at every oops."""
    result, directory = crashed("FS_DEVRW", "bug")
    assert str(result.outcome) == "O"
    assert "kernel BUG at" in said(directory)


@pytest.mark.nightly
def test_the_restart_hangs_if_another_cpu_was_in_a_program(tmp_path: Path) -> None:
    """The paper's O (nrbt, nmiw): on its way to ring 3 that CPU calls schedule() with interrupts off, and waits there.

    No other CPU can then stop it by an IPI, which is what the one that has dumped waits for, with interrupts off, too.
    """
    quick = (("watchdog_thresh", "3"),)
    wanted = Scenario(
        "TASKLET", "bug", count=10**6, load=("memdrain",), patience=1, mechanism="lkcd", kernel_options=quick
    )
    with closing(power_on(wanted.pc, wanted.kernel)) as session:
        assert start(session) is None
        session.arm(wanted.crash_part)
        assert isinstance(session.machine, Machine)
        one, other = session.machine.cpus
        session.run_to(session.now + NS, lambda: one.cpl() == 0 and other.cpl() == 3)
        assert other.cpl() == 3
        session.machine.i8042.chord("leftalt", "sysrq", "c")
        session.run_to(session.now + NS // 10)
        session.dump()
        outcome = outcome_of(session)
    assert session.oracle.nmi[1].cs & 3 == 3
    assert str(outcome) == "O (nrbt, nmiw)"
    assert "NMI Watchdog detected LOCKUP on CPU" in session.console.text.partition("Rebooting in")[2]


def test_a_device_that_will_not_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says what it lacks, and the mechanism is not armed."""
    monkeypatch.setattr(Lkcd, "partition", lambda self: 1000)
    wanted = scenario()
    with closing(power_on(wanted.pc, wanted.kernel)) as session:
        failed = start(session)
        assert failed is not None
        assert "the dump partition is too small" in failed
        assert "LKCD: dump partition too small: 1000 sectors, " in failed
        for text, errno in ((b"sdz 0 9", "ENODEV"), (b"sda 81920 99999999", "EINVAL"), (b"sda", "EINVAL")):
            with pytest.raises(AgentError, match=errno):
                session.guest.write_file(DEVICE, text)
        assert session.guest.read_file(DEVICE) == b"none\n"
        assert "no dump device is configured" in session.mechanism.unarmed(session)


def test_no_other_mechanism_has_its_code_in_the_kernel(booted: Booted) -> None:
    assert "dump_execute" in booted.session.first.symbols
    assert "dump_execute" not in images.kernel().symbols
