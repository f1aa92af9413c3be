# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting programs (Linux fs/exec.c): execve for this task, spawn for a new one.

A program's address space is built while nobody runs in it, so that a failure leaves the caller as it was.  spawn stands
for fork and execve: this kernel has no copy-on-write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    placed,
    ptr,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import (
    PAGE_SIZE,
    copy_from_user,
    current,
    start_thread,
    start_user,
    strncpy_from_user,
    switch_mm,
    task_pt_regs,
    user_thread_setup,
)
from kdumpsim.kernel.core.config import TASK_COMM_LEN
from kdumpsim.kernel.core.exit import put_dead_task
from kdumpsim.kernel.core.kthread import dup_task_struct, link_task
from kdumpsim.kernel.core.sched import wake_up_new_task
from kdumpsim.kernel.core.sched_types import PF_KTHREAD, TaskStruct
from kdumpsim.kernel.core.spinlock import preempt_disable, preempt_enable
from kdumpsim.kernel.core.string import memcpy, strlcpy, strlen
from kdumpsim.kernel.core.syscalls import NR_execve, NR_spawn, Syscall
from kdumpsim.kernel.core.types import E2BIG, EACCES, EFAULT, ENOMEM
from kdumpsim.kernel.fs.binfmt_elf import STACK_TOP, load_elf_binary
from kdumpsim.kernel.fs.file_types import O_RDONLY, O_RDWR, File, FilesStruct
from kdumpsim.kernel.fs.files import fd_install, fput, put_files, share_files
from kdumpsim.kernel.fs.open import filp_open
from kdumpsim.kernel.mm.memory import get_user_page, mmput
from kdumpsim.kernel.mm.mm_types import MmStruct
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages, page_address
from kdumpsim.kernel.mm.vma import find_vma, mm_alloc

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

MAX_PATH: Final = 128
MAX_ARGS: Final = 32
ARG_BYTES: Final = 2048
STDIO: Final = 3
"""Descriptors a new process inherits."""


class LinuxBinprm(Struct):
    """A program that is being started."""

    mm: ptr[MmStruct]
    entry: usize
    esp: usize
    argc: u32
    args_size: usize
    path: array[u8] = length(MAX_PATH)
    args: array[u8] = length(ARG_BYTES)
    """The arguments one after the other, each with its NUL."""


@guest
def add_argument(bprm: ptr[LinuxBinprm], text: cstr) -> i32:
    """Add an argument that lies in the kernel."""
    size = strlen(text) + 1
    if bprm.argc == MAX_ARGS or size > ARG_BYTES - bprm.args_size:
        return -E2BIG
    memcpy(bprm.args + bprm.args_size, text, size)
    bprm.args_size += size
    bprm.argc += 1
    return 0


@guest
def copy_arguments(bprm: ptr[LinuxBinprm], argv: usize) -> i32:
    """Take a user's argument vector."""
    pointer: usize = 0
    while True:
        if copy_from_user(addr(pointer), argv, 4) != 0:
            return -EFAULT
        if pointer == 0:
            return 0
        if bprm.argc == MAX_ARGS:
            return -E2BIG
        n = strncpy_from_user(bprm.args + bprm.args_size, pointer, ARG_BYTES - bprm.args_size)
        if n < 0:
            return -EFAULT if n == -EFAULT else -E2BIG
        bprm.args_size += u32(n) + 1
        bprm.argc += 1
        argv += 4


@guest
def setup_arg_page(bprm: ptr[LinuxBinprm]) -> i32:
    """Put the arguments on the stack as the System V ABI has it: argc, argv, NULL, an empty environment, strings."""
    mm = bprm.mm
    page = get_user_page(mm, find_vma(mm, STACK_TOP - PAGE_SIZE), STACK_TOP - PAGE_SIZE)
    if page == NULL:
        return -ENOMEM
    base = cast(ptr[u8], page_address(page))
    strings: usize = (PAGE_SIZE - bprm.args_size) & 0xFFFF_FFF0
    memcpy(base + strings, bprm.args, bprm.args_size)
    bottom: usize = (strings - (bprm.argc + 4) * 4) & 0xFFFF_FFF0
    words = cast(ptr[u32], base + bottom)
    words[0] = bprm.argc
    at: usize = strings
    for i in range(bprm.argc):
        words[1 + i] = u32(STACK_TOP - PAGE_SIZE + at)
        at += strlen(base + at) + 1
    words[bprm.argc + 1] = 0
    words[bprm.argc + 2] = 0
    bprm.esp = STACK_TOP - PAGE_SIZE + bottom
    mm.start_stack = bprm.esp
    return 0


@guest
def load_program(bprm: ptr[LinuxBinprm], file: ptr[File]) -> i32:
    """Build the address space."""
    if file.f_op.read == NULL:
        return -EACCES
    headers = cast(ptr[u8], __get_free_pages(0))
    if headers == NULL:
        return -ENOMEM
    error = file.f_op.read(file, headers, PAGE_SIZE)
    if error >= 0:
        bprm.entry = cast(ptr[u32], headers)[6]
        error = load_elf_binary(file, headers, u32(error), bprm.mm)
    free_pages(headers, 0)
    return error if error != 0 else setup_arg_page(bprm)


@guest
def basename(path: cstr) -> cstr:
    """What follows the last slash."""
    name: cstr = path
    while path[0] != 0:
        if path[0] == ord("/"):
            name = path + 1
        path = path + 1
    return name


@guest
def open_exec(bprm: ptr[LinuxBinprm]) -> i32:
    """Open the program and make its address space; on failure nothing is left of it."""
    file: ptr[File] = NULL
    error = filp_open(bprm.path, O_RDONLY, addr(file))
    if error != 0:
        return error
    error = -ENOMEM
    bprm.mm = mm_alloc()
    if bprm.mm != NULL:
        strlcpy(bprm.mm.comm, basename(bprm.path), TASK_COMM_LEN)
        error = load_program(bprm, file)
        if error != 0:
            mmput(bprm.mm)
    fput(file)
    return error


@guest
def exec_mmap(bprm: ptr[LinuxBinprm]) -> None:
    """This task goes over to the new address space; the old one is freed."""
    task = current()
    old = task.mm
    preempt_disable()
    task.mm = bprm.mm
    switch_mm(bprm.mm)
    preempt_enable()
    mmput(old)
    task.flags &= ~PF_KTHREAD
    strlcpy(task.comm, basename(bprm.path), TASK_COMM_LEN)


@guest
def console_files() -> ptr[FilesStruct]:
    """Descriptors for the first process: 0 to 2 are the console.  NULL without memory."""
    files = share_files(0)
    console: ptr[File] = NULL
    if files != NULL and filp_open("/dev/console", O_RDWR, addr(console)) == 0:
        console.f_count = STDIO
        for fd in range(STDIO):
            fd_install(files, fd, console)
    return files


@guest
def kernel_execve(path: cstr, argument: cstr) -> i32:
    """Make a kernel thread a process; comes back only if the program cannot be started.  `argument` may be NULL."""
    files = console_files()
    bprm = bprm_alloc()
    error: i32 = -ENOMEM
    if files != NULL and bprm != NULL:
        strlcpy(bprm.path, path, MAX_PATH)
        error = add_argument(bprm, path)
        if error == 0 and argument != NULL:
            error = add_argument(bprm, argument)
        if error == 0:
            error = open_exec(bprm)
    if error == 0:
        put_files(current().files)
        current().files = files
        exec_mmap(bprm)
        regs = task_pt_regs(current())
        entry = bprm.entry
        esp = bprm.esp
        bprm_free(bprm)
        start_thread(regs, entry, esp)
        start_user(regs)
    bprm_free(bprm)
    put_files(files)
    return error


@guest
def bprm_alloc() -> ptr[LinuxBinprm]:
    """An empty description of a program, in a page."""
    bprm = cast(ptr[LinuxBinprm], __get_free_pages(0))
    if bprm != NULL:
        bprm.argc = 0
        bprm.args_size = 0
    return bprm


@guest
def bprm_free(bprm: ptr[LinuxBinprm]) -> None:
    """Free it; the address space is somebody's by now."""
    free_pages(bprm, 0)


@guest
def bprm_from_user(regs: ptr[PtRegs], out: ptr[ptr[LinuxBinprm]]) -> i32:
    """Load the program a system call names: path in EBX, arguments in ECX."""
    bprm = bprm_alloc()
    if bprm == NULL:
        return -ENOMEM
    error = strncpy_from_user(bprm.path, regs.ebx, MAX_PATH)
    if error >= 0:
        error = copy_arguments(bprm, regs.ecx)
    if error == 0:
        error = open_exec(bprm)
    if error != 0:
        bprm_free(bprm)
        return error
    out[0] = bprm
    return 0


@guest
def sys_execve(regs: ptr[PtRegs]) -> i32:
    """execve(path, argv, environment): the environment is ignored, open files stay open."""
    bprm: ptr[LinuxBinprm] = NULL
    error = bprm_from_user(regs, addr(bprm))
    if error != 0:
        return error
    exec_mmap(bprm)
    start_thread(regs, bprm.entry, bprm.esp)
    bprm_free(bprm)
    return 0


@guest
def spawn_task(bprm: ptr[LinuxBinprm]) -> ptr[TaskStruct]:
    """A new process that runs a loaded program; NULL without memory."""
    task = dup_task_struct(basename(bprm.path))
    if task == NULL:
        return NULL
    put_files(task.files)
    task.files = share_files(STDIO)
    if task.files == NULL:
        put_dead_task(task)
        return NULL
    task.flags &= ~PF_KTHREAD
    task.cpus_allowed = current().cpus_allowed
    task.mm = bprm.mm
    user_thread_setup(task, bprm.entry, bprm.esp)
    link_task(task)
    return task


@guest
def sys_spawn(regs: ptr[PtRegs]) -> i32:
    """spawn(path, argv): start a program as a child, with this process's descriptors 0 to 2; its pid."""
    bprm: ptr[LinuxBinprm] = NULL
    error = bprm_from_user(regs, addr(bprm))
    if error != 0:
        return error
    task = spawn_task(bprm)
    if task == NULL:
        mmput(bprm.mm)
    bprm_free(bprm)
    if task == NULL:
        return -ENOMEM
    pid = task.pid
    wake_up_new_task(task)
    return pid


_syscall_execve: Syscall = placed("syscalls", Syscall(nr=NR_execve, call=sys_execve))
_syscall_spawn: Syscall = placed("syscalls", Syscall(nr=NR_spawn, call=sys_spawn))
