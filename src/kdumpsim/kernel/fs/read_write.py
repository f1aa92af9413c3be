# SPDX-License-Identifier: GPL-2.0-or-later
"""Files by system call (Linux fs/{open,read_write}.c, mm/{filemap,fadvise}.c).

Files read and write kernel memory; what goes to or comes from a process passes through a page in between, so that a
file's code never meets a bad address or a page that must be fetched first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    fn,
    guest,
    i32,
    i64,
    length,
    placed,
    ptr,
    u8,
    u32,
    u64,
    usize,
)
from kdumpsim.kernel.architecture import PAGE_SIZE, access_ok, copy_from_user, copy_to_user, strncpy_from_user
from kdumpsim.kernel.core.syscalls import (
    NR__llseek,
    NR_close,
    NR_fadvise64,
    NR_fsync,
    NR_lseek,
    NR_open,
    NR_read,
    NR_sendfile,
    NR_write,
    Syscall,
)
from kdumpsim.kernel.core.types import EBADF, EFAULT, EINVAL, ENOMEM, ESPIPE
from kdumpsim.kernel.fs.file_types import O_ACCMODE, O_RDONLY, O_WRONLY, File
from kdumpsim.kernel.fs.files import fget, sys_close
from kdumpsim.kernel.fs.open import sys_open
from kdumpsim.kernel.fs.toyfs_file import sys_fsync, sys_rewind
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

MAX_PATH: Final = 256
SMALL: Final = 128
"""Up to here a transfer passes through the stack."""
MAX_COUNT: Final = 0x7FFF_F000
MAX_POSITION: Final = 0x7FFF_FFFF_FFFF_FFFF
SEEK_SET: Final = 0
SEEK_CUR: Final = 1
SEEK_END: Final = 2
POSIX_FADV_DONTNEED: Final = 4


@guest
def sys_open_user(regs: ptr[PtRegs]) -> i32:
    """open(path, flags)"""
    path: array[u8] = length(MAX_PATH, zeroed=False)
    error = strncpy_from_user(path, regs.ebx, MAX_PATH)
    return error if error < 0 else sys_open(path, regs.ecx)


@guest
def sys_close_user(regs: ptr[PtRegs]) -> i32:
    """close(fd)"""
    return sys_close(regs.ebx)


@guest
def read_piece(file: ptr[File], to: usize, count: usize, buffer: ptr[u8]) -> i32:
    """Read at most a bufferful."""
    n = file.f_op.read(file, buffer, count)
    if n > 0 and copy_to_user(to, buffer, u32(n)) != 0:
        return -EFAULT
    return n


@guest
def write_piece(file: ptr[File], source: usize, count: usize, buffer: ptr[u8]) -> i32:
    """Write at most a bufferful."""
    if copy_from_user(buffer, source, count) != 0:
        return -EFAULT
    return file.f_op.write(file, buffer, count)


@guest
def transfer(
    file: ptr[File],
    user: usize,
    count: usize,
    buffer: ptr[u8],
    size: usize,
    piece: fn[[ptr[File], usize, usize, ptr[u8]], i32],
) -> i32:
    """Read or write in pieces until one is short; how much, or the errno of the first piece."""
    done: usize = 0
    while True:
        part = min(count - done, size)
        n = piece(file, user + done, part, buffer)
        if n < 0:
            return i32(done) if done != 0 else n
        done += u32(n)
        if u32(n) != part or done == count:
            return i32(done)


@guest
def bounce(file: ptr[File], user: usize, count: usize, piece: fn[[ptr[File], usize, usize, ptr[u8]], i32]) -> i32:
    """A whole transfer, by way of the stack or a page."""
    if count > MAX_COUNT or not access_ok(user, count):
        return -EFAULT
    if count <= SMALL:
        small: array[u8] = length(SMALL, zeroed=False)
        return transfer(file, user, count, small, SMALL, piece)
    page = __get_free_pages(0)
    if page == NULL:
        return -ENOMEM
    n = transfer(file, user, count, cast(ptr[u8], page), PAGE_SIZE, piece)
    free_pages(page, 0)
    return n


@guest
def sys_read_user(regs: ptr[PtRegs]) -> i32:
    """read(fd, buffer, count)"""
    file: ptr[File] = fget(regs.ebx)
    if file == NULL or file.f_flags & O_ACCMODE == O_WRONLY:
        return -EBADF
    if file.f_op.read == NULL:
        return -EINVAL
    return bounce(file, regs.ecx, regs.edx, read_piece)


@guest
def sys_write_user(regs: ptr[PtRegs]) -> i32:
    """write(fd, buffer, count)"""
    file: ptr[File] = fget(regs.ebx)
    if file == NULL or file.f_flags & O_ACCMODE == O_RDONLY:
        return -EBADF
    if file.f_op.write == NULL:
        return -EINVAL
    return bounce(file, regs.ecx, regs.edx, write_piece)


@guest
def generic_file_llseek(file: ptr[File], offset: u64, whence: u32, most: u64) -> i32:
    """Move the position, to `most` at the furthest; the end is known of files that have a `size`."""
    position = offset
    if whence == SEEK_CUR:
        position += file.f_pos
    elif whence == SEEK_END:
        if file.f_op.size == NULL:
            return -ESPIPE
        position += file.f_op.size(file)
    elif whence != SEEK_SET:
        return -EINVAL
    if position > most:
        return -EINVAL
    file.f_pos = position
    return 0


@guest
def sys_lseek(regs: ptr[PtRegs]) -> i32:
    """lseek(fd, offset, whence): the new position, which must fit the result."""
    file: ptr[File] = fget(regs.ebx)
    if file == NULL:
        return -EBADF
    error = generic_file_llseek(file, u64(i64(i32(regs.ecx))), regs.edx, MAX_COUNT)
    return error if error != 0 else i32(file.f_pos)


@guest
def sys_llseek(regs: ptr[PtRegs]) -> i32:
    """_llseek(fd, offset_high, offset_low, result, whence): the new position goes to `result`."""
    file: ptr[File] = fget(regs.ebx)
    if file == NULL:
        return -EBADF
    error = generic_file_llseek(file, u64(regs.ecx) << 32 | regs.edx, regs.edi, MAX_POSITION)
    if error == 0 and copy_to_user(regs.esi, addr(file.f_pos), 8) != 0:
        return -EFAULT
    return error


@guest
def sys_sendfile(regs: ptr[PtRegs]) -> i32:
    """sendfile(out, in, offset, count): where `offset` is not NULL it holds the position, and `in` keeps its own."""
    out: ptr[File] = fget(regs.ebx)
    file: ptr[File] = fget(regs.ecx)
    if out == NULL or out.f_flags & O_ACCMODE == O_RDONLY or file == NULL or file.f_flags & O_ACCMODE == O_WRONLY:
        return -EBADF
    if file.f_op.sendfile == NULL or out.f_op.sendphys == NULL:
        return -EINVAL
    offset: u32 = 0
    own = file.f_pos
    if regs.edx != 0:
        if copy_from_user(addr(offset), regs.edx, 4) != 0:
            return -EFAULT
        file.f_pos = offset
    n = file.f_op.sendfile(file, min(regs.esi, MAX_COUNT), out)
    if regs.edx != 0:
        offset = u32(file.f_pos)
        file.f_pos = own
        if copy_to_user(regs.edx, addr(offset), 4) != 0:
            return -EFAULT
    return n


@guest
def sys_fsync_user(regs: ptr[PtRegs]) -> i32:
    """fsync(fd)"""
    return sys_fsync(regs.ebx)


@guest
def sys_fadvise64(regs: ptr[PtRegs]) -> i32:
    """fadvise64(fd, offset, offset_high, length, advice): POSIX_FADV_DONTNEED forgets all of a file's clean blocks."""
    file: ptr[File] = fget(regs.ebx)
    if file == NULL:
        return -EBADF
    if regs.edi != POSIX_FADV_DONTNEED:
        return 0
    position = file.f_pos
    error = sys_rewind(regs.ebx, True)
    file.f_pos = position
    return error


_syscall_open: Syscall = placed("syscalls", Syscall(nr=NR_open, call=sys_open_user))
_syscall_close: Syscall = placed("syscalls", Syscall(nr=NR_close, call=sys_close_user))
_syscall_read: Syscall = placed("syscalls", Syscall(nr=NR_read, call=sys_read_user))
_syscall_write: Syscall = placed("syscalls", Syscall(nr=NR_write, call=sys_write_user))
_syscall_lseek: Syscall = placed("syscalls", Syscall(nr=NR_lseek, call=sys_lseek))
_syscall_llseek: Syscall = placed("syscalls", Syscall(nr=NR__llseek, call=sys_llseek))
_syscall_sendfile: Syscall = placed("syscalls", Syscall(nr=NR_sendfile, call=sys_sendfile))
_syscall_fsync: Syscall = placed("syscalls", Syscall(nr=NR_fsync, call=sys_fsync_user))
_syscall_fadvise64: Syscall = placed("syscalls", Syscall(nr=NR_fadvise64, call=sys_fadvise64))
