# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU is the referee: the same vmlinux boots there to the same console lines, up to its workload.

What may differ is declared in `DIFFERENCES` and explained in docs/fidelity.md, "The same kernel on QEMU".
(The whole crash under QEMU is tested in tests/kexec/test_qemu.py.)
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.transport import MachineTransport, SocketTransport
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.disks.toyfs import mkfs

SECTORS = 16384
COMMAND_LINE = "console=ttyS0,115200 combined_mode=ide root=/dev/hda panic_on_oops=1 crashkernel=16M@16M"
LAST_LINE = "agent: listening on ttyS1"
PATIENCE_S = 600  # for a QEMU that hangs, however busy the host
TICKS = 300
QEMU = "qemu-system-i386"


class Difference(NamedTuple):
    """What the two consoles may say differently: a pattern, what both become, and why."""

    pattern: str
    common: str
    why: str


DIFFERENCES = [
    Difference(
        r" BIOS-e820: 0000000003fe0000 - 0000000004000000 \(reserved\)\n", "", "SeaBIOS keeps ACPI tables at the top"
    ),
    Difference(r"(100000 - 000000000)(3fe0000|4000000) \(usable\)", r"\1RAM (usable)", "so RAM ends 128 KiB lower"),
    Difference(r"6[34]MB LOWMEM", "RAM LOWMEM", "the same"),
    Difference(r"Memory: \d+k/\d+k available", "Memory: RAM available", "the same"),
    Difference(r"(MP-table at 000f5)\w{3}", r"\1xxx", "firmware lays out its ROM as it likes"),
    Difference(r"(Kernel command line: )vmlinux ", r"\1", "QEMU's loader puts the file's name in front"),
    Difference(r"loop... .*", "loop... speed", "BogoMIPS: our CPU is slow on purpose"),
    Difference(r"(hd[ac]: )(QEMU|KDUMPSIM) HARDDISK", r"\1HARDDISK", "the drive's model name"),
]
ONE_PACKAGE = [  # -smp 2 without sockets=2
    Difference(r"Processor #1 APIC version \d\n", "", "QEMU's MP table has one entry for each package"),
    Difference(r"Processors: \d\n", "", "so the MP table counts one"),
    Difference(r"ACPI: MADT adds 1 processors\n", "", "and the ACPI table has the other"),
]


def common(console: str, differences: list[Difference]) -> list[str]:
    """The console's lines up to the workload, with the declared differences taken out."""
    text = console.replace("\r", "")
    text = text[: text.index(LAST_LINE) + len(LAST_LINE)]
    for difference in differences:
        text = re.sub(difference.pattern, difference.common, text)
    return text.splitlines()


@pytest.fixture(scope="module")
def our_console() -> str:
    """What the kernel says on our machine until its agent listens."""
    system, dump = Disk.memory(SECTORS), Disk.memory(SECTORS)
    mkfs(system, SECTORS, {"/hello": b"world", **images.userland()})
    machine = Machine(MachineConfig(disks=(system, None, dump, None)))
    output = bytearray()
    machine.uarts[0].on_output = output.extend
    machine.load_multiboot(images.kernel().elf, COMMAND_LINE)
    AgentClient(MachineTransport(machine)).hello()
    machine.run(until=machine.clock.now + 10_000_000)
    return output.decode()


def machine_words(directory: Path, smp: str, append: str = "") -> list[str]:
    """QEMU's options for a machine that runs the kernel from the same files."""
    (directory / "vmlinux").write_bytes(images.kernel().elf)
    (directory / "dump").write_bytes(bytes(SECTORS * 512))
    (directory / "system").write_bytes(bytes(SECTORS * 512))
    mkfs(Disk.file(directory / "system"), SECTORS, {"/hello": b"world", **images.userland()})
    return [
        "-kernel", "vmlinux", "-smp", smp, "-m", "64", "-append", f"{COMMAND_LINE} {append}".rstrip(),
        "-drive", "file=system,format=raw,if=ide,index=0", "-drive", "file=dump,format=raw,if=ide,index=2",
        "-display", "none", "-no-reboot", "-net", "none", "-serial", "file:console",
    ]  # fmt: skip


def qemu_console(tool: str, directory: Path, smp: str, append: str = "") -> str:
    """What the kernel says there until its agent listens."""
    console = directory / "console"
    with subprocess.Popen([tool, *machine_words(directory, smp, append), "-serial", "null"], cwd=directory) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while LAST_LINE not in (text := console.read_text(errors="replace") if console.exists() else ""):
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.05)
        finally:
            process.kill()
    return text


@pytest.mark.parametrize(
    ("smp", "differences"),
    [("2,sockets=2", DIFFERENCES), ("2", DIFFERENCES + ONE_PACKAGE)],
    ids=["two-packages", "one-package"],
)
def test_the_same_vmlinux_says_the_same_on_qemu(
    our_console: str, smp: str, differences: list[Difference], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    theirs = qemu_console(require_tool(QEMU), tmp_path, smp)
    assert common(theirs, differences) == common(our_console, differences)
    for difference in differences:  # one that no longer shows has to be struck off the list
        assert re.search(difference.pattern, f"{our_console}{theirs}".replace("\r", "")), difference


def test_a_processor_without_performance_counters_goes_without_their_watchdog(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    console = qemu_console(require_tool(QEMU), tmp_path, "2,sockets=2", "nmi_watchdog=2")
    assert "testing NMI watchdog ... CPU#0: NMI appears to be stuck (0->0)!" in console


def interrupts(agent: AgentClient) -> dict[str, list[int]]:
    """/proc/interrupts: the counts of two CPUs, by line."""
    lines = (line.split() for line in agent.read_file("/proc/interrupts").decode().splitlines())
    return {words[0].rstrip(":"): [int(word) for word in words[1:3]] for words in lines if len(words) > 2}


def test_with_the_nmi_watchdog_a_tick_is_one_tick_there_too(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """QEMU's local APIC interrupts with the i8259's vector as well, where LINT0 is to make an NMI of it (docs/qemu.md).

    It counts instructions for its clock (-icount), so that a busy host changes nothing.
    """
    ours, theirs = socket.socketpair()
    words = machine_words(tmp_path, "2,sockets=2", "nmi_watchdog=1")
    words += ["-icount", "shift=5,sleep=off", "-chardev", f"socket,id=agent,fd={theirs.fileno()}"]
    words += ["-serial", "chardev:agent"]
    with subprocess.Popen([require_tool(QEMU), *words], cwd=tmp_path, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        try:
            agent = AgentClient(SocketTransport(ours), PATIENCE_S)
            agent.hello()
            before = after = interrupts(agent)
            while after["LOC"][0] - before["LOC"][0] < TICKS:
                after = interrupts(agent)
        finally:
            process.kill()
            ours.close()
    passed = {
        name: [late - early for late, early in zip(after[name], before[name], strict=True)] for name in ("0", "LOC")
    }
    assert passed["0"] == pytest.approx([passed["LOC"][0], 0], abs=3)
    assert passed["LOC"][1] == pytest.approx(passed["LOC"][0], abs=3)


def test_the_boot_reaches_every_part_of_the_machine(our_console: str) -> None:
    for part in ("CPU1: online", "IO-APIC", "local APIC timer", "i8042", "BM-DMA", "hda:", "hdc:", "toyfs", "16550A"):
        assert part in our_console
