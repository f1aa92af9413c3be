# SPDX-License-Identifier: GPL-2.0-or-later
"""A small set of dumps for those who write readers of dumps: every variant, with what is true of it beside it.

An entry is a crash, and what became of its dump afterwards.  Same version of kdumpsim, same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdumpsim.files import atomic_file, scratch_directory, writable_directory
from kdumpsim.runfiles import TRUTH, TRUTH_CORE, TRUTH_FILES, VMCORE, VMLINUX
from kdumpsim.runs.facts import facts
from kdumpsim.runs.hosttime import Poll, within
from kdumpsim.runs.result import Result, write_atomically
from kdumpsim.runs.run import finish, power_on, prepare, start
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.formats.compressors import COMPRESSIONS
from kdumpsim.vmcore.formats.convert import COMPRESSED as BY_COMPRESSION
from kdumpsim.vmcore.formats.convert import Suffering, check, convert
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.reader import Vmcore

INDEX = "corpus.json"
MEMORY = 32 << 20
"""Of most of the machines: the dump is 16 MiB, of which two are not zero."""
LEVEL = 31


@dataclass(frozen=True)
class Entry:
    """One dump of the corpus."""

    name: str
    help: str
    scenario: Scenario
    form: str = "elf"
    suffering: Suffering = field(default=Suffering())


def entries() -> Mapping[str, Entry]:
    """All of them by name, crashes first."""
    panic = _crash("panic")
    crashes = (
        Entry("panic", "panic() in the block layer, two CPUs", panic),
        Entry("oops", "an exception in an interrupt, and so a panic", _crash("exception", point="INT_HARDWARE_ENTRY")),
        Entry("hang", "a hang with interrupts off, found by the NMI watchdog", _crash("hang", point="TIMERADD")),
        Entry("overflow", "a kernel stack overflows", _crash("overflow")),
        Entry("holes", "physical memory with two holes", _crash("panic", memory=64 << 20, memory_holes=HOLES)),
        Entry("cpus-1", "one CPU", _crash("panic", cpus=1)),
        Entry("cpus-8", "eight CPUs", _crash("panic", cpus=8)),
    )
    filtered, zeros = Suffering(level=LEVEL), Suffering(level=1)
    variants = (
        Entry("filtered", f"ELF, dump level {LEVEL}: p_memsz is more than p_filesz", panic, "elf", filtered),
        *(
            Entry(f"compressed-{name}", f"makedumpfile's format, {name}, dump level {LEVEL}", panic, form, filtered)
            for name, form in COMPRESSED.items()
        ),
        Entry("compressed-whole", "makedumpfile's format, zlib, every page", panic, COMPRESSED["zlib"], zeros),
        Entry("flattened", f"makedumpfile's format, flattened, dump level {LEVEL}", panic, "flattened", filtered),
        Entry("raw", "memory without headers", panic, "raw"),
        Entry("truncated", "ELF, cut off after three quarters", panic, "elf", Suffering(truncate=True)),
        Entry(
            "truncated-compressed", "makedumpfile's format, cut off after three quarters", panic, COMPRESSED["zlib"],
            Suffering(level=LEVEL, truncate=True),
        ),
        Entry("incomplete", "ELF, half of the memory, and flagged so", panic, "elf", Suffering(incomplete=True)),
        Entry(
            "incomplete-compressed", "makedumpfile's format, half of the pages, and flagged so", panic,
            COMPRESSED["zlib"], Suffering(level=1, incomplete=True),
        ),
        Entry("missing-note", "no registers of CPU 0: those of CPU 1 are the first", panic, "elf",
              Suffering(drop_cpus=(0,))),
        Entry("no-notes", "no notes at all", panic, "elf", Suffering(drop_notes=True)),
    )  # fmt: skip
    return {entry.name: entry for entry in (*crashes, *variants)}


COMPRESSED = {name: BY_COMPRESSION + name for name in COMPRESSIONS}
HOLES = ((40 << 20, 4 << 20), (52 << 20, 1 << 20))
"""Behind the reserved region."""


def _crash(kind: str, *, point: str = "FS_DEVRW", memory: int = MEMORY, **machine: Any) -> Scenario:
    return Scenario(crash_point=point, crash_type=kind, memory=memory, **machine)


@dataclass(frozen=True)
class Made:
    """A dump that was written: its row in corpus.json."""

    entry: Entry
    file: str
    """Its path below the corpus."""
    size: int
    """Bytes."""
    sha256: str
    truth_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for corpus.json."""
        suffering = self.entry.suffering
        return {
            "name": self.entry.name, "help": self.entry.help, "file": self.file, "format": self.entry.form,
            "level": suffering.level, "bytes": self.size, "sha256": self.sha256, "truth_sha256": self.truth_sha256,
            "command": self.entry.scenario.command(),
        }  # fmt: skip


def write_corpus(directory: Path, wanted: Iterable[Entry], poll: Poll | None = None) -> Iterator[Made]:
    """Write each entry into a folder of its own with vmcore, vmlinux and truth.json, and corpus.json at the end.

    HostFailure for files that cannot be written; CompressorMissing, before anything is.
    """
    by_scenario: dict[Scenario, list[Entry]] = {}
    for entry in wanted:
        check(entry.form, entry.suffering)
        by_scenario.setdefault(entry.scenario, []).append(entry)
    writable_directory(directory)
    (directory / INDEX).unlink(missing_ok=True)  # what it lists is about to change
    made = []
    for scenario, group in by_scenario.items():
        with scratch_directory(directory) as scratch:
            for one in _write_group(directory, scratch, scenario, group, poll):
                made.append(one)
                yield one
    index = json.dumps([one.as_dict() for one in made], indent=2) + "\n"
    write_atomically(directory / INDEX, index.encode())


def _write_group(
    directory: Path, place: Path, scenario: Scenario, group: list[Entry], poll: Poll | None
) -> Iterator[Made]:
    """One crash, its files in `place`, and all that is made of its dump."""
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        session.give(scenario.timeout)
        session.machine.poll = within(None, poll)
        prepare(place)
        result = finish(session, scenario, place, start(session))
        true = {"scenario": scenario.to_dict(), **_told(result), **facts(session, captured=result.outcome.captured)}
    source = place / (VMCORE if (place / VMCORE).exists() else TRUTH_CORE)
    layout = Layout.of((place / VMLINUX).read_bytes())
    for entry in group:
        yield _write_entry(directory / entry.name, entry, source, layout, place / VMLINUX, true)


def _write_entry(
    folder: Path, entry: Entry, source: Path, layout: Layout, kernel: Path, true: Mapping[str, Any]
) -> Made:
    writable_directory(folder)
    for name in (VMCORE, VMLINUX, TRUTH, *TRUTH_FILES):
        (folder / name).unlink(missing_ok=True)
    target = folder / source.name
    with Vmcore(source) as dump, atomic_file(target) as file:
        convert(dump, file, entry.form, entry.suffering, layout)
    (folder / VMLINUX).hardlink_to(kernel)
    with open(target, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    told = {"name": entry.name, "help": entry.help, "file": target.name, "format": entry.form}
    dump_told = {"sha256": digest, "bytes": target.stat().st_size, "level": entry.suffering.level}
    text = json.dumps({**told, "dump": dump_told, **true}, indent=1) + "\n"
    write_atomically(folder / TRUTH, text.encode())
    path = f"{folder.name}/{target.name}"
    return Made(entry, path, target.stat().st_size, digest, hashlib.sha256(text.encode()).hexdigest())


def _told(result: Result) -> dict[str, Any]:
    return {"outcome": str(result.outcome), "captured": result.outcome.captured}
