# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels as ld makes them by default: QEMU's Multiboot loader takes them, and so does ours, to the same end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.board.machine import Machine, MachineConfig, StopReason

# Says where it runs, and what it finds in its data and bss.
KERNEL = """
    .text
    .balign 4
    .long 0x1BADB002, 3, -(0x1BADB002 + 3)
    .globl _start
_start:
    movl $0x7000, %esp
    call 1f
1:  popl %ebx
    leal data - 1b(%ebx), %esi
    movl (%esi), %eax
    call hex
    leal empty - 1b(%ebx), %esi
    movl (%esi), %eax
    call hex
    movl %ebx, %eax
    call hex
    movb $0xFE, %al
    outb %al, $0x64
2:  hlt
    jmp 2b
hex:
    movl $8, %ecx
3:  roll $4, %eax
    pushl %eax
    andb $15, %al
    addb $'a', %al
    movw $0x3F8, %dx
    outb %al, %dx
    popl %eax
    loop 3b
    movb $10, %al
    outb %al, %dx
    ret
    .data
data: .long 0x12345678
    .bss
    .local empty
    .comm empty, 4096
"""
PIE = ("-pie", "--no-dynamic-linker")


@pytest.mark.parametrize(
    "options",
    [
        ("-Ttext=0x100000",),  # the page before 1 MiB is a segment: the ELF header
        ("-Ttext=0x100000", "-z", "noseparate-code"),  # the same page begins the first segment
        ("-z", "noseparate-code", *PIE),  # ET_DYN, at 0
        ("-shared", "-z", "noseparate-code", "-Ttext-segment=0x200000"),
    ],
    ids=["header page", "first segment", "pie", "shared"],
)
def test_ld_makes_it_and_qemu_agrees(
    options: tuple[str, ...], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    source, kernel = tmp_path / "k.s", tmp_path / "kernel"
    source.write_text(KERNEL)
    subprocess.run([require_tool("as"), "--32", "-o", tmp_path / "k.o", source], check=True)
    linked = [require_tool("ld"), "-m", "elf_i386", "-e", "_start", *options, "-o", kernel, tmp_path / "k.o"]
    subprocess.run(linked, check=True)
    qemu = subprocess.run(
        [require_tool("qemu-system-i386"), "-m", "64", "-kernel", kernel, "-display", "none", "-monitor", "none",
         "-serial", "stdio", "-no-reboot"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=True,
    )  # fmt: skip
    machine, said = Machine(MachineConfig(cpus=1)), bytearray()
    machine.uarts[0].on_output = said.extend
    machine.load_multiboot(kernel.read_bytes(), "kernel")
    assert machine.run(until=10**9) is StopReason.RESET
    assert said == qemu.stdout.replace(b"\r", b"")
    assert said.splitlines()[:2] == [b"bcdefghi", b"aaaaaaaa"]
