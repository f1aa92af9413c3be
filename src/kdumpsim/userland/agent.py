# SPDX-License-Identifier: GPL-2.0-or-later
"""agent: serves tools outside on the second serial port: files, programs, kexec_load (docs/kernel.md)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, cstr, guest, i32, length, ptr, sizeof, u8, u16, u32, usize
from kdumpsim.userland.agent_kexec import load_image
from kdumpsim.userland.agent_port import (
    AGENT_MAGIC,
    AgentHeader,
    drain,
    port_open,
    port_read,
    port_write,
    wait_for_request,
)
from kdumpsim.userland.agent_start import start
from kdumpsim.userland.lib import (
    E2BIG,
    EINVAL,
    ENOSYS,
    O_RDONLY,
    RB_AUTOBOOT,
    RB_HALT,
    RB_KEXEC,
    WNOHANG,
    close,
    fail,
    kill,
    open,
    puts,
    read,
    reboot,
    waitpid,
    write,
)

AGENT_REPLY: Final = 0x80
AGENT_BUFFER: Final = 16384
VERSION_SIZE: Final = 128

OP_HELLO: Final = 0
OP_OPEN: Final = 1
OP_READ: Final = 2
OP_WRITE: Final = 3
OP_CLOSE: Final = 4
OP_KEXEC_LOAD: Final = 5
OP_REBOOT: Final = 6
OP_START: Final = 7
OP_KILL: Final = 8


class AgentReply(Struct):
    """What every reply begins with."""

    magic: u8
    op: u8
    tag: u16
    length: u32
    status: i32


version: array[u8] = length(VERSION_SIZE)
version_length: usize = 0
buffer: array[u8] = length(AGENT_BUFFER)


@guest
def answer(request: ptr[AgentHeader], status: i32, data: ptr[u8], count: usize) -> None:
    """Answer a request."""
    reply: AgentReply = AgentReply()
    reply.magic = request.magic
    reply.op = request.op | AGENT_REPLY
    reply.tag = request.tag
    reply.length = 4 + u32(count)
    reply.status = status
    port_write(reply, sizeof(AgentReply))
    port_write(data, count)


@guest
def do_reboot(command: u32) -> None:
    """REBOOT: the reply went out before."""
    if command == 0:
        reboot(RB_AUTOBOOT)
    elif command == 1:
        reboot(RB_KEXEC)
    else:
        reboot(RB_HALT)


@guest
def serve(request: ptr[AgentHeader], count: usize) -> None:
    """Serve one request whose payload lies in `buffer`, NUL-terminated."""
    words = cast(ptr[u32], buffer)
    op: u32 = request.op
    if op == OP_HELLO:
        answer(request, 0, version, version_length)
    elif op == OP_OPEN and count > 4:
        answer(request, open(buffer + 4, words[0]), buffer, 0)
    elif op == OP_READ and count == 8:
        n: i32 = read(words[0], buffer, min(words[1], AGENT_BUFFER))
        answer(request, n, buffer, u32(n) if n > 0 else 0)
    elif op == OP_WRITE and count >= 4:
        answer(request, write(words[0], buffer + 4, count - 4), buffer, 0)
    elif op == OP_CLOSE and count == 4:
        answer(request, close(words[0]), buffer, 0)
    elif op == OP_REBOOT and count == 4 and words[0] <= 2:
        answer(request, 0, buffer, 0)
        do_reboot(words[0])
    elif op == OP_START and count != 0:
        answer(request, start(buffer, count), buffer, 0)
    elif op == OP_KILL and count == 8:
        answer(request, kill(i32(words[0]), words[1]), buffer, 0)
    elif op > OP_KILL:
        answer(request, -ENOSYS, buffer, 0)
    else:
        answer(request, -EINVAL, buffer, 0)


@guest
def serve_next() -> None:
    """Wait for a frame and serve it; programs that have ended meanwhile are buried first."""
    request: AgentHeader = AgentHeader()
    wait_for_request(request)
    while waitpid(-1, NULL, WNOHANG) > 0:
        pass
    if request.op == OP_KEXEC_LOAD:
        status: i32 = load_image()
        drain()
        answer(request, status, buffer, 0)
    elif request.length > AGENT_BUFFER - 2:
        drain()
        answer(request, -E2BIG, buffer, 0)
    else:
        port_read(buffer, request.length)
        buffer[request.length] = 0
        buffer[request.length + 1] = 0
        serve(request, request.length)


@guest
def read_version() -> None:
    """What HELLO tells: the kernel's version text."""
    global version_length
    fd = open("/proc/version", O_RDONLY)
    if fd >= 0:
        n = read(u32(fd), version, VERSION_SIZE)
        version_length = u32(n) if n > 0 else 0
        close(u32(fd))


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program; it never ends."""
    hello: AgentHeader = AgentHeader()
    error = port_open("/dev/ttyS1")
    if error < 0:
        fail("agent: no serial port", error)
    read_version()
    puts("agent: listening on ttyS1\n")
    hello.magic = AGENT_MAGIC
    answer(hello, 0, version, version_length)
    while True:
        serve_next()
