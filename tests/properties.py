# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the property tests look: fixed and few by default, random and many with `HYPOTHESIS_PROFILE=nightly`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "kdumpsim")
NIGHTLY_FACTOR = 10

settings.register_profile("kdumpsim", deadline=None, derandomize=True)
settings.register_profile(
    "nightly", deadline=None, derandomize=False, max_examples=100 * NIGHTLY_FACTOR, print_blob=True
)
settings.load_profile(PROFILE)


def examples(count: int, **more: Any) -> settings:
    """The settings of a test that tries `count` inputs, and ten times as many at night."""
    return settings(max_examples=count * NIGHTLY_FACTOR if PROFILE == "nightly" else count, **more)
