# SPDX-License-Identifier: GPL-2.0-or-later
"""Small inputs for the tests of kexec: kernel files, a guest with an agent, a purgatory object."""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Sequence

from kdumpsim.agent.client import ANSWER, Frame, FrameDecoder, Op
from kdumpsim.compiler.assembler import module_asm_ir
from kdumpsim.compiler.backend import shared_worker
from kdumpsim.compiler.target import TARGET

IOMEM = """\
00000000-0009fbff : System RAM
0009fc00-0009ffff : reserved
000f0000-000fffff : System ROM
00100000-03feffff : System RAM
  00100000-001207ff : Kernel code
  00120800-0014ffff : Kernel data
  01000000-01ffffff : Crash kernel
03ff0000-03ff7fff : ACPI Tables
03ff8000-03ffffff : ACPI Non-volatile Storage
fec00000-fec003ff : IOAPIC
fffc0000-ffffffff : reserved
"""
NOTES = {
    "/sys/devices/system/cpu/cpu0/crash_notes": b"14a000\n",
    "/sys/devices/system/cpu/cpu1/crash_notes": b"14a400\n",
}

Part = tuple[int, bytes, int]
"""(physical address, contents, memory size)"""


def vmlinux(
    parts: Sequence[Part] = ((0x1000000, b"\x90" * 5000, 5000), (0x1002000, b"data", 0x3000)),
    *,
    entry: int | None = None,
    machine: int = 3,
    kind: int = 2,
    bits: int = 1,
    order: int = 1,
    virtual: int = 0xC0000000,
) -> bytes:
    """An ELF32 executable with one PT_LOAD for each part."""
    header = struct.Struct("<16sHHIIIIIHHHHHH")
    program = struct.Struct("<8I")
    offset = header.size + program.size * len(parts)
    headers, body = b"", b""
    for address, data, memsz in parts:
        at = offset + len(body)
        headers += program.pack(1, at, (virtual + address) & 0xFFFFFFFF, address, len(data), memsz, 7, 4096)
        body += data
    start = parts[0][0] if entry is None and parts else entry or 0
    ident = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9)
    return header.pack(ident, kind, machine, 1, start, 52, 0, 0, 52, 32, len(parts), 0, 0, 0) + headers + body


@functools.cache
def purgatory_object() -> bytes:
    """An object with purgatory's interface and hardly any code."""
    names = {
        "sha256_regions": 128, "sha256_digest": 32, "backup_src_start": 4, "backup_src_size": 4, "backup_start": 4,
        "kernel_entry": 4, "kernel_eax": 4, "kernel_ebx": 4, "stack": 4096,
    }  # fmt: skip
    data = "".join(f".globl {name}\n{name}: .zero {size}\n" for name, size in names.items())
    text = f".text\n.globl purgatory_start\n.long 0\npurgatory_start: jmp *kernel_entry\n.bss\n.balign 4\n{data}"
    return shared_worker().emit(f'target triple = "{TARGET.triple}"\n' + module_asm_ir(text))


class FakeGuest:
    """A transport whose other end is an agent in Python; its clock moves by a second for every wait."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {"/proc/iomem": IOMEM.encode(), **NOTES} if files is None else files
        self.loaded: tuple[int, int, list[tuple[int, int, int, bytes]]] | None = None
        self.rebooted: int | None = None
        self.started: list[str] = []
        self.mute = False
        self.fail: dict[Op, int] = {}
        self.open_files: dict[int, list[object]] = {}
        self.incoming = bytearray()
        self.chunk = 1 << 20
        self._decoder = FrameDecoder()
        self._now = 0

    def now(self) -> int:
        return self._now

    def send(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            if not self.mute:
                self._answer(frame)

    def receive(self, deadline: int, wanted: int = 1) -> bytes:
        self._now += 1_000_000_000
        data = bytes(self.incoming[: max(self.chunk, 1)])
        del self.incoming[: len(data)]
        return data

    def _answer(self, frame: Frame) -> None:
        op = Op(frame.op)
        status, payload = self._do(op, frame.payload) if op not in self.fail else (-self.fail[op], b"")
        if op != Op.REBOOT:
            self.incoming += Frame(op | ANSWER, frame.tag, struct.pack("<i", status) + payload).encode()

    def _do(self, op: Op, payload: bytes) -> tuple[int, bytes]:
        if op == Op.HELLO:
            return 0, b"toy 1.0"
        if op == Op.OPEN:
            path = payload[4:].decode()
            if path not in self.files:
                return -errno.ENOENT, b""
            fd = len(self.open_files) + 3
            self.open_files[fd] = [path, 0]
            return fd, b""
        if op == Op.READ:
            fd, count = struct.unpack("<II", payload)
            path, at = self.open_files[fd]
            assert isinstance(path, str)
            assert isinstance(at, int)
            data = self.files[path][at : at + count]
            self.open_files[fd][1] = at + len(data)
            return len(data), data
        if op == Op.WRITE:
            path = self.open_files[struct.unpack_from("<I", payload)[0]][0]
            assert isinstance(path, str)
            taken = payload[4:][:1000]
            self.files[path] += taken
            return len(taken), b""
        if op == Op.CLOSE:
            del self.open_files[struct.unpack("<I", payload)[0]]
        elif op == Op.KEXEC_LOAD:
            self.loaded = self._segments(payload)
        elif op == Op.REBOOT:
            (self.rebooted,) = struct.unpack("<I", payload)
        elif op == Op.START:
            self.started = payload.decode().split("\0")[:-1]
            return 42, b""
        return 0, b""

    def _segments(self, payload: bytes) -> tuple[int, int, list[tuple[int, int, int, bytes]]]:
        entry, flags, count = struct.unpack_from("<III", payload)
        at, segments = 12, []
        for _ in range(count):
            kind, mem, memsz, bufsz = struct.unpack_from("<IIII", payload, at)
            at += 16
            if kind == 0:
                data = payload[at : at + bufsz]
                at += bufsz
            else:
                offset, length = struct.unpack_from("<II", payload, at)
                path = payload[at + 8 : at + 8 + length].decode()
                data = self.files[path][offset : offset + bufsz]
                at += 8 + length
            assert len(data) == bufsz
            segments.append((mem, memsz, bufsz, data))
        assert at == len(payload)
        return entry, flags, segments
