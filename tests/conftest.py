# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools the tests need: outside CI a missing one skips the test, in CI it is a failure."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable

import pytest

import properties  # noqa: F401  registers and loads hypothesis' profile

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, where Ctrl-C is ignored; what tests start
    # and interrupt must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak", "random cases for as long as one likes: docs/testing.md")
    group.addoption("--soak-minutes", type=float, default=1.0, metavar="N", help="how long `-m soak` goes on")
    group.addoption("--soak-seed", type=int, default=0, metavar="S", help="what it draws: same seed, same cases")


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """`require_tool("gdb")`: its path; without it the test is skipped, or fails in CI."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is not installed, and CI must have it")
            pytest.skip(f"{name} is not installed")
        return path

    return find
