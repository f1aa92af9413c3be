# SPDX-License-Identifier: GPL-2.0-or-later
"""Small guest loops, timed on the machine, on an engine without any hook, and on QEMU (TCG), in CPU time."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import unicorn

from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.compiler.assembler import assemble

QEMU = "qemu-system-i386"
LOOP_ORIGIN = 0x100030
EXIT_PORT = 0xF4
"""QEMU's isa-debug-exit; there is nothing at it in our machine, which halts."""
_TEXT = """
    movl $0x300000, %esp
    movb $0xff, %al
    outb %al, $0x21
    outb %al, $0xa1
    movl $0x200000, %esi
    movl ${count}, %ecx
1:  {body}
    decl %ecx
    jnz 1b
    outb %al, $0xf4
    cli
    hlt
{rest}
"""


@dataclass(frozen=True)
class Loop:
    """A loop's body, and what is called from it; ESI points to memory, ECX counts `count` times."""

    count: int
    body: str
    rest: str = ""
    aim: float = 0.0
    """Times QEMU's cost, at most; 0: none."""
    bare: bool = True
    """Whether an engine without a board can run it."""

    def code(self, count: int | None = None) -> bytes:
        """Machine code for LOOP_ORIGIN."""
        text = _TEXT.format(count=self.count if count is None else count, body=self.body, rest=self.rest)
        return assemble(text.replace("; ", "\n    "))


LOOPS = {
    "arithmetic": Loop(
        20_000_000, "movl (%esi), %eax; addl %ecx, %eax; xorl %eax, %ebx; rorl $3, %ebx; addl %ebx, %edx", aim=2.2
    ),
    "short blocks": Loop(
        5_000_000, "jmp 2f; 2: addl %ecx, %eax; jmp 3f; 3: xorl %eax, %ebx; jmp 4f; 4: addl %ebx, %edx", aim=2
    ),
    "stores": Loop(
        5_000_000, "movl (%esi), %eax; addl %ecx, %eax; xorl %eax, %ebx; movl %ebx, 4(%esi)", aim=3
    ),
    "calls": Loop(2_000_000, "pushl %ecx; call 2f; popl %ecx", "2:  movl 4(%esp), %eax; xorl %eax, %ebx; ret"),
    "rep movs": Loop(
        200_000, "movl %ecx, %ebp; movl $64, %ecx; movl $0x210000, %edi; rep movsl; subl $256, %esi; movl %ebp, %ecx"
    ),
    "RDTSC": Loop(2_000_000, "rdtsc", aim=2),
    "local APIC read": Loop(2_000_000, "movl 0xfee00020, %eax", aim=3, bare=False),
    "IN": Loop(300_000, "inb $0x61, %al", aim=6, bare=False),
}  # fmt: skip


def bare_unicorn(code: bytes) -> float:
    """Seconds for the loop on an engine with no hook at all."""
    memory = mmap.mmap(-1, 4 << 20)
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    engine.mem_map_ptr(0, 4 << 20, unicorn.UC_PROT_ALL, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    memory[LOOP_ORIGIN : LOOP_ORIGIN + len(code)] = code
    engine.ctl_exits_enabled(True)
    engine.ctl_set_exits([])
    start = time.process_time()
    engine.emu_start(LOOP_ORIGIN, 0)
    return time.process_time() - start


def under_machine(code: bytes) -> float:
    """Seconds for the loop on the whole machine, one CPU, its firmware's timer ticking."""
    machine = Machine(MachineConfig(cpus=1, memory=16 << 20))
    machine.load_multiboot(multiboot_image(code), "")
    start = time.process_time()
    machine.run(stop=lambda: machine.cpus[0].halted)
    return time.process_time() - start


def have_qemu() -> bool:
    """Whether QEMU is installed."""
    return shutil.which(QEMU) is not None


def under_qemu(loop: Loop) -> float:
    """Seconds for the loop on QEMU's `pc`: what the process takes more than for one time round."""
    return _qemu_process(loop.code()) - _qemu_process(loop.code(1))


def _qemu_process(code: bytes) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "loop"
        image.write_bytes(multiboot_image(code))
        command = [QEMU, "-accel", "tcg", "-m", "16", "-display", "none", "-nodefaults", "-kernel", str(image)]
        command += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not process.returncode & 1:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def multiboot_image(code: bytes) -> bytes:
    """A flat Multiboot image (a.out kludge) that holds `code` at LOOP_ORIGIN."""
    header_at = LOOP_ORIGIN - 48
    size = 48 + len(code)
    magic, flags = 0x1BADB002, 1 << 16
    fields = (magic, flags, -(magic + flags), header_at, header_at, header_at + size, 0, LOOP_ORIGIN)
    return b"".join((field & 0xFFFFFFFF).to_bytes(4, "little") for field in fields).ljust(48, b"\0") + code
