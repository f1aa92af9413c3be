# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said to a mistyped word."""

from __future__ import annotations

import pytest

from kdumpsim.choices import unknown

KNOWN = ("FS_DEVRW", "TASKLET", "TIMERADD")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("FS_DEVWR", "; did you mean FS_DEVRW?"),
        ("fs_devrw", "; did you mean FS_DEVRW?"),
        ("FS_SUBMIT", "; did you mean FS_SUBMIT_BH?"),
        ("zzz", ";"),
        ("", ";"),
    ],
)
def test_the_likeliest_name_and_all_names(given: str, hint: str) -> None:
    complaint = unknown("crash point", given, KNOWN, others=["FS_SUBMIT_BH"])
    assert complaint == f"unknown crash point '{given}'{hint} choose from: FS_DEVRW, TASKLET, TIMERADD"
