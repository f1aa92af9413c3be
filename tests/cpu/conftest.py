# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU to test on."""

from __future__ import annotations

import pytest
from cpu_box import Box


@pytest.fixture
def box() -> Box:
    return Box()
