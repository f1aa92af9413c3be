# SPDX-License-Identifier: GPL-2.0-or-later
"""The capture kernel's command line (kdump paper, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import KexecError
from .segments import Range

KIB = 1024
COMMAND_LINE_SIZE = 2048
"""Bytes, the closing NUL included, that the kernel keeps (``boot_command_line``)."""

CAPTURE_DEFAULTS = ("maxcpus=1", "reset_devices")
"""Said to a capture kernel unless the user says otherwise."""

_OURS = ("crashkernel=", "memmap=", "elfcorehdr=", "mem=", "BOOT_IMAGE=")
"""Options that belong to the first kernel or are ours to set; dropped from what the user gives."""


def capture_command_line(
    append: str,
    usable: Sequence[Range],
    elfcorehdr: int,
    *,
    acpi: Sequence[Range] = (),
    defaults: Sequence[str] = CAPTURE_DEFAULTS,
    limit: int = COMMAND_LINE_SIZE,
) -> str:
    """`append` without the first kernel's options, then the defaults it does not set, then the memory map.

    `usable` is what the capture kernel may run in; all of it must lie on KiB boundaries.  `acpi` is what it may read
    but not use, widened to KiB boundaries.
    KexecError if the result does not fit into `limit` bytes.
    """
    words = [word for word in append.split() if not word.startswith(_OURS)]
    given = {word.partition("=")[0] for word in words}
    words += [word for word in defaults if word.partition("=")[0] not in given]
    words.append("memmap=exactmap")
    words += [f"memmap={_kib(part.size)}@{_kib(part.start)}" for part in usable]
    for part in acpi:
        whole = Range(part.start // KIB * KIB, -(-part.end // KIB) * KIB)
        words.append(f"memmap={_kib(whole.size)}#{_kib(whole.start)}")
    words.append(f"elfcorehdr={_kib(elfcorehdr)}")
    return checked(" ".join(words), limit)


def checked(line: str, limit: int = COMMAND_LINE_SIZE) -> str:
    """`line`, or KexecError if the kernel could not keep all of it."""
    if not line.isascii() or "\0" in line:
        raise KexecError("the kernel's command line may hold ASCII characters only")
    if len(line) >= limit:
        raise KexecError(f"the kernel's command line has {len(line)} characters, allowed are {limit - 1}: {line}")
    return line


def _kib(value: int) -> str:
    if value % KIB:
        raise KexecError(f"{value:#x} is not on a KiB boundary and cannot stand in a memmap= option")
    return f"{value >> 10}K"
