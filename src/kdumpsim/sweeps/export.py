# SPDX-License-Identifier: GPL-2.0-or-later
"""A store's runs in files that other tools read: CSV, JSON lines, Parquet, and JUnit's XML."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO
from xml.sax.saxutils import escape, quoteattr

from kdumpsim.files import atomic_file
from kdumpsim.sweeps.extras import extra
from kdumpsim.sweeps.store import COLUMNS, Store
from kdumpsim.sweeps.tally import by_arm, cells, labels, shown, varied

_BATCH = 20_000
"""Runs that are held in memory."""
_TYPES = {
    "count": "int64", "seed": "uint64", "draw": "int64", "activated": "int64", "latency_ns": "int64",
    "ok": "bool_", "captured": "bool_", "accuracy": "float64",
    "completeness": "float64", "wrong_registers": "int64", "crash_ns": "int64", "hand_over_ns": "int64",
    "host_s": "float64",
}  # fmt: skip
"""Columns that are no text."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold."""


def runs(store: Store) -> Iterator[dict[str, Any]]:
    """Each run: its arm and what of it was varied, the columns of `Row`, and the command that runs it again."""
    arms, named = store.arms, labels(store.arms)
    names = varied(arms)
    settings = {arm.id: {name: shown(arm.settings[name]) for name in names} for arm in arms}
    by_number = {arm.id: arm for arm in arms}
    columns = ", ".join(
        {"reason": "r.text", "calls": "c.text", "boot": "b.name"}.get(n, f'runs."{n}"') for n in COLUMNS
    )
    text = (
        f"SELECT arm, {columns} FROM runs JOIN texts r ON r.id = reason JOIN texts c ON c.id = calls "
        "JOIN boots b ON b.id = boot ORDER BY arm, crash_point, crash_type, count, seed"
    )
    for arm, *values in store.query(text):
        row = dict(zip(COLUMNS, values, strict=True))
        row |= {
            "key": row["key"].hex(),
            **{name: None if row[name] is None else bool(row[name]) for name in ("ok", "captured")},
        }
        run = [row[name] for name in ("crash_point", "crash_type", "count", "seed", "draw", "struck")]
        again = by_number[arm].command(*run)
        yield {"arm": named[arm], **settings[arm], **row, "command": again}


def _csv(store: Store, file: BinaryIO) -> None:
    with _Text(file) as text:
        writer = None
        for row in runs(store):
            if writer is None:
                writer = csv.DictWriter(text, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def _jsonl(store: Store, file: BinaryIO) -> None:
    with _Text(file) as text:
        for row in runs(store):
            text.write(json.dumps(row, ensure_ascii=False) + "\n")


def _parquet(store: Store, file: BinaryIO) -> None:
    arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    found = runs(store)
    names = ("arm", *varied(store.arms), *COLUMNS, "command")
    schema = arrow.schema([(name, getattr(arrow, _TYPES.get(name, "string"))()) for name in names])
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(found, _BATCH)):
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))


class _Text(io.TextIOWrapper):
    """Text in a binary file that stays open."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", newline="")

    def close(self) -> None:
        self.flush()
        with suppress(ValueError):
            self.detach()


FORMATS: Mapping[str, Callable[[Store, BinaryIO], None]] = {"csv": _csv, "parquet": _parquet, "jsonl": _jsonl}


def export(store: Store, form: str, path: Path) -> None:
    """Write all runs as a file of `FORMATS`, which appears whole or not at all.  HostFailure, MissingExtra."""
    with atomic_file(path) as file:
        FORMATS[form](store, file)


def junit(store: Store, path: Path) -> None:
    """Write JUnit's XML: a suite an arm, a case a scenario.  X is a failure, a run without an outcome an error."""
    named, totals = labels(store.arms), by_arm(cells(store))
    sums = {named[arm]: (t.ends.total(), t.n - t.ok, t.without_outcome) for arm, t in totals.items()}
    with atomic_file(path) as file, _Text(file) as text:
        text.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
        suite = None
        for row in runs(store):
            if row["arm"] != suite:
                text.write("</testsuite>\n" if suite is not None else "")
                suite = row["arm"]
                cases, failures, errors = sums[suite]
                counts = f'tests="{cases}" failures="{failures}" errors="{errors}"'
                text.write(f"<testsuite name={_attribute(suite)} {counts}>\n")
            _case(text, row)
        text.write(("</testsuite>\n" if suite is not None else "") + "</testsuites>\n")


def _case(text: IO[str], row: Mapping[str, Any]) -> None:
    name = f"count {row['count']}, seed {row['seed']}"
    place = f"{row['arm']}.{row['crash_point']}.{row['crash_type']}"
    text.write(f'<testcase classname={_attribute(place)} name={_attribute(name)} time="{row["host_s"] or 0:.3f}"')
    if row["ok"]:
        text.write("/>\n")
        return
    kind = "error" if row["ok"] is None else "failure"
    seen = _UNPRINTABLE.sub("?", "\n".join(filter(None, (row["reason"], row["evidence"], row["command"]))))
    text.write(f"><{kind} message={_attribute(row['end'] + ': ' + row['reason'])}>{escape(seen)}</{kind}></testcase>\n")


def _attribute(text: str) -> str:
    return quoteattr(_UNPRINTABLE.sub("?", text))
