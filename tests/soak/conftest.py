# SPDX-License-Identifier: GPL-2.0-or-later
"""The soak's figures at the end of the session."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
        if name == "soak"
    ]
    if lines:
        terminalreporter.section("soak")
        for line in lines:
            terminalreporter.line(line)
