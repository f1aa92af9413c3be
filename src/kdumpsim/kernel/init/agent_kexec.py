# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's KEXEC_LOAD: segments come inline or from a file of this machine, then go to sys_kexec_load()."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import NULL, Struct, addr, array, cast, guest, i32, length, ptr, sizeof, u8, u32
from kdumpsim.kernel.asm import PAGE_SIZE
from kdumpsim.kernel.core.kexec import sys_kexec_load
from kdumpsim.kernel.core.kexec_types import KEXEC_SEGMENT_MAX, KexecSegment
from kdumpsim.kernel.core.types import EINVAL, ENOMEM
from kdumpsim.kernel.fs.toyfs_file import toyfs_read_direct
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages

if TYPE_CHECKING:
    from kdumpsim.kernel.init.agent import agent_read

MAX_SEGMENT: Final = 4 << 20
MAX_PATH: Final = 128
KIND_INLINE: Final = 0
KIND_FILE: Final = 1


class AgentLoad(Struct):
    """What the payload of KEXEC_LOAD begins with."""

    entry: u32
    flags: u32
    nr_segments: u32


class AgentSegment(Struct):
    """What each segment begins with; its bytes or the place in a file follow."""

    kind: u32
    mem: u32
    memsz: u32
    bufsz: u32


class AgentFile(Struct):
    """Where a file-backed segment lies; the path follows."""

    offset: u32
    path_length: u32


class AgentBuffer(Struct):
    """Memory that holds a segment until the kernel has copied it."""

    address: ptr[u8]
    order: u32


@guest
def get_order(size: u32) -> u32:
    """The order of the smallest block of pages with `size` bytes."""
    order: u32 = 0
    while (PAGE_SIZE << order) < size:
        order += 1
    return order


@guest
def agent_alloc(buffer: ptr[AgentBuffer], size: u32) -> bool:
    """Memory for a segment; a segment without bytes gets none."""
    if size == 0:
        return True
    buffer.order = get_order(size)
    buffer.address = cast(ptr[u8], __get_free_pages(buffer.order))
    return buffer.address != NULL


@guest
def agent_inline_segment(segment: ptr[KexecSegment], buffer: ptr[AgentBuffer]) -> i32:
    """A segment whose bytes stand in the frame."""
    if not agent_alloc(buffer, segment.bufsz):
        return -ENOMEM
    segment.buf = buffer.address
    if not agent_read(buffer.address, segment.bufsz):
        return -EINVAL
    return 0


@guest
def agent_file_segment(segment: ptr[KexecSegment], buffer: ptr[AgentBuffer]) -> i32:
    """A segment that is a part of a file: whole blocks come by DMA, the segment begins somewhere in the first."""
    where: AgentFile = AgentFile()
    path: array[u8] = length(MAX_PATH)
    if not agent_read(cast(ptr[u8], addr(where)), sizeof(AgentFile)):
        return -EINVAL
    if where.path_length >= MAX_PATH or not agent_read(path, where.path_length):
        return -EINVAL
    path[where.path_length] = 0
    ahead: u32 = where.offset & (PAGE_SIZE - 1)
    if not agent_alloc(buffer, ahead + segment.bufsz):
        return -ENOMEM
    segment.buf = buffer.address + ahead
    return toyfs_read_direct(path, where.offset - ahead, buffer.address, ahead + segment.bufsz)


@guest
def agent_segment(segment: ptr[KexecSegment], buffer: ptr[AgentBuffer]) -> i32:
    """Take one segment from the frame."""
    header: AgentSegment = AgentSegment()
    if not agent_read(cast(ptr[u8], addr(header)), sizeof(AgentSegment)):
        return -EINVAL
    if header.bufsz > MAX_SEGMENT:
        return -EINVAL
    segment.mem = header.mem
    segment.memsz = header.memsz
    segment.bufsz = header.bufsz
    if header.kind == KIND_INLINE:
        return agent_inline_segment(segment, buffer)
    if header.kind == KIND_FILE:
        return agent_file_segment(segment, buffer)
    return -EINVAL


@guest
def agent_kexec_load() -> i32:
    """Gather the segments, load the image, free the gathered memory."""
    load: AgentLoad = AgentLoad()
    segments: array[KexecSegment] = length(KEXEC_SEGMENT_MAX)
    buffers: array[AgentBuffer] = length(KEXEC_SEGMENT_MAX)
    if not agent_read(cast(ptr[u8], addr(load)), sizeof(AgentLoad)) or load.nr_segments > KEXEC_SEGMENT_MAX:
        return -EINVAL
    error: i32 = 0
    for i in range(load.nr_segments):
        if error == 0:
            error = agent_segment(addr(segments[i]), addr(buffers[i]))
    if error == 0:
        error = sys_kexec_load(load.entry, load.nr_segments, segments, load.flags)
    for i in range(load.nr_segments):
        if buffers[i].address != NULL:
            free_pages(buffers[i].address, buffers[i].order)
    return error
