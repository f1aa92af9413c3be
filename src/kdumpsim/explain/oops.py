# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding the kernel's crash reports in a console log: oopses, lockups, and call traces (Linux 2.6.16)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kdumpsim.target import ADDRESS_DIGITS, PROGRAM_COUNTER, STACK_POINTER

_HEADLINES = re.compile(
    r"Unable to handle kernel|kernel BUG at|NMI Watchdog detected LOCKUP|BUG: soft lockup detected"
    r"|: [0-9a-f]{4} \[#\d+\]|double fault, gdt at"
)
_ADDRESS = f"([0-9a-f]{{{ADDRESS_DIGITS}}})"
_COUNTER = re.compile(
    rf"{PROGRAM_COUNTER.upper()}:\s+[0-9a-f]{{4}}:\[<{_ADDRESS}>\]"
    rf"|^{PROGRAM_COUNTER} = {_ADDRESS}, {STACK_POINTER} = "
)
_CODE = re.compile(r"Code: ((?:<?[0-9a-f]{2}>?(?: |$))+)")
_TRACE = re.compile(rf" \[<{_ADDRESS}>\]")
_TASK = re.compile(r"Process (.*)\(pid: (\d+),")


@dataclass
class Report:
    """One report: what it was about, where, the bytes around, and who had called, innermost first."""

    headline: str
    address: int | None = None
    """None where only a call trace was printed."""
    code: bytes = b""
    before: int = 0
    """How many bytes of `code` lie before it."""
    task: str = ""
    trace: list[int] = field(default_factory=list)


def find_reports(console: str) -> list[Report]:
    """The reports of a console log, in order."""
    reports: list[Report] = []
    current: Report | None = None
    for line in console.splitlines():
        if _HEADLINES.search(line) and (current is None or current.address is not None or current.trace):
            current = Report(line.strip())
            reports.append(current)
        elif current is not None:
            _read(current, line)
    return [report for report in reports if report.address is not None or report.trace]


def _read(report: Report, line: str) -> None:
    """Take what a line adds to a report."""
    if (match := _COUNTER.search(line)) and report.address is None:
        report.address = int(match[1] or match[2], 16)
    elif match := _TRACE.match(line):
        report.trace.append(int(match[1], 16))
    elif (match := _CODE.match(line)) and not report.code:
        words = match[1].split()
        report.code = bytes(int(word.strip("<>"), 16) for word in words)
        report.before = next((number for number, word in enumerate(words) if word[0] == "<"), 0)
    elif match := _TASK.search(line):
        report.task = f"{match[1].strip() or '?'} (pid {match[2]})"
