# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim open`: a debugger on a run's dump, started as this kernel wants it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

import kdumpsim
from kdumpsim.choices import unknown
from kdumpsim.commands.dumpfiles import dump_in, layout_of
from kdumpsim.commands.inputs import TEXT_BYTES, read_input
from kdumpsim.commands.status import status_help
from kdumpsim.debugger.tools import TOOLS, Subject, ToolMissing, WrongFormat
from kdumpsim.runfiles import RESULT, TRUTH, VMCORE, VMLINUX
from kdumpsim.target import PROGRAM_COUNTER, STACK_POINTER
from kdumpsim.vmcore.formats.kinds import Kind, kind_of
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.oracle import CRASHING, DEATHS, INDUCED
from kdumpsim.vmcore.reader import Vmcore, VmcoreError

STACK = 8192
"""Bytes of a kernel stack, at most."""

HELP = f"""Open a run's dump in a debugger: gdb (the default), crash, drgn or lldb.

DIR is a directory that `kdumpsim run --output` wrote (default: dump), or a core file with its vmlinux beside it. If no
dump was captured, truth.core is opened, the machine's own memory at the crash. The debugger gets vmlinux, the source
lines and, if it supports that, the CPU that crashed. Arguments after -- are passed to it. Truncated dumps can be
opened, too, and dumps in makedumpfile's formats by crash and drgn.

\b
gdb has these commands, too (help kd-ps, and so on):
  kd-ps         all tasks
    kd-dmesg      the kernel's log; kd-dmesg TEXT: only lines with TEXT
  kd-irq        the interrupt lines, their counts and handlers
  kd-cpu        all CPUs; kd-cpu N: go to CPU N, whichever thread that is

\b
Examples:
  kdumpsim open                                # gdb on dump/vmcore
  kdumpsim open dump crash
  kdumpsim open dump gdb -- -batch -ex bt -ex kd-ps
  kdumpsim open dump/truth-end.core            # where a triple fault ended
    kdumpsim open dump lldb --print              # only print the command

The debugger replaces the process of kdumpsim, so the exit status is the debugger's.

{status_help()}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("dump"))
@click.argument("tool", metavar="[gdb|crash|drgn|lldb]", default="gdb")
@click.argument("more", metavar="[-- ARGUMENTS]", nargs=-1)
@click.option("--print", "only_print", is_flag=True, help="Print the command instead of running it.")
def open(directory: Path, tool: str, more: tuple[str, ...], only_print: bool) -> None:
    """The command."""
    if tool.startswith("-"):  # what follows -- where no debugger is named
        tool, more = "gdb", (tool, *more)
    if tool not in TOOLS:
        raise click.UsageError(unknown("debugger", tool, TOOLS))
    core = dump_in(directory, truth=True)
    kernel = core.parent / VMLINUX
    layout = layout_of(kernel)
    assert layout is not None
    result = _json(core.parent / RESULT)
    try:
        TOOLS[tool].check(core)
        thread = _crashing_thread(core, layout, result) if kind_of(core) == Kind.ELF else None
        subject = Subject(kernel, core, _sources(result), thread)
        command = TOOLS[tool].command(subject, more)
    except (VmcoreError, ToolMissing, WrongFormat) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"cannot read {core}: {error.strerror}") from error
    if only_print:
        click.echo(shlex.join(command))
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(command[0], command)


def _json(path: Path) -> dict[str, Any]:
    """The object of result.json or truth.json; empty where there is none that can be read."""
    with suppress(OSError, ValueError):
        result = json.loads(read_input(path, TEXT_BYTES))
        if isinstance(result, dict):
            return result
    return {}


def _sources(result: Mapping[str, Any]) -> list[Path]:
    """Where the kernel's sources are, and those of a user's own modules."""
    folders = [Path(kdumpsim.__file__).parent.parent]
    with suppress(KeyError, TypeError):
        folders += [Path(module).absolute().parent for module in result["options"]["guest_modules"]]
    return list(dict.fromkeys(folders))


def _crashing_thread(core: Path, layout: Layout, result: Mapping[str, Any]) -> int | None:
    """gdb's number for the CPU that crashed: of a truth.core the one that is about to die, else what the result says.

    None where neither tells.  VmcoreError for a damaged dump.
    """
    with Vmcore(core, cut_off=True) as dump:
        places = {layout.symbols.get(name) for name in (INDUCED, *DEATHS)}
        for number, cpu in enumerate(dump.cpus, 1):
            if cpu.registers[PROGRAM_COUNTER] in places:
                return number
        if not result:
            return _thread_by_truth([cpu.registers[STACK_POINTER] for cpu in dump.cpus], _json(core.parent / TRUTH))
    if core.name == VMCORE:
        with suppress(KeyError, TypeError):
            return next((check["thread"] for check in result["registers"] if check["role"] == CRASHING), None)
    return None


def _thread_by_truth(stacks: Sequence[int], truth: Mapping[str, Any]) -> int | None:
    """gdb's number for the CPU that crashed by a corpus entry's truth.json, from each thread's stack pointer.

    A CPU without registers shifts the numbers, so the thread is the one on the crashing CPU's stack.
    """
    with suppress(KeyError, TypeError, ValueError, IndexError):
        stack = int(truth["cpus"][truth["crash"]["cpu"]]["registers"][STACK_POINTER], 16)
        near = [(abs(pointer - stack), n) for n, pointer in enumerate(stacks, 1) if abs(pointer - stack) < STACK]
        return min(near)[1] if near else None
    return None
