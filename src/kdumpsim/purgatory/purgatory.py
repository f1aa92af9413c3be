# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens between the kernels (kdump paper, sections 3.3 and 4.3).

1. A SHA-256 over everything kexec-tools loaded is compared with the one it computed; a difference stops the machine
   here, because a corrupted capture kernel could write anything anywhere, the dump disk included.
2. The first 640 KiB of memory, which the next kernel needs for itself, are copied to the backup region.

Return leads to the next kernel (``entry.py``).
"""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, array, asm, cast, guest, length, ptr, u8, u32, usize
from kdumpsim.purgatory.backup import copy_backup_region
from kdumpsim.purgatory.console import put_digest, puts
from kdumpsim.purgatory.sha256 import DIGEST_SIZE, Sha256, sha256_finish, sha256_starts, sha256_update

MAX_REGIONS = 16
"""As many as the kernel takes segments (KEXEC_SEGMENT_MAX)."""


class Sha256Region(Struct):
    """One piece of memory that the digest covers."""

    start: usize
    len: usize


# Filled in by kexec-tools.
sha256_regions: array[Sha256Region] = length(MAX_REGIONS)
"""In the order in which they were hashed; an empty one is skipped."""
sha256_digest: array[u8] = length(DIGEST_SIZE)
backup_src_start: u32 = 0
backup_src_size: u32 = 0
backup_start: u32 = 0


@guest
def verify_sha256_digest(actual: ptr[u8]) -> bool:
    """Is memory as kexec-tools left it? The digest found is stored at `actual`."""
    ctx: Sha256 = Sha256(count=0)
    sha256_starts(ctx)
    for i in range(MAX_REGIONS):
        sha256_update(ctx, cast(ptr[u8], sha256_regions[i].start), sha256_regions[i].len)
    sha256_finish(ctx, actual)
    for i in range(DIGEST_SIZE):
        if actual[i] != sha256_digest[i]:
            return False
    return True


@guest
def purgatory() -> None:
    """The whole of purgatory; called by ``purgatory_start``, and returns only if memory is intact."""
    actual: array[u8] = length(DIGEST_SIZE)
    puts("I'm in purgatory\n")
    if not verify_sha256_digest(actual):
        puts("purgatory: expected ")
        put_digest(sha256_digest, DIGEST_SIZE)
        puts("\npurgatory: found    ")
        put_digest(actual, DIGEST_SIZE)
        puts("\npurgatory: sha256 mismatch: what was loaded has been overwritten, the new kernel is not started\n")
        while True:
            asm("cli; hlt")
    copy_backup_region(cast(ptr[u32], backup_src_start), cast(ptr[u32], backup_start), backup_src_size)
