# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools the tests need: outside CI a missing one skips the test, in CI it is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import settings

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
