# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's serial port: frames and their payloads."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    usize,
    void,
)
from kdumpsim.userland.lib import O_RDWR, exit, open, read, write

AGENT_MAGIC: Final = 0x4B
WASTE: Final = 64


class AgentHeader(Struct):
    """What every frame begins with."""

    magic: u8
    op: u8
    tag: u16
    length: u32


port: u32 = 0
left: u32 = 0
"""Bytes of the current frame's payload that were not read yet."""


@guest
def port_open(path: cstr) -> i32:
    """Open the port; 0 or a negative errno."""
    global port
    fd = open(path, O_RDWR)
    if fd < 0:
        return fd
    port = u32(fd)
    return 0


@guest
def port_write(data: ptr[void], count: usize) -> None:
    """Send bytes."""
    write(port, data, count)


@guest
def receive(data: ptr[u8], count: usize) -> None:
    """Exactly so many bytes from the port; without a port there is nothing left to do."""
    done: u32 = 0
    while done < count:
        n = read(port, data + done, count - done)
        if n <= 0:
            exit(1)
        done += u32(n)


@guest
def port_read(data: ptr[void], count: usize) -> bool:
    """Read a part of the payload; False, and nothing read, if it is not that long."""
    global left
    if count > left:
        return False
    receive(cast(ptr[u8], data), count)
    left -= u32(count)
    return True


@guest
def drain() -> None:
    """Throw away the rest of the payload."""
    waste: array[u8] = length(WASTE)
    while left != 0:
        port_read(waste, min(left, WASTE))


@guest
def wait_for_request(request: ptr[AgentHeader]) -> None:
    """Wait for a frame's header.  Bytes that begin no frame are skipped."""
    global left
    request.magic = 0
    while request.magic != AGENT_MAGIC:
        receive(addr(request.magic), 1)
    receive(addr(request.op), sizeof(AgentHeader) - 1)
    left = request.length
