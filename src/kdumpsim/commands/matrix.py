# SPDX-License-Identifier: GPL-2.0-or-later
"""Table 2 as a matrix, crash points by crash types, that fits 60 columns; and its details."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from string import ascii_lowercase

from rich.text import Text

from kdumpsim.lkdtt.outcome import MARKS
from kdumpsim.lkdtt.paper import Agreement, marks
from kdumpsim.sweeps.table2 import CellRuns

SIGNS = {Agreement.FULL: "", Agreement.LETTER: "~", Agreement.NONE: "*"}
STYLES = {Agreement.FULL: "green", Agreement.LETTER: "yellow", Agreement.NONE: "red"}
_NOT_BUILT, _DIED, _NO_CELL = "-", "died", ""


def matrix(planned: Sequence[CellRuns]) -> Iterator[Text]:
    """The table, what its signs mean, and where it is not the paper's."""
    points = list(dict.fromkeys(cell.cell.crash_point for cell in planned))
    types = list(dict.fromkeys(cell.cell.crash_type for cell in planned))
    notes = _notes(planned)
    by_name = {(cell.cell.crash_point, cell.cell.crash_type): cell for cell in planned}
    rows = [[Text("crash point"), *map(Text, types)]]
    for point in points:
        rows.append([Text(point), *(_shown(by_name.get((point, kind)), notes) for kind in types)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(types) + 1)]
    for row in rows:
        line = Text()
        for word, width in zip(row, widths, strict=True):
            line.append_text(word)
            line.append(" " * (width - len(word) + 2))
        line.rstrip()
        yield line
    yield Text()
    yield from map(Text, _legend(planned, notes))
    yield from map(Text, _differences(planned))


def details(planned: Iterable[CellRuns]) -> Iterator[Text]:
    """Each cell beside the paper's, and below it what was seen."""
    rows = [
        (cell.cell.crash_point, cell.cell.crash_type, cell.shown, cell.cell.published or "not there", cell.agreement)
        for cell in planned
    ]
    header = ("crash point", "type", "kdumpsim", "paper", "agree")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    seen = [None, *map(_seen, planned)]
    for row, reason in zip((header, *rows), seen, strict=True):
        yield Text("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
        if reason is not None:
            yield Text(f"    {reason}", style="dim")


def _seen(cell: CellRuns) -> str:
    if not cell.built:
        return "not built: the kernel has no such crash point or type"
    results = [report.result for report in cell.reports if report.result is not None]
    return results[0].outcome.reason if results else cell.reports[0].end


def _notes(planned: Iterable[CellRuns]) -> dict[frozenset[str], str]:
    """A letter for each set of marks that occurs."""
    found = (marks(outcome)[1] for cell in planned for outcome in cell.outcomes.values())
    return dict(zip((some for some in dict.fromkeys(found) if some), ascii_lowercase, strict=False))


def _shown(cell: CellRuns | None, notes: dict[frozenset[str], str]) -> Text:
    """`O`, `X a ~`: the letter, the letter of its marks, the sign of a difference."""
    if cell is None:
        return Text(_NO_CELL)
    if not cell.built:
        return Text(_NOT_BUILT, style="dim")
    if not cell.outcomes:
        return Text(_DIED, style="red")
    outcomes = [marks(outcome) for outcome in dict.fromkeys(cell.outcomes.values())]
    words = ["/".join(f"{letter}{notes.get(some, '')}" for letter, some in outcomes)]
    sign = SIGNS.get(cell.agreement, "~") if cell.cell.published is not None else ""
    return Text(" ".join(filter(None, [*words, sign])), style=STYLES.get(cell.agreement, ""))


def _legend(planned: Sequence[CellRuns], notes: dict[frozenset[str], str]) -> Iterator[str]:
    yield "O success, X failure"
    for some, letter in notes.items():
        yield f"{letter} = {', '.join(name for name in MARKS if name in some)}"
    for mark in (name for name in MARKS if any(name in some for some in notes)):
        yield f"    {mark}: {MARKS[mark]}"
    words = {cell.agreement for cell in planned}
    if Agreement.NONE in words:
        yield "* the paper has the other letter"
    if Agreement.LETTER in words:
        yield "~ the paper has other marks"
    if any(not cell.built for cell in planned):
        yield f"{_NOT_BUILT} not built: the kernel has no such crash point or type"


def _differences(planned: Sequence[CellRuns]) -> Iterator[str]:
    """One line for each cell that is not the paper's, or whose seeds disagree."""
    different = [
        cell for cell in planned if cell.agreement not in ("", Agreement.FULL) or len(set(cell.outcomes.values())) > 1
    ]
    if different:
        yield ""
    for cell in different:
        name = f"{cell.cell.crash_point} / {cell.cell.crash_type}"
        yield f"{name}: {cell.shown}; paper: {cell.cell.published or 'not there'}"
