# SPDX-License-Identifier: GPL-2.0-or-later
"""The first task: the boot CPU's idle thread, pid 0, and what kernel threads have in common with it.

(arch/i386/kernel/init_task.c of 2.6.16.)
"""

from __future__ import annotations

from kdumpsim.kernel.architecture import swapper_pg_dir
from kdumpsim.kernel.core.sched_types import SighandStruct, SignalStruct, TaskStruct
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.fs.file_types import FilesStruct, FsStruct
from kdumpsim.kernel.mm.mm_types import MmStruct

init_fs: FsStruct = FsStruct(count=1)
"""Where all paths begin; filled by mnt_init()."""
init_files: FilesStruct = FilesStruct(count=1)
"""The kernel threads' table of descriptors; filled by files_init()."""
init_signals: SignalStruct = SignalStruct(count=1)
init_sighand: SighandStruct = SighandStruct(count=1)
"""What all processes do about signals: they have no handlers."""
init_mm: MmStruct = MmStruct(pgd=swapper_pg_dir, mm_users=2, page_table_lock=Spinlock(slock=1))
"""The kernel's own address space, and the head of the list of all; filled by setup_arch()."""
init_task: TaskStruct = TaskStruct(
    fs=init_fs,
    files=init_files,
    signal=init_signals,
    sighand=init_sighand,
)
"""Head of the list of all tasks as well; filled by sched_init()."""
