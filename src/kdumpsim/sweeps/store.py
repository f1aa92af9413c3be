# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a sweep's runs are kept: one SQLite file, a row a run.

Each run is a transaction of its own, in WAL mode, so that whatever ends a sweep loses no run that was told of; a run's
key is the primary key, so that none is there twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, Self

from kdumpsim.errors import KdumpsimError
from kdumpsim.files import HostFailure
from kdumpsim.scenario.strikes import INSTANT
from kdumpsim.sweeps.plan import Arm, Plan, command
from kdumpsim.sweeps.row import Row

APPLICATION = 0x6B64756D  # "kdum"
VERSION = 3
CACHE_KIB = 64 << 10
MAPPED = 1 << 30
"""Bytes of the file that are read by mapping it: a report looks at all of them several times."""
_FULL = ("database or disk is full", "disk I/O error")
_TEXTS = ("calls", "reason")
"""Columns of which few texts are shared by many runs, kept once."""
COLUMNS = tuple(item.name for item in fields(Row))
_SCHEMA = f"""
CREATE TABLE plans (id INTEGER PRIMARY KEY, plan TEXT NOT NULL);
CREATE TABLE arms (id INTEGER PRIMARY KEY, settings TEXT NOT NULL UNIQUE, words TEXT NOT NULL);
CREATE TABLE boots (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE looks (number INTEGER PRIMARY KEY, pairs INTEGER NOT NULL, p REAL NOT NULL, level REAL NOT NULL);
CREATE TABLE runs (
  key BLOB PRIMARY KEY,
  arm INTEGER NOT NULL REFERENCES arms, boot INTEGER NOT NULL REFERENCES boots,
  crash_point TEXT NOT NULL, crash_type TEXT NOT NULL, count INTEGER NOT NULL, seed INTEGER NOT NULL,
  draw INTEGER NOT NULL, struck TEXT NOT NULL, activated INTEGER, effect TEXT, latency_ns INTEGER,
  "end" TEXT NOT NULL, ok INTEGER, captured INTEGER, ended_in TEXT, reason INTEGER NOT NULL REFERENCES texts,
  accuracy REAL, completeness REAL, wrong_registers INTEGER, crash_ns INTEGER, hand_over_ns INTEGER,
  calls INTEGER NOT NULL REFERENCES texts, context TEXT NOT NULL, evidence TEXT NOT NULL,
  host_s REAL, version TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_of_arm ON runs (arm, crash_point, crash_type, count, seed, draw, ok, boot);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""
_INSERT = (
    "INSERT INTO runs (arm, {names}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {changes} WHERE runs.ok IS NULL"
).format(
    names=", ".join(f'"{name}"' for name in COLUMNS),
    marks=", ".join("?" * (1 + len(COLUMNS))),
    changes=", ".join(f'"{name}" = excluded."{name}"' for name in COLUMNS),
)
"""Replaces a row only if it has no outcome."""


class StoreError(KdumpsimError):
    """A file is not a store of this version, or exists already; the message says what to do."""


@dataclass(frozen=True)
class StoredArm:
    """An arm as the store has it."""

    id: int
    settings: dict[str, Any]
    words: str
    """Its options for ``kdumpsim run``, but for what strikes."""

    def command(self, crash_point: str, crash_type: str, count: int, seed: int, draw: int, struck: str) -> str:
        """The command that runs one of its runs again: with what struck, or, unknown, with what was to be drawn."""
        if struck:
            strikes = [f"--at {line}" if line.startswith(INSTANT) else f"--fault {line}" for line in struck.split()]
            draw = 0
        else:
            strikes = [f"--at {self.settings['at']}"] if self.settings.get("at") else []
            strikes += [f"--fault {fault}" for fault in self.settings.get("fault") or ()]
            strikes += [f"--faults {self.settings['faults']}"] if self.settings.get("faults", 1) != 1 else []
        return command(" ".join([*strikes, self.words]).strip(), crash_point, crash_type, count, seed, draw)


@dataclass(frozen=True)
class Look:
    """A declared look at the data, and what it showed."""

    number: int
    """From 1 on."""
    pairs: int
    p: float
    level: float
    """A p-value up to this one ends the sweep."""

    @property
    def decided(self) -> bool:
        """Whether the two arms differ, as far as the looks' common level allows to say so."""
        return self.p <= self.level


class Store:
    """An open store.  Use it as a context manager, or close it.  HostFailure for what cannot be read or written."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open a store; with `create`, make it if there is none.  StoreError for another file."""
        self.path = path
        if not create and not path.exists():
            raise StoreError(f"the store '{path}' does not exist: `kdumpsim sweep` creates one")
        with self._told():
            # One transaction a statement; a sweep's workers are forked while it is open, and never touch it.
            self.connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        try:
            with self._told():
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        run = self.connection.execute
        try:
            (application,), (version,) = (
                run(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise StoreError(f"'{self.path}' is no store of kdumpsim's: choose another file") from error
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if application == tables == 0:  # new, or its maker was killed before it had tables
            run("PRAGMA journal_mode = WAL")
            self.connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif application != APPLICATION:
            raise StoreError(f"'{self.path}' is no store of kdumpsim's: choose another file")
        elif version != VERSION:
            raise StoreError(
                f"'{self.path}' is a store of version {version}, and this kdumpsim has version {VERSION}: "
                "read it with the kdumpsim that made it, or begin another"
            )
        for pragma in (
            "synchronous = NORMAL",
            "temp_store = MEMORY",
            f"cache_size = -{CACHE_KIB}",
            f"mmap_size = {MAPPED}",
        ):
            run(f"PRAGMA {pragma}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's failures as the host's."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = (
                "; free some space and continue with --resume; the runs in it are safe" if str(error) in _FULL else ""
            )
            raise HostFailure(f"the store '{self.path}': {error}{hint}") from error
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise HostFailure(f"the store '{self.path}' is damaged: {error}") from error

    def close(self) -> None:
        """Close it; nothing is lost."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is planned.

    @property
    def plans(self) -> list[Plan]:
        """What was run into it, oldest first.  ScenarioError for one that this version cannot run."""
        with self._told():
            found = self.connection.execute("SELECT plan FROM plans ORDER BY id").fetchall()
        return [Plan.from_dict(json.loads(text)) for (text,) in found]

    def keep_plan(self, plan: Plan) -> None:
        """Note a plan that is about to be run, unless it is the last one.

        StoreError where looks were declared, or were not, and the plan has others: that is decided beforehand.
        """
        if any(earlier.looks != plan.looks for earlier in self.plans):
            declared = self.plans[-1].looks
            raise StoreError(f"'{self.path}' was begun with {declared} looks, not {plan.looks}: choose another store")
        text = json.dumps(plan.to_dict())
        with self._told():
            last = self.connection.execute("SELECT plan FROM plans ORDER BY id DESC LIMIT 1").fetchone()
            if last != (text,):
                self.connection.execute("INSERT INTO plans (plan) VALUES (?)", (text,))

    @property
    def arms(self) -> list[StoredArm]:
        """All arms."""
        with self._told():
            found = self.connection.execute("SELECT id, settings, words FROM arms ORDER BY id").fetchall()
        return [StoredArm(number, json.loads(settings), words) for number, settings, words in found]

    # Runs.

    def __len__(self) -> int:
        with self._told():
            return int(self.connection.execute("SELECT count(*) FROM runs").fetchone()[0])

    def has(self, keys: Sequence[bytes]) -> set[bytes]:
        """Which of these runs are there with an outcome."""
        with self._told():
            found: set[bytes] = set()
            for key in keys:
                row = self.connection.execute("SELECT ok FROM runs WHERE key = ?", (key,)).fetchone()
                if row is not None and row[0] is not None:
                    found.add(key)
            return found

    def add(self, arm: Arm, rows: Iterable[Row]) -> None:
        """Keep runs of an arm.  A row with an outcome is never replaced; one without is, by the latest run."""
        with self._told(), self._transaction():
            number = self._interned("arms", "settings", json.dumps(arm.settings, sort_keys=True), words=arm.words)
            for row in rows:
                values = asdict(row)
                values["boot"] = self._interned("boots", "name", row.boot)
                values |= {name: self._interned("texts", "text", values[name]) for name in _TEXTS}
                self.connection.execute(_INSERT, (number, *(values[name] for name in COLUMNS)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _interned(self, table: str, column: str, text: str, **more: str) -> int:
        found = self.connection.execute(f"SELECT id FROM {table} WHERE {column} = ?", (text,)).fetchone()
        if found is None:
            names, values = [column, *more], [text, *more.values()]
            made = self.connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(values))})", values
            )
            return int(made.lastrowid or 0)
        return int(found[0])

    def counted(self, text: str) -> Counter[tuple[Any, ...]]:
        """Count each distinct row of a SELECT; faster than GROUP BY, which sorts."""
        with self._told():
            return Counter(self.connection.execute(text))

    @property
    def looks(self) -> list[Look]:
        """Looks that were taken, in order."""
        return [Look(*row) for row in self.query("SELECT number, pairs, p, level FROM looks ORDER BY number")]

    def keep_look(self, look: Look) -> None:
        """Note a look; the first one with its number stays."""
        with self._told():
            self.connection.execute("INSERT OR IGNORE INTO looks VALUES (?, ?, ?, ?)", astuple(look))

    def query(self, text: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT, as they come."""
        with self._told():
            yield from self.connection.execute(text, values)
