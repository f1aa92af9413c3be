# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim kexec` from the command line."""

from __future__ import annotations

import contextlib
import importlib
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent.parent))
from kexec.builders import IOMEM, FakeGuest, purgatory_object, vmlinux

command = importlib.import_module("kdumpsim.commands.kexec")


@pytest.fixture(autouse=True)
def _small_purgatory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "default_purgatory", purgatory_object)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "vmlinux").write_bytes(vmlinux([(0x100000, b"first", 0x1000)]))
    (tmp_path / "vmlinux-kdump").write_bytes(vmlinux())
    (tmp_path / "iomem").write_text(IOMEM)
    (tmp_path / "large").write_text(IOMEM + "100000000-13fffffff : System RAM\n")
    (tmp_path / "hidden").write_text("00000000-00000000 : System RAM\n  00000000-00000000 : Crash kernel\n")
    return tmp_path


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[tuple[str, FakeGuest]]:
    """A guest whose agent listens on a socket, and its address."""
    fake = FakeGuest()
    path = tmp_path / "agent"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(BrokenPipeError):
            while data := connection.recv(65536):
                fake.send(data)
                connection.sendall(fake.incoming)
                fake.incoming.clear()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"unix:{path}", fake
    listener.close()


def run(*words: object) -> Result:
    return CliRunner().invoke(command.kexec, [str(word) for word in words])


def test_dry_run_without_a_guest(files: Path) -> None:
    result = run(
        "-p", files / "vmlinux-kdump", "--dry-run", "--iomem", files / "iomem", "--crash-notes", "14a000,14a400"
    )
    assert result.exit_code == 0, result.output
    for text in ("would be loaded", "kernel", "purgatory", "boot parameters", "elfcorehdr", "backup", "0x01f60000"):
        assert text in result.output
    assert "command line     maxcpus=1 reset_devices memmap=exactmap memmap=640K@0K" in result.output


def test_dry_run_of_a_normal_load(files: Path) -> None:
    result = run("-l", files / "vmlinux", "--dry-run", "--iomem", files / "iomem", "--append", "a=b")
    assert result.exit_code == 0, result.output
    assert "command line     a=b" in result.output
    assert "elfcorehdr" not in result.output


@pytest.mark.parametrize("words", [("-l", "vmlinux"), ("-p", "vmlinux-kdump", "--crash-notes", "100000000")])
def test_memory_above_4_gib(files: Path, words: tuple[str, ...]) -> None:
    action, kernel, *notes = words
    result = run(action, files / kernel, "--dry-run", "--iomem", files / "large", *notes)
    assert result.exit_code == 0, result.output
    assert not [end for end in re.findall(r"0x([0-9a-f]+)", result.output) if int(end, 16) >= 1 << 32]


def test_loading_into_a_guest(files: Path, guest: tuple[str, FakeGuest]) -> None:
    address, fake = guest
    fake.files["/proc/cmdline"] = b"console=ttyS0 crashkernel=16M@16M\n"
    result = run("-p", files / "vmlinux-kdump", "--agent", address, "--reuse-cmdline", "--append", "quiet")
    assert result.exit_code == 0, result.output
    assert "command line     console=ttyS0 quiet maxcpus=1" in result.output
    assert fake.loaded is not None
    assert len(fake.loaded[2]) == 6


def test_load_and_execute(files: Path, guest: tuple[str, FakeGuest]) -> None:
    address, fake = guest
    fake.files["/sys/kernel/kexec_loaded"] = b"1\n"
    result = run("-l", files / "vmlinux", "-e", "--agent", address)
    assert result.exit_code == 0, result.output
    assert fake.loaded is not None


def test_nothing_to_execute(guest: tuple[str, FakeGuest]) -> None:
    address, fake = guest
    fake.files["/sys/kernel/kexec_loaded"] = b"0\n"
    result = run("-e", "--agent", address)
    assert (result.exit_code, fake.rebooted) == (2, None)
    assert "no kernel is loaded" in result.output


def test_unload(guest: tuple[str, FakeGuest]) -> None:
    address, fake = guest
    assert run("-p", "-u", "--agent", address).exit_code == 0
    assert fake.loaded == (0, 0x30001, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of -p, -l, -e and -u"),
        (["-p"], "need a KERNEL"),
        (["-u", "vmlinux"], "cannot be combined with -e"),
        (["-p", "vmlinux", "-e", "--agent", "unix:x"], "started by a panic"),
        (["-p", "vmlinux"], "--agent, or --dry-run with --iomem"),
        (["-p", "vmlinux", "--dry-run", "--iomem", "iomem"], "needs --crash-notes"),
        (["-p", "vmlinux", "--agent", "unix:x", "--iomem", "iomem"], "give only one of them"),
        (["-e", "--dry-run", "--agent", "unix:x"], "needs -p or -l"),
        (["-l", "vmlinux", "--dry-run", "--iomem", "iomem", "--reuse-cmdline"], "needs an --agent"),
        (["-p", "nothing", "--dry-run", "--iomem", "iomem", "--crash-notes", "1"], "nothing: No such file"),
        (["-p", "vmlinux", "--dry-run", "--iomem", "iomem", "--crash-notes", "1"], "outside the reserved region"),
        (["-p", "iomem", "--dry-run", "--iomem", "iomem", "--crash-notes", "1"], "not an ELF file"),
        (["-p", "vmlinux-kdump", "--dry-run", "--iomem", "vmlinux", "--crash-notes", "1"], "/proc/iomem, line 1"),
        (["-p", "vmlinux-kdump", "--dry-run", "--iomem", "iomem", "--crash-notes", "zz"], "not an address"),
        (["-p", "vmlinux-kdump", "--dry-run", "--iomem", "iomem", "--crash-notes", "-1"], "not an address"),
        (["-p", "vmlinux-kdump", "--dry-run", "--iomem", "iomem", "--crash-notes", "100000000"], "no 'System RAM'"),
        (["-p", "vmlinux-kdump", "--dry-run", "--iomem", "hidden", "--crash-notes", "14a000"], "read it as root"),
        (
            ["-p", "vmlinux-kdump", "--dry-run", "--iomem", "large", "--crash-notes", "14a000", "--elf32-core-headers"],
            "use --elf64-core-headers",
        ),
        (["-p", "vmlinux-kdump", "--dry-run", "--iomem", "/dev/zero", "--crash-notes", "1"], "larger than 64 MiB"),
        (["-p", "/dev/zero", "--dry-run", "--iomem", "iomem", "--crash-notes", "1"], "larger than 64 MiB"),
        (["-e", "--agent", "unix:x", "--timeout", "inf"], "at most 1000000"),
        (["-e", "--agent", "unix:x", "--timeout", "nan"], "more than 0"),
        (["-e", "--agent", "carrier:pigeon"], "unix:PATH and tcp:HOST:PORT"),
    ],
)
def test_bad_input(files: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(files)
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_an_agent_that_cannot_be_reached_has_a_status_of_its_own() -> None:
    result = run("-e", "--agent", "unix:/nonexistent")
    assert result.exit_code == 3
    assert "cannot connect to the agent" in result.output
