# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import pty
import select
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

# Writes "text mode" to the screen, puts the cursor after it, and shows what is typed on the keyboard until Escape.
TEXT = """
.code32
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long 0x100000, 0x100000, 0, 0, start
text: .ascii "text mode"
start:
    movl $text, %esi
    movl $0xB80A0, %edi
    movl $9, %ecx
1:  movsb
    movb $0x1E, (%edi)
    incl %edi
    loop 1b
    movw $0x3D4, %dx
    movw $0x590F, %ax
    outw %ax, %dx
2:  inb $0x64, %al
    testb $1, %al
    jz 2b
    inb $0x60, %al
    cmpb $0x01, %al
    je 3f
    testb $0x80, %al
    jnz 2b
    addb $'A' - 0x1E, %al
    stosb
    incl %edi
    jmp 2b
3:  cli
    hlt
    jmp 3b
"""

COMMAND = [sys.executable, "-m", "kdumpsim.cli", "boot"]


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    path = tmp_path / "echo.bin"
    path.write_bytes(assemble(ECHO, 0x100000))
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.bin"
    path.write_bytes(assemble(TEXT, 0x100000))
    return path


def boot(*arguments: str | Path, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *map(str, arguments)], input=typed, capture_output=True, timeout=600, check=False)


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
        (["{echo}", "--timeout", "nan"], "more than 0"),
        (["{echo}", "--timeout", "1e300"], "at most 1000000"),
        (["/dev/zero"], "/dev/zero: larger than 64 MiB"),
        (["{echo}", "--module", "/dev/zero text"], "/dev/zero: larger than 64 MiB"),
        (["/tmp"], "/tmp: Is a directory"),
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
        assert process.wait(600) == 130


BUSY = {
    "cpuid": "1: xor %eax, %eax\ncpuid\njmp 1b",
    "rdtsc": "1: rdtsc\njmp 1b",
    "exceptions": """
        lidt empty
        movw $0x7000, 6*4                    # real mode's vector 6: a handler that is an invalid opcode itself
        movw $0, 6*4+2
        movl $0x0b0f0b0f, 0x7000
        lgdt pointer
        ljmp $8, $1f - 0x100000
    .align 8
    gdt: .quad 0, 0x000F9B100000FFFF, 0x000F93000000FFFF
    pointer: .word 23
        .long gdt
    empty: .word 0x3FF
        .long 0
        .code16
    1:  mov $16, %ax
        mov %ax, %ds
        mov %ax, %ss
        mov $0x6000, %sp
        mov %cr0, %eax
        and $~1, %al
        mov %eax, %cr0
        ljmp $0, $0x7000
    """,
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", BUSY)
def test_a_busy_guest_keeps_no_signal_waiting(tmp_path: Path, what: str, number: signal.Signals) -> None:
    path = tmp_path / "busy.bin"
    header = ECHO[: ECHO.index("    movl $0x1F0000")]
    path.write_bytes(assemble(header + "mov $0x3F8, %dx\nmov $'>', %al\nout %al, %dx\n" + BUSY[what], 0x100000))
    with subprocess.Popen([*COMMAND, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b">"
        process.send_signal(number)
        assert process.wait(600) == 128 + number


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
        assert process.wait(600) == 0


def test_the_screen_is_printed_in_the_end(text: Path) -> None:
    done = boot(text, "--screen", "--timeout", "5", typed=b"a\x1b")
    assert (done.returncode, done.stdout) == (0, b"\ntext modeA\n")
    assert b"halted for ever" in done.stderr


def test_the_screen_comes_after_the_serial_ports_output(echo: Path) -> None:
    done = boot(echo, "--screen", "--keyboard", "serial", "--timeout", "5", typed=b"h")
    assert done.stdout == b">\n"


def test_a_kernel_that_looks_dead_is_pointed_out(text: Path, echo: Path) -> None:
    done = boot(text, "--timeout", "0.02")
    assert (done.returncode, done.stdout) == (124, b"")
    assert b"the guest writes to its screen, not to the serial port: --screen shows it" in done.stderr
    assert b"--screen" not in boot(echo, typed=b"h").stderr


class Session:
    """A boot with its terminal."""

    def __init__(self, *words: str | Path) -> None:
        self.user, self.program = pty.openpty()
        self.before = termios.tcgetattr(self.program)
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=self.program, stdout=self.program, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._seen = b""

    def expect(self, wanted: bytes) -> None:
        """Read up to these bytes."""
        while wanted not in self._seen:
            assert select.select([self.user], [], [], 60)[0], self._seen
            self._seen += os.read(self.user, 1000)
        self._seen = self._seen.partition(wanted)[2]

    def type(self, keys: bytes) -> None:
        os.write(self.user, keys)

    def end(self) -> int:
        """Its exit status; the terminal is as it was."""
        status = self.process.wait(600)
        assert termios.tcgetattr(self.program) == self.before
        self.process.communicate()
        os.close(self.user)
        os.close(self.program)
        return status


@pytest.mark.parametrize("how", ["leave", "halt", "terminate"])
def test_the_screen_lives_on_a_terminal(text: Path, how: str) -> None:
    session = Session(text, "--screen")
    session.expect(b"\x1b[2J")
    session.expect(b"\x1b[0;93;44mtext mode")  # yellow on blue
    session.expect(b"\x1b[2;10H\x1b[?25h")  # the cursor
    session.type(b"s")
    session.expect(b"B")  # the key after A
    if how == "terminate":
        session.process.send_signal(signal.SIGTERM)
    else:
        session.type(b"\x01x" if how == "leave" else b"\x1b")
    session.expect(b"\x1b[0m\x1b[25;1H")
    assert session.end() == (143 if how == "terminate" else 0)


def test_the_escape_keys_are_explained_on_the_screen(text: Path) -> None:
    session = Session(text, "--screen")
    session.expect(b"text mode")
    session.type(b"\x01h")
    session.expect(b"leave kdumpsim")
    session.type(b"\x01x")
    session.expect(b"text mode")
    assert session.end() == 0


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
        assert process.wait(600) == (143 if how == "terminate" else 0)
    assert termios.tcgetattr(program) == before
    os.close(user)
    os.close(program)
