# SPDX-License-Identifier: GPL-2.0-or-later
"""The capture kernel's command line."""

from __future__ import annotations

import pytest

from kdumpsim.kexec.cmdline import capture_command_line
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.segments import Range

USABLE = [Range(0, 640 << 10), Range(16 << 20, 20 << 20)]
MAP = "memmap=exactmap memmap=640K@0K memmap=4096K@16384K elfcorehdr=20480K"


def test_memory_map_and_defaults_are_added() -> None:
    line = capture_command_line("console=ttyS0 root=/dev/hda", USABLE, 20 << 20)
    assert line == f"console=ttyS0 root=/dev/hda maxcpus=1 reset_devices {MAP}"


def test_acpis_tables_are_shown_in_whole_kib() -> None:
    line = capture_command_line("", USABLE, 20 << 20, acpi=[Range(0x3FF0001, 0x3FF07FF)])
    assert line.endswith("memmap=4096K@16384K memmap=2K#65472K elfcorehdr=20480K")


def test_the_first_kernels_options_are_dropped() -> None:
    line = capture_command_line("crashkernel=16M@16M mem=64M memmap=1K@2K elfcorehdr=3K a=b", USABLE, 20 << 20)
    assert line == f"a=b maxcpus=1 reset_devices {MAP}"


def test_the_users_choice_wins_over_a_default() -> None:
    assert capture_command_line("maxcpus=4", USABLE, 20 << 20) == f"maxcpus=4 reset_devices {MAP}"


def test_limits() -> None:
    with pytest.raises(KexecError, match="allowed are 2047"):
        capture_command_line("x" * 2000, USABLE, 20 << 20)
    with pytest.raises(KexecError, match="ASCII"):
        capture_command_line("ä", USABLE, 20 << 20)
    with pytest.raises(KexecError, match="KiB boundary"):
        capture_command_line("", [Range(0, 1000)], 20 << 20)
