# SPDX-License-Identifier: GPL-2.0-or-later
"""The crash points and crash types that the guest kernel has, for help texts and checks.

The guest registers the same names (`kernel/lkdtt/`); the kernel, not this table, decides what a
crossing does.  Names and meanings are those of the LKDTT paper, sections 3.2.1, 3.3 and 4.1.
"""

from __future__ import annotations

CRASH_POINTS: dict[str, str] = {
    "INT_HARDWARE_ENTRY": "IRQ handling: __do_IRQ, its descriptor's lock held",
    "INT_HW_IRQ_EN": "IRQ handling, interrupts on: handle_IRQ_event",
    "TASKLET": "tasklet service, interrupts off: tasklet_action",
    "INT_TASKLET_ENTRY": "tasklet service, interrupts on: tasklet_action",
    "FS_DEVRW": "block I/O: ll_rw_block, after unlock_buffer(), nothing to transfer",
    "MEM_SWAPOUT": "swapping out: shrink_list, before a page goes to swap",
    "SCSI_DISPATCH_CMD": "SCSI: scsi_dispatch_cmd, above the SATA disk",
    "IDE_CORE_CP": "IDE: ide_start_request; registered before it is armed",
    "TIMERADD": "starting a high-resolution timer: hrtimer_start",
}

CRASH_TYPES: dict[str, str] = {
    "none": "cross the point and do nothing",
    "panic": "call panic()",
    "oops": "BUG(): an invalid opcode",
    "exception": "dereference a null pointer",
    "hang": "loop for ever, interrupts as they are at the point",
    "overflow": "recurse rec_num times with 1 KiB of stack each",
}

POINT_ALIASES: dict[str, str] = {"FS_SUBMIT_BH": "FS_DEVRW", "SCSI_QUEUE_RQ": "SCSI_DISPATCH_CMD"}
"""Names that LKDTM, the crash module of later Linux kernels, gives to the same places."""

DYNAMIC_POINTS: dict[str, int] = {"IDE_CORE_CP": 50}
"""Points that exist only once they were added at run time, and the id the paper's Table 1 gives them."""

POINT_OPTIONS: dict[str, dict[str, str]] = {
    "IDE_CORE_CP": {"combined_mode": "ide"},
    "SCSI_DISPATCH_CMD": {"combined_mode": "libata"},
}
"""Kernel options without which nothing would cross a point."""

TTUTILS_TYPES: dict[str, str] = {"oops": "bug", "hang": "loop"}
"""What ttutils, and with it /proc/dtt of the guest, calls two of the types (section 3.3).

The paper's text (section 3.2.2) and its Table 2 call them `oops` and `hang`, and so does whatever we print."""
TYPE_ALIASES: dict[str, str] = {theirs: ours for ours, theirs in TTUTILS_TYPES.items()}
"""Other names that are accepted."""

DEFAULT_COUNT = 10
"""Crossings before the crash: the default `pass_num` of ttutils (section 3.3)."""
