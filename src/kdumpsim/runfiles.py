# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of the files that a run leaves in its directory."""

from __future__ import annotations

from typing import Final

VMCORE: Final = "vmcore"
VMLINUX: Final = "vmlinux"
CONSOLE_LOG: Final = "console.log"
RESULT: Final = "result.json"
TRACE: Final = "trace.txt"
SYSTEM_IMAGE: Final = "system.img"
DUMP_IMAGE: Final = "dump.img"
TRUTH_CORE: Final = "truth.core"
"""Our machine's memory and registers at the crash."""
TRUTH_END_CORE: Final = "truth-end.core"
"""Those at the end."""

TRUTH: Final = "truth.json"
"""What is true of a dump of the corpus."""

TRUTH_FILES: Final = (TRUTH_CORE, TRUTH_END_CORE)
OUTPUT_FILES: Final = (VMCORE, VMLINUX, CONSOLE_LOG, RESULT, TRACE, SYSTEM_IMAGE, DUMP_IMAGE, *TRUTH_FILES)
"""All of them; which ones a run writes is its caller's choice."""
MADE_OF_VMCORE: Final = tuple(
    f"{VMCORE}.{suffix}"
    for suffix in ("elf", "kdump-zlib", "kdump-lzo", "kdump-snappy", "kdump-zstd", "flattened", "raw", "lldb")
)
"""What `kdumpsim convert` and `kdumpsim open` leave beside a dump; beside another dump they would mislead."""
