# SPDX-License-Identifier: GPL-2.0-or-later
"""Table 2 of the LKDTT paper (F. L. Vázquez Cao, Proceedings of the Linux Symposium 2006, volume 1, section 4).

``table2.csv`` beside this module is its transcription.  It is read to be printed beside what was found here, and for
nothing else: no run knows what the paper says.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from kdumpsim.scenario.mechanisms import DEFAULT_MECHANISM, MECHANISMS

COLUMN = "kdump-2.6.16"
"""The column that `kdumpsim table2` is printed beside, unless a profile has another."""
COLUMNS = {"2.6.13-rc7": "kdump-2.6.13-rc7"}
"""Columns of profiles that are another kernel's."""
IDE_POINT = "IDE_CORE_CP"
"""In the paper's list of crash points (section 4.1), but not in its table: its test machine had a SATA disk."""
_OUTCOME = re.compile(r"^([OX])(?: \(([^()]+)\))?$")


@dataclass(frozen=True)
class Cell:
    """A crash point and a crash type, in the table's names, and the published outcome where there is one."""

    crash_point: str
    crash_type: str
    published: str | None


class Agreement:
    """How far an outcome is the published one."""

    FULL = "yes"
    LETTER = "letter only"
    """Captured in both or in neither, with other marks."""
    NONE = "no"


def column_of(profile: str, mechanism: str = DEFAULT_MECHANISM) -> str:
    """The column to compare with: the mechanism's own, or else the profile's."""
    return MECHANISMS[mechanism].column or COLUMNS.get(profile, COLUMN)


@cache
def cells(column: str | None = None) -> tuple[Cell, ...]:
    """The 40 cells of a column (that of 2.6.16, unless told otherwise) in its order, then those of IDE_CORE_CP."""
    text = resources.files("kdumpsim.lkdtt").joinpath("table2.csv").read_text(encoding="utf-8")
    table = [
        Cell(row["crash_point"], row["crash_type"], row[column or COLUMN]) for row in csv.DictReader(text.splitlines())
    ]
    types = dict.fromkeys(cell.crash_type for cell in table)
    return (*table, *(Cell(IDE_POINT, kind, None) for kind in types))


def marks(outcome: str) -> tuple[str, frozenset[str]]:
    """`X (det, SysRq)` as its letter and its marks; ValueError for what is no outcome."""
    match = _OUTCOME.match(outcome)
    if match is None:
        raise ValueError(f"'{outcome}' is not an outcome of the legend")
    return match[1], frozenset(word.strip() for word in (match[2] or "").split(",") if word.strip())


def agreement(outcome: str, published: str) -> str:
    """A word of `Agreement`; the order of marks does not count."""
    ours, theirs = marks(outcome), marks(published)
    if ours == theirs:
        return Agreement.FULL
    return Agreement.LETTER if ours[0] == theirs[0] else Agreement.NONE
