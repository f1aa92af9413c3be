# SPDX-License-Identifier: GPL-2.0-or-later
"""Booted machines in the cache: the same run, whatever the cache holds and whatever becomes of it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kdumpsim import plaindata
from kdumpsim.cli import main
from kdumpsim.notices import LOGGER
from kdumpsim.runs import bootcache
from kdumpsim.runs.bootcache import begin
from kdumpsim.runs.run import power_on, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario

SCENARIO = Scenario("FS_DEVRW", "panic", seed=11, cpus=1)
RUN = ["run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--seed", "11", "--cpus", "1", "--json", "--verbose"]


class Boots:
    """A session made and begun, and how often that took a boot."""

    def __init__(self, scenario: Scenario = SCENARIO) -> None:
        self.booted = 0
        self.made: list[Session] = []
        self._scenario = scenario
        self.session, failed = begin(self._new(), self._new, self._boot)
        assert failed is None

    def _new(self) -> Session:
        self.made.append(power_on(self._scenario.pc, self._scenario.kernel))
        return self.made[-1]

    def _boot(self, session: Session) -> str | None:
        self.booted += 1
        return start(session)

    def state(self) -> dict[str, Any]:
        state = self.session.state()
        for phase in state["phases"]:
            del phase["host_s"]
        return state


def entries(cache: Path) -> list[Path]:
    return sorted((cache / bootcache.FOLDER).iterdir())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for booted machines; images are found where they always are."""
    monkeypatch.setattr(bootcache, "directory", lambda: tmp_path / "cache")
    logger = logging.getLogger(LOGGER)
    level, handlers = logger.level, logger.handlers
    logger.setLevel(logging.INFO)
    yield tmp_path / "cache"
    logger.setLevel(level)
    logger.handlers = handlers


def test_a_run_from_the_cache_is_the_run_from_power_on_byte_for_byte(cache: Path, tmp_path: Path) -> None:
    said, facts = [], []
    for number, more in enumerate(([], [], ["--no-cached-boot"])):
        output = tmp_path / str(number)
        result = CliRunner().invoke(main, [*RUN, "--output", str(output), *more])
        assert result.exit_code == 0, result.output
        said.append(result.stderr)
        record = json.loads(result.stdout)
        assert record == json.loads((output / "result.json").read_text())
        for phase in record["phases"]:
            del phase["host_s"]
        digests = [hashlib.sha256((output / name).read_bytes()).hexdigest() for name in ("vmcore", "console.log")]
        facts.append((record, digests))
    assert "none of this kind is kept yet" in said[0]
    assert f"booted machine: from {entries(cache)[0]}" in said[1]
    assert "booted machine" not in said[2]
    assert facts[0] == facts[1] == facts[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Name and bytes of the entry that a boot of SCENARIO makes."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setattr(bootcache, "directory", lambda: cache)
        Boots()
        (path,) = entries(cache)
        return path.name, path.read_bytes()


def signed(name: str, content: bytes) -> bytes:
    """An entry with a good checksum."""
    return bootcache._HEAD + bootcache._sum(name, content) + content


def content_of(data: bytes) -> bytes:
    return data[len(bootcache._HEAD) + bootcache._SUM :]


Damage = Callable[[str, bytes], bytes]


def state_changed(change: Callable[[dict[str, Any]], object]) -> Damage:
    """The checksum is right, the state is not this machine's."""

    def changed(name: str, data: bytes) -> bytes:
        state = plaindata.loads(content_of(data))
        change(state)
        return signed(name, plaindata.dumps(state))

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda name, data: b"", id="empty"),
        pytest.param(lambda name, data: data[: len(data) // 2], id="cut short"),
        pytest.param(lambda name, data: data[:-1] + bytes([data[-1] ^ 1]), id="a bit flipped"),
        pytest.param(lambda name, data: signed("0" * 64, content_of(data)), id="another machine's"),
        pytest.param(lambda name, data: signed(name, b"not plain data"), id="no plain data"),
        pytest.param(state_changed(lambda state: state["machine"].pop("pit")), id="a device is missing"),
        pytest.param(state_changed(lambda state: state["machine"]["cpu0"].update(context=b"")), id="half restored"),
    ],
)
def test_a_damaged_or_foreign_entry_is_booted_and_written_again(
    cache: Path, good: tuple[str, bytes], damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = good
    path = cache / bootcache.FOLDER / name
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(name, data))
    closed: list[Session] = []
    monkeypatch.setattr(Session, "close", lambda session: closed.append(session))
    boots = Boots()
    assert boots.booted == 1
    assert path.read_bytes() == data
    assert closed == boots.made[:-1]


def test_a_folder_or_a_pipe_in_its_place_is_no_entry(cache: Path, good: tuple[str, bytes]) -> None:
    path = cache / bootcache.FOLDER / good[0]
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert Boots().booted == 1
    assert path.read_bytes() == good[1]


def test_a_cache_that_cannot_be_written_costs_a_boot_and_is_said(
    cache: Path, good: tuple[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where the folder should be, which stops root, too")
    first, second = Boots(), Boots()
    assert (first.booted, second.booted) == (1, 1)
    assert first.state() == second.state()
    assert f"cannot be kept in {cache / bootcache.FOLDER} (Not a directory)" in caplog.text


def test_another_machine_has_another_entry(cache: Path, good: tuple[str, bytes]) -> None:
    path = cache / bootcache.FOLDER / good[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(good[1])
    for other in (Scenario("FS_DEVRW", "panic", seed=12, cpus=1), Scenario("FS_DEVRW", "panic", seed=11, cpus=2)):
        assert Boots(other).booted == 1
    assert Boots(Scenario("TIMERADD", "oops", seed=11, cpus=1, count=3)).booted == 0
    assert len(entries(cache)) == 3


def test_a_change_of_the_machines_own_code_makes_other_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("target.py", "runs/bootcache.py", "board/pit.py", "commands/run.py"):
        (tmp_path / module).parent.mkdir(exist_ok=True)
        (tmp_path / module).write_text("before")
    monkeypatch.setattr(bootcache, "__file__", str(tmp_path / "runs" / "bootcache.py"))
    keys = [bootcache._sources.__wrapped__()]
    for module in ("commands/run.py", "board/pit.py", "target.py"):
        (tmp_path / module).write_text("after")
        keys.append(bootcache._sources.__wrapped__())
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_an_entry_is_not_used_where_the_runs_time_would_end_before_it(cache: Path) -> None:
    session = Boots().session
    armed = session.now
    late, early = (power_on(SCENARIO.pc, SCENARIO.kernel) for _ in range(2))
    late.deadline, early.deadline = armed + 1, armed
    assert begin(late, lambda: late, lambda session: "booted")[1] is None
    assert begin(early, lambda: early, lambda session: "booted")[1] == "booted"


def test_a_boot_that_failed_is_not_kept(cache: Path) -> None:
    session = power_on(SCENARIO.pc, SCENARIO.kernel)
    assert begin(session, lambda: session, lambda session: "no answer") == (session, "no answer")
    assert not (cache / bootcache.FOLDER).exists()


def test_the_entries_used_least_recently_go_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache / bootcache.FOLDER
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / str(number)).write_bytes(bytes(10))
        os.utime(folder / str(number), (100 - number, 100 - number))
    monkeypatch.setattr(bootcache, "LIMIT", 30)
    bootcache._make_room(folder)
    assert [path.name for path in entries(cache)] == ["0", "1", "2"]


def test_use_makes_an_entry_young(cache: Path) -> None:
    Boots()
    (path,) = entries(cache)
    os.utime(path, (1, 1))
    assert Boots().booted == 0
    assert path.stat().st_mtime > 1
