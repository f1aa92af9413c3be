# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run ended, in plain text made of recorded facts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kdumpsim.runs.result import Result
from kdumpsim.vmcore.compare import Judgement

CONSOLE_LINES = 12
"""Of the console's end."""
MAX_DIFFERENCES = 5
PROGRESS = re.compile(r"savecore: +\d+%")
"""Lines of the console that tell nothing of how it ended."""


def explained(result: Result, console: str) -> str:
    """Outcome, reason, evidence, what is wrong with the dump, the console's end, and the command that runs it again."""
    scenario, outcome = result.scenario, result.outcome
    lines = [f"{scenario.title}: {outcome}"]
    if outcome.reason:
        lines.append(f"reason: {outcome.reason}")
    lines += [f"evidence: {text}" for text in outcome.evidence]
    if result.judgement is not None:
        lines += _judged(result.judgement)
    lines += console_tail(console)
    return "\n".join([*lines, f"run it again: {scenario.command()}"])


def console_tail(console: str, lines: int = CONSOLE_LINES) -> list[str]:
    """The console's last lines, with a heading; nothing of a console that is empty."""
    said = [line.rstrip() for line in console.splitlines() if line.strip() and not PROGRESS.match(line)]
    if not said:
        return []
    heading = f"console, last {lines} of {len(said)} lines:" if len(said) > lines else "console:"
    return [heading, *(f"  {line}" for line in said[-lines:])]


def _judged(judgement: Judgement) -> Iterator[str]:
    """What the dump is worth."""
    yield f"dump: completeness {judgement.completeness:.6f}, accuracy {judgement.accuracy:.6f}"
    for difference in judgement.differences[:MAX_DIFFERENCES]:
        cause = f", {difference.cause}" if difference.cause else ""
        yield f"  {difference.kind}: {difference.start:#x} to {difference.end:#x}, {difference.owner}{cause}"
    if (more := len(judgement.differences) - MAX_DIFFERENCES) > 0:
        yield f"  and {more} other difference{'s' * (more > 1)}"
    for check in judgement.registers:
        yield from (f"  registers of CPU {check.cpu}: {problem}" for problem in check.problems)
