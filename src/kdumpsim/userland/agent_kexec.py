# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's KEXEC_LOAD: segments come inline or from a file of this machine, then go to kexec_load(2)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, guest, i32, length, ptr, sizeof, u8, u32, usize
from kdumpsim.userland.agent_port import port_read
from kdumpsim.userland.lib import EINVAL, ENOMEM, O_RDONLY, SEEK_SET, brk, close, kexec_load, lseek, open, read, sbrk

KEXEC_SEGMENT_MAX: Final = 16
MAX_SEGMENT: Final = 4 << 20
MAX_PATH: Final = 128
KIND_INLINE: Final = 0
KIND_FILE: Final = 1


class KexecSegment(Struct):
    """As kexec_load(2) has it."""

    buf: ptr[u8]
    bufsz: usize
    mem: usize
    memsz: usize


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


@guest
def read_file(path: ptr[u8], offset: u32, buffer: ptr[u8], count: usize) -> i32:
    """A part of a file; 0 or a negative errno."""
    fd = open(path, O_RDONLY)
    if fd < 0:
        return fd
    error = lseek(u32(fd), offset, SEEK_SET)
    if error >= 0:
        error = read(u32(fd), buffer, count)
    close(u32(fd))
    if error < 0:
        return error
    return 0 if u32(error) == count else -EINVAL


@guest
def file_segment(segment: ptr[KexecSegment]) -> i32:
    """A segment that is a part of a file."""
    where: AgentFile = AgentFile()
    path: array[u8] = length(MAX_PATH)
    if not port_read(where, sizeof(AgentFile)):
        return -EINVAL
    if where.path_length >= MAX_PATH or not port_read(path, where.path_length):
        return -EINVAL
    path[where.path_length] = 0
    return read_file(path, where.offset, segment.buf, segment.bufsz)


@guest
def take_segment(segment: ptr[KexecSegment]) -> i32:
    """Take one segment from the frame."""
    header: AgentSegment = AgentSegment()
    if not port_read(header, sizeof(AgentSegment)) or header.bufsz > MAX_SEGMENT:
        return -EINVAL
    segment.mem = header.mem
    segment.memsz = header.memsz
    segment.bufsz = header.bufsz
    if header.bufsz != 0:
        segment.buf = sbrk(header.bufsz)
        if segment.buf == NULL:
            return -ENOMEM
    if header.kind == KIND_INLINE:
        return 0 if port_read(segment.buf, segment.bufsz) else -EINVAL
    return file_segment(segment) if header.kind == KIND_FILE else -EINVAL


@guest
def load_image() -> i32:
    """Gather the segments, load the image, give the memory back."""
    load: AgentLoad = AgentLoad()
    segments: array[KexecSegment] = length(KEXEC_SEGMENT_MAX)
    if not port_read(load, sizeof(AgentLoad)) or load.nr_segments > KEXEC_SEGMENT_MAX:
        return -EINVAL
    heap = brk(0)
    error: i32 = 0
    for i in range(load.nr_segments):
        if error == 0:
            error = take_segment(segments[i])
    if error == 0:
        error = kexec_load(load.entry, load.nr_segments, segments, load.flags)
    brk(heap)
    return error
