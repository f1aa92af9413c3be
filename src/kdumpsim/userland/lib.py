# SPDX-License-Identifier: GPL-2.0-or-later
"""A small C library: system calls by name, strings, printing."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    ptr,
    u8,
    u32,
    u64,
    usize,
    void,
)
from kdumpsim.userland.syscall import syscall3, syscall5

O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_CREAT: Final = 0o100
O_TRUNC: Final = 0o1000
SEEK_SET: Final = 0
SEEK_END: Final = 2
WNOHANG: Final = 1
POSIX_FADV_DONTNEED: Final = 4
LINUX_REBOOT_MAGIC1: Final = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2: Final = 672274793
RB_AUTOBOOT: Final = 0x01234567
RB_HALT: Final = 0xCDEF0123
RB_KEXEC: Final = 0x45584543
NUMBER: Final = 12

ENOENT: Final = 2
E2BIG: Final = 7
EINVAL: Final = 22
ENOMEM: Final = 12
ENOSYS: Final = 38


class Timespec(Struct):
    """Seconds and nanoseconds."""

    tv_sec: u32
    tv_nsec: u32


class Utsname(Struct):
    """The answer of uname(2)."""

    sysname: array[u8] = length(65)
    nodename: array[u8] = length(65)
    release: array[u8] = length(65)
    version: array[u8] = length(65)
    machine: array[u8] = length(65)
    domainname: array[u8] = length(65)


@guest
def exit(code: i32) -> NoReturn:
    """End this process."""
    while True:
        syscall3(1, u32(code), 0, 0)


@guest
def fork() -> i32:
    """fork(2)"""
    return syscall3(2, 0, 0, 0)


@guest
def uname(name: ptr[Utsname]) -> i32:
    """uname(2)"""
    return syscall3(122, usize(name), 0, 0)


@guest
def read(fd: u32, buffer: ptr[void], count: usize) -> i32:
    """read(2)"""
    return syscall3(3, fd, usize(buffer), count)


@guest
def write(fd: u32, buffer: ptr[void], count: usize) -> i32:
    """write(2)"""
    return syscall3(4, fd, usize(buffer), count)


@guest
def open(path: cstr, flags: u32) -> i32:
    """open(2)"""
    return syscall3(5, usize(path), flags, 0)


@guest
def close(fd: u32) -> i32:
    """close(2)"""
    return syscall3(6, fd, 0, 0)


@guest
def waitpid(pid: i32, status: ptr[i32], options: u32) -> i32:
    """waitpid(2)"""
    return syscall3(7, u32(pid), usize(status), options)


@guest
def execve(path: cstr, argv: ptr[cstr]) -> i32:
    """execve(2), without an environment."""
    return syscall3(11, usize(path), usize(argv), 0)


@guest
def lseek(fd: u32, offset: u32, whence: u32) -> i32:
    """lseek(2)"""
    return syscall3(19, fd, offset, whence)


@guest
def getpid() -> i32:
    """getpid(2)"""
    return syscall3(20, 0, 0, 0)


@guest
def kill(pid: i32, signal: u32) -> i32:
    """kill(2)"""
    return syscall3(37, u32(pid), signal, 0)


@guest
def brk(address: usize) -> usize:
    """brk(2) of the kernel: where the heap ends now; 0 only asks."""
    return usize(syscall3(45, address, 0, 0))


@guest
def sbrk(size: usize) -> ptr[u8]:
    """More heap: where it begins, or NULL."""
    old = brk(0)
    return cast(ptr[u8], old) if brk(old + size) == old + size else NULL


@guest
def reboot(command: u32) -> i32:
    """reboot(2)"""
    return syscall3(88, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command)


@guest
def fsync(fd: u32) -> i32:
    """fsync(2)"""
    return syscall3(118, fd, 0, 0)


@guest
def llseek(fd: u32, offset: u64, whence: u32, position: ptr[u64]) -> i32:
    """_llseek(2): the new position goes to `position`."""
    return syscall5(140, fd, u32(offset >> 32), u32(offset & 0xFFFF_FFFF), usize(position), whence)


@guest
def sched_yield() -> i32:
    """sched_yield(2)"""
    return syscall3(158, 0, 0, 0)


@guest
def nanosleep(seconds: u32, nanoseconds: u32) -> i32:
    """nanosleep(2)"""
    time: Timespec = Timespec(tv_sec=seconds, tv_nsec=nanoseconds)
    return syscall3(162, usize(time), 0, 0)


@guest
def sendfile(out_fd: u32, in_fd: u32, count: usize) -> i32:
    """sendfile(2) at the files' own positions."""
    return syscall5(187, out_fd, in_fd, 0, count, 0)


@guest
def fadvise(fd: u32, advice: u32) -> i32:
    """posix_fadvise(2) for a whole file."""
    return syscall5(250, fd, 0, 0, 0, advice)


@guest
def set_affinity(mask: u32) -> i32:
    """sched_setaffinity(2) of this process."""
    return syscall3(241, 0, 4, usize(addr(mask)))


@guest
def kexec_load(entry: usize, nr_segments: u32, segments: ptr[void], flags: u32) -> i32:
    """kexec_load(2)"""
    return syscall5(283, entry, nr_segments, usize(segments), flags, 0)


@guest
def spawn(path: cstr, argv: ptr[cstr]) -> i32:
    """Start a program as a child; its pid."""
    return syscall3(512, usize(path), usize(argv), 0)


@guest
def start_workload(name: cstr, argument: cstr) -> i32:
    """Start a thread of the kernel by its name; its pid."""
    return syscall3(513, usize(name), usize(argument), 0)


@guest
def memset(target: ptr[void], value: i32, count: usize) -> ptr[void]:
    """Fill."""
    out = cast(ptr[u8], target)
    for i in range(count):
        out[i] = u8(value)
    return target


@guest
def strcpy(target: ptr[u8], source: cstr) -> None:
    """Copy a string with its NUL."""
    i: u32 = 0
    while source[i] != 0:
        target[i] = source[i]
        i += 1
    target[i] = 0


@guest
def memcpy(target: ptr[void], source: ptr[void], count: usize) -> ptr[void]:
    """Copy between places that do not overlap."""
    out = cast(ptr[u8], target)
    data = cast(ptr[u8], source)
    for i in range(count):
        out[i] = data[i]
    return target


@guest
def strlen(text: cstr) -> u32:
    """Length without the NUL."""
    n: u32 = 0
    while text[n] != 0:
        n += 1
    return n


@guest
def strcmp(a: cstr, b: cstr) -> i32:
    """Negative, zero or positive as `a` is before, equal to or behind `b`."""
    i: u32 = 0
    while a[i] != 0 and a[i] == b[i]:
        i += 1
    return i32(a[i]) - i32(b[i])


@guest
def strncmp(a: cstr, b: cstr, count: usize) -> i32:
    """strcmp() of the first `count` characters."""
    i: u32 = 0
    while i < count and a[i] != 0 and a[i] == b[i]:
        i += 1
    return 0 if i == count else i32(a[i]) - i32(b[i])


@guest
def puts(text: cstr) -> None:
    """Print a text on descriptor 1, as it is."""
    write(1, text, strlen(text))


@guest
def put_number(number: i32) -> None:
    """Print a decimal number."""
    digits: array[u8] = length(NUMBER)
    at: u32 = NUMBER - 1
    rest = u32(-number) if number < 0 else u32(number)
    while at == NUMBER - 1 or rest != 0:
        at -= 1
        digits[at] = ord("0") + u8(rest % 10)
        rest //= 10
    if number < 0:
        at -= 1
        digits[at] = ord("-")
    puts(digits + at)


@guest
def parse_number(text: cstr) -> u32:
    """A decimal number at the start of a text."""
    value: u32 = 0
    i: u32 = 0
    while text[i] >= ord("0") and text[i] <= ord("9"):
        value = value * 10 + (text[i] - ord("0"))
        i += 1
    return value


@guest
def fail(what: cstr, error: i32) -> NoReturn:
    """Say what went wrong with which errno, and end with code 1."""
    puts(what)
    puts(": error ")
    put_number(-error)
    puts("\n")
    exit(1)
