# SPDX-License-Identifier: GPL-2.0-or-later
"""The house of docs/design.md: imports point one way, rooms form no circles, guest and host meet at the ELF file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(str(files("kdumpsim")))

STOREYS = (
    {"", "__main__", "api", "cli", "commands", "console", "lessons", "pytest_plugin"},
    {"sweeps", "explain", "tui", "debugger"},
    {"runs"},
    {"lkdtt", "mechanisms", "faults"},
    {"machines", "agent", "kexec", "vmcore", "disks"},
    {"scenario", "images", "target"},
    {"board"},
    {"apic", "cpu"},
    {"compiler", "files", "signals", "choices", "errors", "notices", "plaindata", "records", "runfiles", "_version"},
)
"""From the roof down: a room imports from its own storey and from those below. "" is the package itself, a face."""
GUESTS = {"kernel", "purgatory", "userland"}
LANGUAGE = "kdumpsim.compiler.lang"
"""All of the host that a guest module sees."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["kdumpsim", *path.relative_to(ROOT).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = ast.parse(path.read_text(), str(path))
    return found


def room(module: str) -> str:
    """The room a module is in: the package or module right below kdumpsim."""
    return module.split(".")[1] if "." in module else ""


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of ours that a module imports, wherever in it; types alone count, too."""
    package = module if (ROOT / Path(*module.split(".")[1:]) / "__init__.py").exists() else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "kdumpsim"}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *filter(None, [base])])
            if base.split(".")[0] == "kdumpsim":
                found |= {f"{base}.{n.name}" if f"{base}.{n.name}" in modules() else base for n in node.names}
    return frozenset(found)


def crossings() -> Iterator[tuple[str, str]]:
    """Every import from one room into another."""
    for module in modules():
        for other in sorted(imports(module)):
            if room(module) != room(other):
                yield module, other


def test_every_room_has_its_storey() -> None:
    rooms = {room(module) for module in modules()}
    assert rooms == set().union(GUESTS, *STOREYS)


def test_the_map_shows_every_room() -> None:
    """docs/design.md; what begins with an underscore is not on it."""
    page = (Path(__file__).parents[2] / "docs/design.md").read_text()
    shown = re.findall(r"^  (\w+)(?:\.py|/)", page.partition("Imports point one way")[0], re.M)
    rooms = {room(module) for module in modules()} - {"", "__main__", "_version"}
    assert rooms == set(shown) - {"__init__"}


def test_imports_point_down() -> None:
    storey = {name: number for number, names in enumerate(STOREYS) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, other in crossings()
        if room(module) not in GUESTS and room(other) not in GUESTS and storey[room(other)] < storey[room(module)]
    ]
    assert not wrong, "\n".join(wrong)


def check_no_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"in a circle: {' -> '.join(error.args[1])}")


def test_rooms_form_no_circles() -> None:
    graph: dict[str, set[str]] = {}
    for module, other in crossings():
        if room(module):
            graph.setdefault(room(module), set()).add(room(other))
    check_no_circle(graph)


def test_modules_of_the_host_form_no_circles() -> None:
    check_no_circle({module: set(imports(module)) for module in modules() if room(module) not in GUESTS})


def test_the_host_never_imports_a_guest() -> None:
    through = [f"{m} imports {other}" for m, other in crossings() if room(m) not in GUESTS and room(other) in GUESTS]
    assert not through, "\n".join(through)


def test_a_guest_sees_the_language_and_other_guests_only() -> None:
    """Ring-3 programs and purgatory share sources with the kernel as they would share headers."""
    through = [
        f"{module} imports {other}"
        for module, other in crossings()
        if room(module) in GUESTS and room(other) not in GUESTS and other != LANGUAGE
    ]
    assert not through, "\n".join(through)
