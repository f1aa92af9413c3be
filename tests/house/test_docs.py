# SPDX-License-Identifier: GPL-2.0-or-later
"""What README.md and docs/ name exists: files, links, commands, options, identifiers."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kdumpsim.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BASES = (ROOT, ROOT / "docs", *(ROOT / "src" / name for name in (".", "kdumpsim", "kdumpsim/kernel")))
"""Folders that a path in the text may be relative to."""
FILE = re.compile(r"(?:[\w.{},*-]+/)*[\w{},*-]+\.(?:py|md|csv)\b")
FOREIGN_FILES = frozenset({"head.S", "sed"})
USERS_FILES = frozenset(
    {
        "FILE.py",
        "blackbox.py",
        "heartbeat.py",
        "mydriver.py",
        "test_tardy.py",
        "src/kdumpsim/board/debugcon.py",
        "printregs.py",
        "mechanisms/printregs.py",
    }
)
"""Stand for files of a reader's own."""
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
FOREIGN_OPTIONS = {
    "apt-get": {"--no-install-recommends"},
    "llvm-dwarfdump": {"--verify"},
    "makedumpfile": {"--dump-dmesg"},
    "docker": {"--tag", "--rm"},
    "pip": {"--quiet", "--editable"},
    "bench.py": {"--against"},
    "pytest": {"--dist", "--soak-minutes", "--soak-seed"},
    "kdump-": {"--kdump-seeds", "--kdump-keep", "--kdump-jobs"},
    "kdumpsim.compiler": {"--entry", "--base", "--paddr", "--kallsyms"},
    "kdumpsim.images": {"--out", "--capture-base"},
}
"""Options of other programs, by the word that a line with one of them has."""
PATTERNS = (
    re.compile(r"^([A-Za-z_]\w*_\w*)(?:\(.*\))?$"),  # names with an underscore: jiffies_64, do_IRQ(), CP_FS_DEVRW
    re.compile(r"^([A-Za-z_]\w*)\(\)$"),  # calls: schedule()
    re.compile(r"^([a-z_]+)=\S*$"),  # options of kernels: panic_on_oops=1
)
"""What in backquotes is an identifier of ours, as far as its looks tell."""
FOREIGN_SECTION = "## Engine facts"
"""From there on to the next heading docs/design.md speaks of Unicorn's and QEMU's names."""
FOREIGN_PREFIXES = ("CONFIG_", "__start_", "__stop_")
"""Linux's options, and what a linker makes of a section's name."""


def texts(*, ours: bool = False, prose: bool = False) -> Iterator[tuple[Path, int, str]]:
    """Every line; with `ours`, of the sections that speak of our own code; with `prose`, outside of fenced blocks."""
    for path in DOCUMENTS:
        foreign = fenced = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.startswith("## "):
                foreign = line == FOREIGN_SECTION
            fenced ^= line.startswith("```")
            if not (ours and foreign) and not (prose and fenced):
                yield path, number, line


def quoted(line: str) -> list[str]:
    """What stands in backquotes on a line."""
    return re.findall(r"`([^`]+)`", line)


def place(path: Path, number: int) -> str:
    return f"{path.relative_to(ROOT)}:{number}"


@functools.cache
def words() -> frozenset[str]:
    """Every word of the sources and the tests, and of the programs that the documents give."""
    files = [
        *ROOT.glob("src/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
        *ROOT.glob("benchmarks/*.py"),
        ROOT / "pyproject.toml",
    ]
    mine = Path(__file__)
    texts = [file.read_text() for file in files if file != mine]
    texts += [text for path in DOCUMENTS for text in re.findall(r"```python\n(.*?)```", path.read_text(), re.S)]
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


def spelled_out(path: str) -> list[str]:
    """A path with its {a,b} written out."""
    match = re.search(r"\{([^{}]*)\}", path)
    if match is None:
        return [path]
    return [
        one for part in match[1].split(",") for one in spelled_out(path[: match.start()] + part + path[match.end() :])
    ]


def exists(path: str) -> bool:
    if "/" not in path:
        if path.endswith(".md"):
            return (ROOT / "docs" / path).exists() or (ROOT / path).exists()
        return any(ROOT.glob(f"src/**/{path}")) or any(ROOT.glob(f"tests/**/{path}")) or (ROOT / path).exists()
    return any(any(base.glob(path)) if "*" in path else (base / path).exists() for base in BASES)


def test_links_lead_somewhere() -> None:
    broken = [
        f"{place(path, number)}: {target}"
        for path, number, line in texts(prose=True)
        for target in LINK.findall(line)
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_document_is_in_the_contents() -> None:
    listed = re.findall(r"^   ([\w/-]+)$", (ROOT / "docs/index.rst").read_text(), re.M)
    assert len(set(listed)) == len(listed)
    docs = ROOT / "docs"
    written = {str(path.relative_to(docs).with_suffix("")) for path in DOCUMENTS if path.is_relative_to(docs)}
    assert {name for name in written if not name.startswith("web/")} <= set(listed)


def test_files_are_where_the_text_says() -> None:
    missing = [
        f"{place(path, number)}: {one}"
        for path, number, line in texts()
        for text in quoted(line)
        for found in FILE.findall(text)
        for one in spelled_out(found)
        if one not in USERS_FILES and not exists(one)
    ]
    assert missing == []


def test_the_kernels_map_has_its_modules_in_the_right_folder() -> None:
    folder, missing = "", []
    for line in (ROOT / "docs" / "kernel.md").read_text().splitlines():
        if line.startswith("## "):
            found = re.fullmatch(r"## .*: `([\w/]+/)`", line)
            folder = found[1] if found else ""
        elif line.startswith("| `"):
            modules = [text for text in quoted(line.split("|")[1]) if text.endswith(".py")]
            missing += [folder + name for name in modules if not (BASES[-1] / folder / name).exists()]
    assert missing == []


@functools.cache
def options_of(name: str) -> frozenset[str]:
    """The options of a command of ours."""
    command = getattr(importlib.import_module(COMMANDS[name][0]), name)
    assert isinstance(command, click.Command)
    return frozenset(option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))


def test_commands_exist_and_have_the_options_that_are_named() -> None:
    wrong = []
    known = {"--help", "--version"}.union(*map(options_of, COMMANDS))
    assert set(COMMANDS) == set(main.list_commands(click.Context(main)))
    for path, number, line in texts():
        others = {option for word, names in FOREIGN_OPTIONS.items() if word in line for option in names}
        for option in set(OPTION.findall(line)) - others - known:
            wrong.append(f"{place(path, number)}: {option}")
        for text in (*quoted(line), line.removeprefix("$ ")):
            if match := re.match(r"(?:\.venv/bin/)?kdumpsim ([a-z][a-z0-9]+)\b(.*)", text):
                if match[1] not in COMMANDS:
                    if text in quoted(line) or line.startswith("$ "):
                        wrong.append(f"{place(path, number)}: kdumpsim {match[1]}")
                    continue
                command = re.split(r"&&|\||#|; |`", match[2])[0]
                for option in set(OPTION.findall(command)) - options_of(match[1]) - {"--help"}:
                    wrong.append(f"{place(path, number)}: kdumpsim {match[1]} {option}")
    assert wrong == []


def test_identifiers_are_in_the_sources() -> None:
    unknown = []
    for path, number, line in texts(ours=True):
        for text in quoted(line):
            for pattern in PATTERNS:
                match = pattern.match(text)
                if match and match[1] not in words() and not match[1].startswith(FOREIGN_PREFIXES):
                    unknown.append(f"{place(path, number)}: {match[1]}")
    assert unknown == []


def test_what_blocks_of_python_call_is_in_the_sources() -> None:
    unknown = []
    for path in DOCUMENTS:
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S):
            code = re.sub(r"#.*", "", block)
            own = set(re.findall(r"^(?:def|class) (\w+)", code, re.M))
            unknown += [
                f"{path.name}: {name}"
                for name in re.findall(r"(?<![\w.\"'])([A-Za-z_]\w*)(?=\()", code)
                if name not in words() | own
            ]
    assert unknown == []


@pytest.mark.parametrize("text", ["`nowhere/nothing.py`", "`no_such_name()`", "`kdumpsim run --no-such-option`"])
def test_what_does_not_exist_would_be_noticed(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(f"{__name__}.DOCUMENTS", [tmp_path / "README.md"])
    monkeypatch.setattr(f"{__name__}.place", lambda path, number: f"{path}:{number}")
    checks = (
        test_files_are_where_the_text_says,
        test_identifiers_are_in_the_sources,
        test_commands_exist_and_have_the_options_that_are_named,
    )
    failed = 0
    for check in checks:
        try:
            check()
        except AssertionError:
            failed += 1
    assert failed == 1
