# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from kdumpsim.compiler.assembler import assemble

# Reads the serial port for ever: "q" resets, "h" halts, anything else is said again in capitals.
ECHO = """
.code32
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long 0x100000, 0x100000, 0, 0, start
start:
    movl $0x1F0000, %esp
    movb $'>', %al
    call say
1:  movw $0x3FD, %dx
    inb %dx, %al
    testb $1, %al
    jz 3f
    movw $0x3F8, %dx
    inb %dx, %al
    cmpb $'q', %al
    je reset
    cmpb $'h', %al
    je halt
2:  call upper
    jmp 1b
3:  inb $0x64, %al
    testb $1, %al
    jz 1b
    inb $0x60, %al
    testb $0x80, %al
    jnz 1b
    addb $'A' - 0x1E, %al               # the key of the letter A in scan code set 1
    call say
    jmp 1b
upper:
    andb $0xDF, %al
say:
    movw $0x3F8, %dx
    outb %al, %dx
    ret
reset:
    movb $0xFE, %al
    outb %al, $0x64
halt:
    cli
    hlt
    jmp halt
"""

COMMAND = [sys.executable, "-m", "kdumpsim.cli", "boot"]


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    path = tmp_path / "echo.bin"
    path.write_bytes(assemble(ECHO, 0x100000))
    return path


def boot(*arguments: str | Path, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *map(str, arguments)], input=typed, capture_output=True, timeout=120, check=False)


def test_pipes_in_and_out(echo: Path) -> None:
    done = boot(echo, "--cpus", "1", "--timeout", "60", typed=b"abcq")
    assert (done.returncode, done.stdout) == (0, b">ABC")
    assert b"reset the machine (i8042)" in done.stderr


def test_halting_for_ever_ends_it(echo: Path) -> None:
    done = boot(echo, typed=b"xh")
    assert (done.returncode, done.stdout) == (0, b">X")
    assert b"halted for ever" in done.stderr


def test_timeout_is_virtual(echo: Path) -> None:
    done = boot(echo, "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (124, b">")
    assert b"0.5 seconds of virtual time" in done.stderr


def test_ps2_keyboard(echo: Path) -> None:
    done = boot(echo, "--keyboard", "ps2", "--timeout", "0.5", typed=b"aa")
    assert (done.returncode, done.stdout) == (124, b">AA")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: No such file"),
        ([sys.executable], "64-bit|neither"),
        (["{echo}", "--disk", "missing"], "missing: No such file"),
        (["{echo}", "--memory", "lots"], "lots"),
        (["{echo}", "--cpus", "0"], "0 CPUs"),
        (["{echo}", "--module", "missing text"], "missing: No such file"),
        (["{echo}", "--timeout", "-1"], "more than 0"),
        (["{echo}", *(["--disk", "x"] * 5)], "four disks"),
    ],
)
def test_what_makes_no_sense_is_said_clearly(echo: Path, arguments: list[str], message: str) -> None:
    done = boot(*(str(echo) if argument == "{echo}" else argument for argument in arguments))
    assert done.returncode == 2
    text = done.stderr.decode()
    assert any(part in text for part in message.split("|")), text
    assert "Traceback" not in text


def test_interrupt(echo: Path) -> None:
    with subprocess.Popen([*COMMAND, str(echo)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b">"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def read_until(fd: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += os.read(fd, 1000)
    return seen


def test_it_ends_with_its_terminal(echo: Path) -> None:
    user, program = pty.openpty()
    with subprocess.Popen([*COMMAND, str(echo)], stdin=program, stdout=program, start_new_session=True) as process:
        os.close(program)
        read_until(user, b">")
        os.close(user)
        assert process.wait(60) == 0


@pytest.mark.parametrize("how", ["leave", "reset", "terminate"])
def test_a_terminal_is_put_back(echo: Path, how: str) -> None:
    user, program = pty.openpty()
    before = termios.tcgetattr(program)
    with subprocess.Popen(
        [*COMMAND, str(echo)], stdin=program, stdout=program, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        read_until(user, b">")
        assert not termios.tcgetattr(program)[3] & termios.ICANON
        os.write(user, b"z\x03")
        read_until(user, b"Z")
        if how == "leave":
            os.write(user, b"\x01x")
        elif how == "reset":
            os.write(user, b"q")
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == (143 if how == "terminate" else 0)
    assert termios.tcgetattr(program) == before
    os.close(user)
    os.close(program)
