# SPDX-License-Identifier: GPL-2.0-or-later
"""`pytest -m soak --soak-minutes N --soak-seed S`: each kind of case for its share of the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from soak.driver import soak
from soak.kinds import KINDS


@pytest.mark.soak
@pytest.mark.parametrize("name", KINDS)
def test_nothing_fails(
    name: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    minutes, seed = request.config.getoption("--soak-minutes"), request.config.getoption("--soak-seed")
    kind = KINDS[name]()
    summary = soak(kind, seed, lambda summary: summary.seconds >= minutes * 60 * kind.share, print)
    record_property("soak", str(summary))
    if summary.found:
        found = "\n\n".join(map(str, summary.found))
        pytest.fail(f"seed {seed}, {summary}\n\n{found}", pytrace=False)
