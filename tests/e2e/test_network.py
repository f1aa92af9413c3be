# SPDX-License-Identifier: GPL-2.0-or-later
"""A network card in a crash, as a user asks for it, and the same driver on QEMU's card."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.transport import SocketTransport
from kdumpsim.board.disk import Disk
from kdumpsim.disks.toyfs import mkfs

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
PATIENCE_S = 600  # for a QEMU that hangs, however busy the host


def written_after_the_hand_over(run: Run) -> tuple[int, int]:
    """Frames and bytes, as the card counted them."""
    (line,) = (line for line in run.result["evidence"] if line.startswith("network card after"))
    match = re.search(r"(\d+) frames, (\d+) bytes", line)
    assert match is not None
    return int(match[1]), int(match[2])


def test_a_card_that_goes_on_receiving_does_not_hurt_the_capture_kernel(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--dma", "disk,net")
    result = run.result
    assert result["outcome"] == "O"
    assert {"network card at the hand-over: receiver on", "DMA in flight at the hand-over: ide0"} < set(
        result["evidence"]
    )
    frames, data = written_after_the_hand_over(run)
    assert frames > 10
    assert 16384 < data < 32768  # until the ring was full: nobody took anything out of it
    assert (result["accuracy"], result["differences"]) == (1, [])
    assert len(result["changed_by_dma"]) >= data // 4096
    assert "--dma disk,net" in result["command"]
    capture = run.console.partition("I'm in purgatory")[2]
    assert "eth0: RealTek RTL8139" in capture
    assert "IP-Config" not in capture


def test_the_dump_shows_frames_that_came_after_the_crash(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--dma", "net")
    quiet = crash("FS_DEVRW", "panic").result
    assert quiet["changed_by_dma"] == []
    pages = [int(change["page"], 16) for change in run.result["changed_by_dma"]]
    assert pages == list(range(pages[0], pages[0] + 4096 * len(pages), 4096))  # the ring
    assert not any(0x1000000 <= page < 0x2000000 for page in pages)  # the reserved region


def test_netload_loads_a_machine_that_crashes(crash: Crash) -> None:
    run = crash("INT_HARDWARE_ENTRY", "panic", "--load", "diskio,netload", "--count", "40")
    assert (run.result["outcome"], run.result["accuracy"]) == ("O", 1)
    assert run.result["options"]["load"] == ["diskio", "netload"]
    assert "netload:" not in run.console


def test_a_machine_has_no_card_unless_it_is_asked_for(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic")
    assert "eth0" not in run.console
    assert not any("network" in line for line in run.result["evidence"])


def test_the_console_has_netload(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("netload\nstep 500ms\ncat /proc/net/dev\n")
    process = kdumpsim("console", "--nic", "--no-kexec", "--output", str(tmp_path / "dump"), str(tmp_path / "script"))
    assert process.returncode == 0, process.stderr
    assert "netload: started, pid" in process.stdout
    match = re.search(r"eth0 *: *\d+ +(\d+)", process.stdout)
    assert match is not None
    assert int(match[1]) > 10


@pytest.fixture
def echo_port() -> int:
    """A UDP echo service on this host."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, client = server.recvfrom(2048)
            server.sendto(data, client)

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def test_the_same_driver_exchanges_datagrams_through_qemus_card(
    echo_port: int, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    tool = require_tool("qemu-system-i386")
    (tmp_path / "vmlinux").write_bytes(images.kernel().elf)
    (tmp_path / "system").write_bytes(bytes(16384 * 512))
    mkfs(Disk.file(tmp_path / "system"), 16384, dict(images.userland()))
    console = tmp_path / "console"
    line = "console=ttyS0,115200 combined_mode=ide root=/dev/hda ip=10.0.2.15::10.0.2.2:255.255.255.0"
    with subprocess.Popen(
        [
            tool, "-kernel", "vmlinux", "-smp", "2,sockets=2", "-m", "64", "-append", line, "-display", "none",
            "-drive", "file=system,format=raw,if=ide,index=0", "-no-reboot", "-netdev", "user,id=net",
            "-device", "rtl8139,netdev=net", "-serial", "file:console", "-serial", "unix:agent,server=on,wait=off",
        ],
        cwd=tmp_path,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE_S
            while "agent: listening" not in (text := console.read_text() if console.exists() else ""):
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.05)
            assert re.search(r"eth0: RealTek RTL8139 at 0x\w+, 52:54:00:12:34:56, IRQ \d+", text)
            agent = AgentClient(SocketTransport.connect(f"unix:{tmp_path}/agent"), timeout=PATIENCE_S)
            agent.start("netload", str(echo_port))
            received = 0
            while received < 50:
                (row,) = (row for row in agent.read_file("/proc/net/dev").decode().splitlines() if "eth0" in row)
                received = int(row.partition(":")[2].split()[1])
                assert time.monotonic() < deadline, row
            assert "netload:" not in console.read_text()
        finally:
            process.kill()


def test_a_peer_hears_of_the_crash_before_the_hand_over(crash: Crash) -> None:
    """Failover (LKDTT paper, section 9): one datagram, polled, while the card receives and other CPUs may send."""
    run = crash("FS_DEVRW", "panic", "--dma", "net", "--load", "netload,diskio", "--kernel-option", "failover=1")
    result = run.result
    assert (result["outcome"], result["accuracy"]) == ("O", 1)
    notice = result["failover"]
    assert notice["message"] == "LKDTT: crash point FS_DEVRW"
    arm, jump = (phase["virtual_end_ns"] for phase in result["phases"] if phase["name"] in ("arm", "crash"))
    assert 0 < notice["latency_ns"] < jump - arm
    assert "network card at the hand-over: receiver off" in result["evidence"]


def test_a_card_that_sends_nothing_delays_the_dump_by_ten_milliseconds_and_no_more(crash: Crash) -> None:
    lame = crash("FS_DEVRW", "panic", "--nic", "--kernel-option", "failover=1", "--break", "nic").result
    assert lame["failover"] is None
    assert lame["outcome"] == "O"
    match = re.search(r"purgatory (\d+)\.\d ms later", lame["evidence"][0])
    assert match is not None
    assert 10 <= int(match[1]) <= 30


def test_a_notice_needs_a_card(tmp_path: Path) -> None:
    words = ["run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--kernel-option", "failover=1"]
    done = kdumpsim(*words, "--output", str(tmp_path))
    assert done.returncode == 2
    assert "failover=1 has no network card to send its notice with: add --nic" in done.stderr
