# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim debug` with gdb: forwards, back, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdumpsim.images import kernel

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
RELOCATED = ("--kernel-option", "relocatable=1", "--crashkernel", "16M@32M")
OVERFLOW = ("--crashpoint", "INT_HARDWARE_ENTRY", "--type", "overflow")


def debug(*arguments: str, commands: tuple[str, ...]) -> str:
    """What gdb prints under `kdumpsim debug`."""
    words = [word for command in commands for word in ("-ex", command)]
    process = kdumpsim("debug", *arguments, "--gdb", "--", "-batch", *words)
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout + process.stderr


@pytest.fixture(scope="module")
def _gdb(require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")


@pytest.mark.usefixtures("_gdb")
def test_gdb_begins_where_the_kernel_dies_and_steps_both_ways() -> None:
    text = debug(
        *OVERFLOW,
        commands=("bt 1", "stepi", "reverse-stepi", "info registers cr0 st0", "info threads", "break start_kernel",
                  "reverse-continue", "next", "bt", "reverse-next", "reverse-continue"),
    )  # fmt: skip
    assert "It ends: X" in text
    assert re.search(r"^#0 .* in dtt_crossed \(point=0x[0-9a-f]+ <INT_HARDWARE_ENTRY>\)", text, re.MULTILINE)
    assert re.search(r"^cr0 +0x80050033", text, re.MULTILINE)
    assert re.search(r"^st0 +0 ", text, re.MULTILINE)
    assert re.search(r"^\* 1 +Thread 1 \"CPU 0\" \(runs\)", text, re.MULTILINE)
    assert re.search(r"^  2 +Thread 2 \"CPU 1\" \(halted\) .* in safe_halt \(\)", text, re.MULTILINE)
    assert re.search(r'Thread 1 "CPU 0" hit Breakpoint 1(\.1)?, start_kernel \(\)', text)
    assert re.search(r"^#1 .* in i386_start_kernel \(\)", text, re.MULTILINE)
    assert "No more reverse-execution history" in text


@pytest.mark.usefixtures("_gdb")
def test_a_watchpoint_in_reverse_finds_the_last_writer() -> None:
    text = debug(
        *OVERFLOW,
        commands=("set $stack = (unsigned)$esp & ~8191", "kd-goto end", "watch *(unsigned *)($stack + 16)",
                  "reverse-continue", "reverse-continue", "bt 2"),
    )  # fmt: skip
    assert text.count("hit Hardware watchpoint 1") == 2
    assert re.search(r"Written by (CPU 0 at 0x[0-9a-f]+|delivery of vector 0x[0-9a-f]+ to CPU 0)", text)


@pytest.mark.usefixtures("_gdb")
def test_from_the_capture_kernel_back_into_the_first(crash: Crash) -> None:
    directory = str(crash("FS_DEVRW", "panic").directory)
    text = debug(
        directory, "--begin", "end",
        commands=("monitor where", "break machine_kexec", "reverse-continue", "bt", "monitor milestones"),
    )  # fmt: skip
    assert re.search(r"hit Breakpoint 1(\.1)?, machine_kexec \(", text)
    assert re.search(r"^#\d .*panic \(", text, re.MULTILINE)
    sha256 = crash("FS_DEVRW", "panic").result["vmcore"]["sha256"]
    assert f"It ends: O; vmcore sha256 {sha256}" in text
    assert f"The run is over: O; vmcore sha256 {sha256}" in text
    names = re.findall(r"^ +[\d,]+ +[\d.]+ s  (\S+)", text, re.MULTILINE)
    assert names == [
        "boot-done", "load-done", "arm-done", "crash", "panic", "crash_kexec", "jump", "crash-done", "capture",
        "capture-done", "save-done", "end",
    ]  # fmt: skip


@pytest.mark.usefixtures("_gdb")
def test_monitor_shows_what_only_the_machine_knows() -> None:
    text = debug(
        *OVERFLOW,
        commands=("monitor irqs", "monitor devices", "monitor apic 1", "monitor console 3", "monitor time",
                  "monitor checkpoint", "monitor wehre", "monitor goto nowhere", "monitor device", "monitor help"),
    )  # fmt: skip
    assert re.search(r"^i8259 master: IRR .*, ISR .*, masked ", text, re.MULTILINE)
    assert re.search(r"^ioapic pin 14: vector 0x[0-9a-f]+, fixed", text, re.MULTILINE)
    assert re.search(r"^hardware_enabled: True$", text, re.MULTILINE)
    assert re.search(r"^0\.8\d+ s$", text, re.MULTILINE)
    assert "did you mean 'where'" in text.lower() or "where" in text
    assert "no milestone nowhere has been come past; so far: boot-done" in text


@pytest.mark.usefixtures("_gdb")
@pytest.mark.parametrize("write", ["set var $eax = 1", "set var *(int *)0xc0100000 = 1"])
def test_nothing_can_be_written(write: str) -> None:
    text = debug(*OVERFLOW, commands=("p/x $eax", "x/x 0xc0100000", write, "p/x $eax", "x/x 0xc0100000"))
    assert len(set(re.findall(r"\$\d = (0x[0-9a-f]+)", text))) == 1
    assert "would be another run" in text or "Cannot access memory" in text


def test_a_run_of_another_build_or_version_is_refused(crash: Crash, tmp_path: Path) -> None:
    run = crash("FS_DEVRW", "panic")
    for name in ("result.json", "vmlinux"):
        shutil.copy(run.directory / name, tmp_path / name)
    damaged = bytearray((tmp_path / "vmlinux").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "vmlinux").write_bytes(damaged)
    process = kdumpsim("debug", str(tmp_path))
    assert process.returncode == 2
    assert "was left by another build of kdumpsim's kernel" in process.stderr
    data = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**data, "kdumpsim": "0.0.1"}))
    process = kdumpsim("debug", str(tmp_path))
    assert process.returncode == 2
    assert "was written by kdumpsim 0.0.1, and this is" in process.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give the DIR that a run has left, or --crashpoint"),
        (("nowhere",), "cannot read nowhere/result.json"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--listen", "99999"), "99999 is no port"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--listen", "x"), "neither a port, nor HOST:PORT"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--listen", "1", "--gdb"), "exclude each other"),
        (("--at", "instant", "--type", "oops"), "leaves something to chance"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--listen", ""), "neither a port, nor HOST:PORT"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--listen", f"/tmp/{'x' * 200}"), "AF_UNIX path too long"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--machine", "qemu"), "cannot be debugged"),
    ],
)
def test_what_cannot_be_is_explained(arguments: tuple[str, ...], complaint: str) -> None:
    process = kdumpsim("debug", *arguments)
    assert process.returncode == 2
    assert complaint in " ".join(process.stderr.split())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run that waits for a debugger, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdumpsim", "debug", *OVERFLOW, "--begin", "boot", "--listen", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Ctrl-C"):
            break
    yield process, port
    process.kill()
    process.wait()


Served = tuple[subprocess.Popen[str], int]


def test_a_second_debugger_is_refused_and_one_that_vanishes_leaves_nothing(served: Served) -> None:
    process, port = served
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    gdb = socket.create_connection(("127.0.0.1", port))
    gdb.sendall(b"$qSupported#37")
    answer = gdb.recv(1000)
    while b"#" not in answer:
        answer += gdb.recv(1000)
    assert answer.startswith(b"+$PacketSize=")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    gdb.close()
    output, _ = process.communicate(timeout=30)
    assert "The debugger is gone." in output
    assert process.returncode == 0
    assert children.split()
    assert all(_ended(int(pid)) for pid in children.split())


def _ended(pid: int) -> bool:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_port_in_use_is_named(served: Served) -> None:
    _, port = served
    process = kdumpsim("debug", *OVERFLOW, "--listen", str(port))
    assert process.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use; --listen names another place" in process.stderr


PAGE = Path(__file__).parents[2] / "docs" / "debugger.md"


@pytest.mark.usefixtures("_gdb")
def test_the_session_of_the_page() -> None:
    """Its commands are typed, and each of its lines is among what gdb says, whatever the addresses of this build."""
    text = PAGE.read_text()
    (command,) = re.findall(r"```sh\nkdumpsim debug (--crashpoint.*) --gdb\n```\n```gdb", text)
    (session,) = re.findall(r"```gdb\n(.*?)```", text, re.DOTALL)
    typed = [line.removeprefix("(gdb) ") for line in session.splitlines() if line.startswith("(gdb) ")]
    printed = [line for line in session.splitlines() if not line.startswith("(gdb) ")]
    answer = [_plain(line) for line in debug(*command.split(), commands=tuple(typed)).splitlines()]
    assert len(typed) >= 6
    assert [line for line in printed if _plain(line) not in answer] == []


def _plain(line: str) -> str:
    return re.sub(r"0x[0-9a-f]+|(?<=\.py:)\d+", "N", line).strip()


def test_lldb_breaks_and_steps(served: Served, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    lldb = require_tool("lldb")
    _, port = served
    vmlinux = tmp_path / "vmlinux"
    vmlinux.write_bytes(kernel().elf)
    orders = (f"target create {vmlinux}", "target modules load --file vmlinux --slide 0", f"gdb-remote {port}",
              "breakpoint set -n start_kernel", "continue", "thread step-over", "thread list")  # fmt: skip
    words = [word for order in orders for word in ("-o", order)]
    text = subprocess.run([lldb, "-b", "-x", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    assert re.search(r"stop reason = breakpoint 1\.1\n +frame #0: 0x[0-9a-f]+ vmlinux`start_kernel at main\.py", text)
    assert re.search(r"stop reason = step over\n +frame #0: 0x[0-9a-f]+ vmlinux`start_kernel at main\.py", text)
    assert re.search(r"thread #2: tid = 2, 0x0*fff0", text)


@pytest.mark.usefixtures("_gdb")
@pytest.mark.parametrize(
    "options", [(), pytest.param(RELOCATED, marks=pytest.mark.nightly)], ids=["usual place", "relocated"]
)
def test_purgatory_the_capture_kernel_and_programs_have_their_symbols(options: tuple[str, ...]) -> None:
    text = debug(
        "--crashpoint", "FS_DEVRW", "--type", "panic", *options,
        commands=("break copy_backup_region", "continue", "bt", "break sys_reboot", "continue", "bt",
                  "kd-goto load-done", "kd-program diskio", "delete", "break main", "continue", "kd-program nowhere"),
    )  # fmt: skip
    assert re.search(r"^#1 .* in purgatory \(\) at kdumpsim/purgatory/purgatory\.py:\d+", text, re.MULTILINE)
    assert re.search(r"hit Breakpoint \d(\.\d)?, sys_reboot \(", text)
    assert re.search(r"hit Breakpoint \d(\.\d)?, main \(argc=1, .*\) at kdumpsim/userland/diskio\.py", text)
    assert "nowhere: No such file or directory" in text


def test_options_beside_a_directory_are_refused_as_they_are_written(crash: Crash) -> None:
    directory = str(crash("FS_DEVRW", "panic").directory)
    for option, value in (("--seed", "5"), ("--crashpoint", "TASKLET")):
        process = kdumpsim("debug", directory, option, value)
        assert process.returncode == 2
        assert f"says what was run; leave out {option}" in " ".join(process.stderr.split())


@pytest.mark.parametrize("damage", ["[" * 100_000, "{}", "null", '{"kdumpsim": 1'])
def test_a_damaged_result_is_one_message(tmp_path: Path, damage: str) -> None:
    (tmp_path / "result.json").write_text(damage)
    process = kdumpsim("debug", str(tmp_path))
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) <= 5
    os.unlink(tmp_path / "result.json")
    os.mkfifo(tmp_path / "result.json")
    assert "is no regular file" in kdumpsim("debug", str(tmp_path)).stderr


@pytest.mark.nightly
@pytest.mark.usefixtures("_gdb")
def test_what_was_drawn_is_debugged(tmp_path: Path) -> None:
    """The run that the options draw, and the directory of one in which faults struck."""
    vary = ("--crashpoint", "FS_DEVRW", "--type", "panic", "--vary", "count")
    assert kdumpsim("run", *vary, "--output", str(tmp_path)).returncode == 0
    sha256 = json.loads((tmp_path / "result.json").read_text())["vmcore"]["sha256"]
    assert sha256 in debug(*vary, commands=("bt 1",))
    kdumpsim("run", "--fault", "text:executed", "--seed", "4", "--output", str(tmp_path))
    assert "It ends: " in debug(str(tmp_path), commands=("monitor where",))


@pytest.mark.usefixtures("_gdb")
def test_too_much_to_watch_is_refused_and_the_session_goes_on() -> None:
    text = debug(*OVERFLOW, commands=("watch *(char (*)[65])0xc0200000", "continue", "monitor where"))
    assert re.search(r"^instruction [\d,]+ on CPU 0", text, re.MULTILINE)
    assert "Remote connection closed" not in text


@pytest.mark.usefixtures("_gdb")
def test_kd_goto_goes_to_the_cpu_whose_turn_it_is() -> None:
    text = debug(*OVERFLOW, commands=("thread 2", "kd-goto crash", "bt 1", "kd-program ../vmlinux", "kd-program ps"))
    assert re.search(r"^#0 .* in dtt_crossed \(", text, re.MULTILINE)
    assert "takes a program's name" in text


@pytest.mark.nightly
@pytest.mark.usefixtures("_gdb")
def test_another_dump_than_the_directorys_is_said(crash: Crash, tmp_path: Path) -> None:
    data = crash("FS_DEVRW", "panic").result
    data["vmcore"]["sha256"] = "0" * 64
    (tmp_path / "result.json").write_text(json.dumps(data))
    assert "Warning: this is not the run that left the directory" in debug(str(tmp_path), commands=("bt 1",))


def test_a_full_disk_is_a_failure_of_the_host(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    require_tool("gdb")
    words = ("debug", *OVERFLOW, "--begin", "boot", "--gdb", "--", "-batch", "-ex", "frame")
    process = kdumpsim(*words, prefix=("bash", "-c", 'ulimit -f 100; exec "$@"', "-"))
    assert process.returncode == 5
    assert "write gdb's files to" in process.stderr


def test_an_abandoned_socket_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "gdb.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    process = subprocess.Popen(
        [sys.executable, "-m", "kdumpsim", "debug", *OVERFLOW, "--begin", "boot", "--listen", str(path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert any(line.startswith("Listening at") for line in process.stdout)
    process.terminate()
    process.wait()
