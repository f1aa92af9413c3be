# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent: a thread on COM2 through which tools outside use this kernel's files and kexec_load (docs/kernel.md)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    void,
)
from kdumpsim.kernel.asm import machine_halt, machine_restart
from kdumpsim.kernel.core.kexec import kernel_kexec
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strlen
from kdumpsim.kernel.core.types import E2BIG, EINVAL, ENOMEM, ENOSYS
from kdumpsim.kernel.core.version import linux_banner
from kdumpsim.kernel.drivers.serial8250 import serial8250_read, serial8250_startup, serial8250_write, ttys1
from kdumpsim.kernel.fs.files import sys_close, sys_open, sys_read, sys_write
from kdumpsim.kernel.init.agent_kexec import agent_kexec_load
from kdumpsim.kernel.init.workload import start_workload
from kdumpsim.kernel.mm.page_alloc import __get_free_pages

AGENT_MAGIC: Final = 0x4B
AGENT_REPLY: Final = 0x80
AGENT_BUFFER_ORDER: Final = 2
AGENT_BUFFER: Final = 4096 << AGENT_BUFFER_ORDER

OP_HELLO: Final = 0
OP_OPEN: Final = 1
OP_READ: Final = 2
OP_WRITE: Final = 3
OP_CLOSE: Final = 4
OP_KEXEC_LOAD: Final = 5
OP_REBOOT: Final = 6
OP_START: Final = 7


class AgentHeader(Struct):
    """What every frame begins with."""

    magic: u8
    op: u8
    tag: u16
    length: u32


class AgentReply(Struct):
    """What every reply begins with."""

    header: AgentHeader
    status: i32


agent_left: u32 = 0
"""Bytes of the current frame's payload that were not read yet."""


@guest
def agent_read(buffer: ptr[u8], count: u32) -> bool:
    """Read a part of the payload; False, and nothing read, if it is not that long."""
    global agent_left
    if count > agent_left:
        return False
    serial8250_read(addr(ttys1), buffer, count)
    agent_left -= count
    return True


@guest
def agent_drain() -> None:
    """Throw away the rest of the payload."""
    global agent_left
    waste: array[u8] = length(64)
    while agent_left != 0:
        n: u32 = min(agent_left, 64)
        serial8250_read(addr(ttys1), waste, n)
        agent_left -= n


@guest
def agent_reply(request: ptr[AgentHeader], status: i32, data: ptr[u8], count: u32) -> None:
    """Answer a request."""
    reply: AgentReply = AgentReply()
    reply.header.magic = AGENT_MAGIC
    reply.header.op = request.op | AGENT_REPLY
    reply.header.tag = request.tag
    reply.header.length = 4 + count
    reply.status = status
    serial8250_write(addr(ttys1), cast(ptr[u8], addr(reply)), sizeof(AgentReply))
    serial8250_write(addr(ttys1), data, count)


@guest
def agent_reboot(command: u32) -> i32:
    """REBOOT: the reply went out before."""
    if command == 0:
        printk("<0>Restarting system.\n")
        machine_restart()
    elif command == 1:
        return kernel_kexec()
    printk("<0>System halted.\n")
    machine_halt()


@guest
def agent_frame(request: ptr[AgentHeader], payload: ptr[u8], count: u32) -> None:
    """Serve one request whose payload lies in memory, NUL-terminated."""
    words: ptr[u32] = cast(ptr[u32], payload)
    op: u32 = u32(request.op)
    if op == OP_HELLO:
        agent_reply(request, 0, linux_banner, strlen(linux_banner))
    elif op == OP_OPEN and count > 4:
        agent_reply(request, sys_open(payload + 4, words[0]), NULL, 0)
    elif op == OP_READ and count == 8:
        fd: u32 = words[0]
        n: i32 = sys_read(fd, payload, min(words[1], AGENT_BUFFER))
        agent_reply(request, n, payload, u32(n) if n > 0 else 0)
    elif op == OP_WRITE and count >= 4:
        agent_reply(request, sys_write(words[0], payload + 4, count - 4), NULL, 0)
    elif op == OP_CLOSE and count == 4:
        agent_reply(request, sys_close(words[0]), NULL, 0)
    elif op == OP_REBOOT and count == 4 and words[0] <= 2:
        agent_reply(request, 0, NULL, 0)
        agent_reboot(words[0])
    elif op == OP_START and count != 0:
        name: u32 = strlen(payload)
        payload[count + 1] = 0
        agent_reply(request, start_workload(payload, payload + name + 1), NULL, 0)
    elif op > OP_START:
        agent_reply(request, -ENOSYS, NULL, 0)
    else:
        agent_reply(request, -EINVAL, NULL, 0)


@guest
def agent_serve(buffer: ptr[u8]) -> None:
    """Wait for a frame and serve it.  Bytes that begin no frame are skipped."""
    global agent_left
    request: AgentHeader = AgentHeader()
    agent_left = sizeof(AgentHeader)
    while request.magic != AGENT_MAGIC:
        agent_left = sizeof(AgentHeader)
        agent_read(addr(request.magic), 1)
    agent_read(addr(request.op), sizeof(AgentHeader) - 1)
    agent_left = request.length
    if request.op == OP_KEXEC_LOAD:
        status: i32 = agent_kexec_load()
        agent_drain()
        agent_reply(addr(request), status, NULL, 0)
    elif request.length > AGENT_BUFFER - 2:
        agent_drain()
        agent_reply(addr(request), -E2BIG, NULL, 0)
    else:
        agent_read(buffer, request.length)
        buffer[request.length] = 0
        agent_frame(addr(request), buffer, request.length)


@guest
def agent(unused: ptr[void]) -> i32:
    """The thread."""
    hello: AgentHeader = AgentHeader()
    buffer: ptr[u8] = cast(ptr[u8], __get_free_pages(AGENT_BUFFER_ORDER))
    if buffer == NULL:
        return -ENOMEM
    if not serial8250_startup(addr(ttys1), "serial"):
        return -EINVAL
    printk("<6>agent: listening on ttyS1\n")
    agent_reply(addr(hello), 0, linux_banner, strlen(linux_banner))
    while True:
        agent_serve(buffer)
