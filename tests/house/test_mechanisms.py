# SPDX-License-Identifier: GPL-2.0-or-later
"""Rooms above `mechanisms/` never ask which mechanism it is, so no name that is one mechanism's own stands in them."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

ROOT = Path(str(files("kdumpsim")))
ROOMS = ("runs", "lkdtt", "vmcore", "sweeps", "explain", "tui", "debugger", "commands", "console", "api.py", "cli.py")
OWN = re.compile(
    r"kexec|purgatory|\bkdump\b|vmlinux-kdump|crash_save|elfcorehdr|dump_execute|MECHANISMS\[\"|CAPTURE_LOADED", re.I
)
"""Names of a mechanism's own, kdump's above all: its guest functions, files, tools and words, anywhere on a line,
comments included."""

EXCEPTIONS: dict[str, tuple[str, str]] = {
    "commands/kexec.py": (".*", "the command is kexec-tools': its subject is kexec, on whatever machine"),
    "console/kexec.py": (".*", "the console's kexec command, as kexec(8)"),
    "console/shell.py": (
        r"kexec import|import kexec|_kexec\b|kexec\.(parse|perform)|KexecError|kexec: |\"kexec\": Command|_LOADED",
        "the console's table of commands has that one, and completion knows files of /sys/kernel",
    ),
    "commands/console.py": (
        r"--no-kexec|no_kexec|kexec -p|command == \"kexec\"",
        "an option that is called after the command which it leaves to the person, and completion of that command",
    ),
    "tui/guide.py": ("purgatory", "the page teaches with the mechanism that one has without asking for another"),
    "cli.py": (r'^    "kexec": ', "the list of commands has kexec"),
    "vmcore/formats/makedumpfile.py": ('"KDUMP   "', "the signature of makedumpfile's format"),
    "vmcore/formats/convert.py": ('^COMPRESSED = "kdump-"', "its names, for a user"),
    "commands/convert.py": ("kdump-(zlib|lzo|snappy|zstd) ", "the same names, in the help"),
    "lkdtt/paper.py": ("^COLUMNS? = ", "columns of the paper's Table 2 have such headings"),
}
"""Module: the lines that may have such a name, and why."""


def lines() -> list[tuple[str, int, str]]:
    """Every line with such a name: its module, number and text."""
    found = []
    for room in ROOMS:
        paths = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py"))
        for path in paths:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if OWN.search(line.replace("kdumpsim.kernel", "")):
                    found.append((str(path.relative_to(ROOT)), number, line))
    return found


def allowed(module: str, line: str) -> bool:
    """Whether an exception says that it may be there."""
    return module in EXCEPTIONS and re.search(EXCEPTIONS[module][0], line) is not None


def test_no_room_above_knows_a_mechanism_by_name() -> None:
    known = [f"{module}:{number}: {line.strip()}" for module, number, line in lines() if not allowed(module, line)]
    assert not known, "ask the mechanism (mechanisms/base.py) instead:\n" + "\n".join(known)


def test_every_exception_is_one() -> None:
    assert {module for module, _, line in lines() if allowed(module, line)} == set(EXCEPTIONS)


def test_only_the_mechanisms_import_their_tools() -> None:
    """kexec-tools are kdump's, and the kexec commands'."""
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if re.search(r"(from|import) kdumpsim\.kexec\b", path.read_text())
    }
    assert users == {
        "mechanisms/kdump.py", "mechanisms/loaded.py", "commands/kexec.py", "console/kexec.py", "console/shell.py",
    }  # fmt: skip
