# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools the tests need: outside CI a missing one skips the test, in CI it is a failure."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, where Ctrl-C is ignored; what tests start
    # and interrupt must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("kdumpsim", deadline=None, derandomize=True)
settings.load_profile("kdumpsim")


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
