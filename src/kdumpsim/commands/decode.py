# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim decode`: a dead kernel's reports, with source lines and disassembly."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from pathlib import Path

import click
from rich.markup import escape

import kdumpsim
from kdumpsim.commands.inputs import KERNEL_BYTES, TEXT_BYTES, read_input
from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import status_help
from kdumpsim.explain.oops import Report, find_reports
from kdumpsim.runfiles import CONSOLE_LOG, VMLINUX
from kdumpsim.target import hex_address
from kdumpsim.vmcore.debuginfo import DebugInfo, DebugInfoError
from kdumpsim.vmcore.disassembly import MAX_INSTRUCTION, Instruction, disassemble

HELP = f"""Explain the oopses and lockups in a run's console log.

DIR is a directory that `kdumpsim run --output` wrote (default: dump). For each report that the kernel printed,
`decode` shows the source line, the instructions around the one that failed, and the call trace with source lines,
all from DIR/vmlinux. If the bytes that the kernel printed differ from those of vmlinux, its code had been overwritten;
`decode` then says so.

\b
Examples:
  kdumpsim run --crashpoint FS_DEVRW --type exception && kdumpsim decode
  kdumpsim decode sweep/TIMERADD-oops-seed0 --kernel dump/vmlinux

{status_help()}
"""
BEFORE, AFTER = 6, 3
"""Instructions shown before and after the one that failed."""
MAX_FUNCTION = 64 << 10
"""Most bytes of code in a function; a larger size is taken for damage."""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("dump"))
@click.option("--kernel", type=click.Path(path_type=Path, dir_okay=False), help="Use this vmlinux instead of DIR's.")
def decode(directory: Path, kernel: Path | None) -> None:
    """The command."""
    log = directory / CONSOLE_LOG
    kernel = kernel or directory / VMLINUX
    try:
        console = read_input(log, TEXT_BYTES).decode(errors="replace")
        info = DebugInfo(read_input(kernel, KERNEL_BYTES))
    except OSError as error:
        raise click.UsageError(
            f"cannot read {error.filename}: {error.strerror}; `kdumpsim run --output DIR` writes such a directory"
        ) from error
    except DebugInfoError as error:
        raise click.UsageError(f"{kernel}: {error}") from error
    display = screen()
    reports = find_reports(console)
    for number, report in enumerate(reports):
        for line in explain(report, info):
            display.print(line, soft_wrap=True)
        if number + 1 < len(reports):
            display.print()
    if not reports:
        display.print(f"No oops and no lockup in {escape(str(log))}.")


def explain(report: Report, info: DebugInfo) -> Iterator[str]:
    """The lines that tell of one report, with rich's markup."""
    yield f"[bold]{escape(report.headline)}[/]" + (f"  in {escape(report.task)}" if report.task else "")
    if report.address is not None:
        yield f"  {place(report.address, info)}"
        if (source := _source(report.address, info)) is not None:
            yield f"[dim]      {escape(source)}[/]"
        yield from _listing(report, info)
    if report.trace:
        yield "  called from" if report.address is not None else "  call trace"
        for address in report.trace:
            # A return address belongs to the line of the call before it.
            yield f"    {place(address, info, before=1)}"


def place(address: int, info: DebugInfo, *, before: int = 0) -> str:
    """An address as function, offset, file and line: that of the byte so many before it."""
    function = info.function(address)
    if function is None:
        return f"{hex_address(address)} is not in this kernel's code"
    text = f"{hex_address(address)} {function.name}+{address - function.start:#x}"
    where = info.line(address - before)
    return text if where is None else f"{text:<40} {escape(where[0])}:{where[1]}"


def _source(address: int, info: DebugInfo) -> str | None:
    """The source line itself, where this installation has the file."""
    where = info.line(address)
    if where is None:
        return None
    file = Path(kdumpsim.__file__).parent.parent / where[0]
    return linecache.getline(str(file), where[1]).strip() or None


def _listing(report: Report, info: DebugInfo) -> Iterator[str]:
    """Instructions around it, from the bytes the kernel printed."""
    if report.address is None or not report.code:
        return
    begin = report.address - report.before
    found = info.code(begin, len(report.code))
    if info.function(report.address) is not None and found != report.code:
        yield "    [bold red]these bytes are not those of vmlinux: the code had been overwritten[/]"
    earlier = _aligned(report, info)
    after = disassemble(report.code[report.before :], report.address)
    for instruction in [*earlier[-BEFORE:], *after[: AFTER + 1]]:
        mark = "=>" if instruction.address == report.address else "  "
        yield f"    {mark} {hex_address(instruction.address)}  {instruction.code.hex():<16} {escape(instruction.text)}"


def _aligned(report: Report, info: DebugInfo) -> list[Instruction]:
    """The instructions that lead up to it: only its function's beginning tells where they begin."""
    assert report.address is not None
    function = info.function(report.address)
    if function is None or report.address - function.start > MAX_FUNCTION:
        return []
    begin = max(function.start, report.address - report.before)
    printed = report.code[begin - (report.address - report.before) : report.before]
    whole = info.code(function.start, begin - function.start) + printed
    every = disassemble(whole + bytes(MAX_INSTRUCTION), function.start)
    return [instruction for instruction in every if begin <= instruction.address < report.address]
