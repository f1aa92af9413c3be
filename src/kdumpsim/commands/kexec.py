# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim kexec`: kexec-tools on the host, for a guest with an agent or for a text of /proc/iomem."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table

from kdumpsim.agent.client import AgentClient, Reboot
from kdumpsim.agent.errors import AgentError, AgentFailure, BadAddress
from kdumpsim.agent.segments import FileData
from kdumpsim.agent.transport import SocketTransport
from kdumpsim.commands.inputs import KERNEL_BYTES, TEXT_BYTES, Seconds, read_input
from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import Status, status_help
from kdumpsim.kexec.cmdline import COMMAND_LINE_SIZE
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.image import KernelImage, load_image
from kdumpsim.kexec.iomem import MemoryLayout, memory_layout
from kdumpsim.kexec.load import (
    KEXEC_LOADED,
    LoadPlan,
    default_purgatory,
    kexec_unload,
    parse_crash_notes,
    plan_normal,
    plan_panic,
    read_crash_notes,
    read_layout,
    read_vmcoreinfo,
)

HELP = f"""Load KERNEL for kexec or kdump into a running guest, or show what would be loaded.

With -p the kernel is a capture kernel: it goes into the region reserved by crashkernel=, together with
purgatory, ELF core headers and room for the first 640 KiB, and starts when the running kernel panics.
With -l it is an ordinary kernel, started by -e. -u unloads either.

The data that a load depends on (/proc/iomem, the addresses of the crash notes) are read from the guest, through its
agent on the second serial port. For QEMU, connect that port to a socket:

\b
  qemu-system-i386 -kernel vmlinux -smp 2 -m 64 -append crashkernel=16M@16M \\
      -serial stdio -serial unix:/tmp/agent,server,nowait
  kdumpsim kexec -p vmlinux-kdump --agent unix:/tmp/agent \\
      --append console=ttyS0

Without a guest, --dry-run plans a load from a copy of /proc/iomem (copy it as root; other users read zeros):

\b
  kdumpsim kexec -p vmlinux-kdump --dry-run --iomem iomem.txt \\
      --crash-notes 14a000,14a400

{status_help(Status.NO_MACHINE)}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("kernel", required=False, type=click.Path(path_type=Path))
@click.option("-p", "--load-panic", "action", flag_value="panic", help="Load KERNEL to be started at a panic.")
@click.option("-l", "--load", "action", flag_value="load", help="Load KERNEL to be started by -e.")
@click.option("-e", "--exec", "execute", is_flag=True, help="Start the kernel that -l loaded.")
@click.option("-u", "--unload", is_flag=True, help="Unload the kernel; with -p the capture kernel.")
@click.option(
    "--append", default="", metavar="OPTIONS", help="KERNEL's command line; the options that kdump needs are appended."
)
@click.option("--reuse-cmdline", is_flag=True, help="Start from the guest's own command line.")
@click.option(
    "--elf32-core-headers",
    "headers",
    flag_value="32",
    help="ELF32 headers, which gdb opens (default if no memory lies above 4 GiB).",
)
@click.option(
    "--elf64-core-headers", "headers", flag_value="64", help="ELF64 headers (default if memory lies above 4 GiB)."
)
@click.option(
    "--guest-path", metavar="PATH", help="Where the guest has KERNEL as a file of its own; reading it there is quicker."
)
@click.option("--agent", "address", metavar="ADDRESS", help="The guest's agent: unix:PATH or tcp:HOST:PORT.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each of the agent's answers.",
)
@click.option("--dry-run", is_flag=True, help="Show the segments, but load nothing.")
@click.option(
    "--iomem", type=click.Path(path_type=Path), metavar="FILE", help="A copy of /proc/iomem, instead of an agent."
)
@click.option(
    "--crash-notes", metavar="ADDR,…", help="Addresses of the CPUs' crash notes, in hexadecimal, instead of an agent."
)
def kexec(
    kernel: Path | None,
    action: str | None,
    execute: bool,
    unload: bool,
    append: str,
    reuse_cmdline: bool,
    headers: str | None,
    guest_path: str | None,
    address: str | None,
    timeout: float,
    dry_run: bool,
    iomem: Path | None,
    crash_notes: str | None,
) -> None:
    """Parse, plan, load, show."""
    _check_usage(kernel, action, execute, unload, address, dry_run, iomem, crash_notes, reuse_cmdline)
    try:
        agent = None
        if address is not None:
            agent = AgentClient(SocketTransport.connect(address), timeout)
        if unload:
            assert agent is not None
            kexec_unload(agent, panic=action == "panic")
            click.echo("The capture kernel was unloaded." if action == "panic" else "The kernel was unloaded.")
        elif action is not None:
            assert kernel is not None
            image = load_image(_read(kernel, KERNEL_BYTES), str(kernel))
            if agent is not None and reuse_cmdline:
                append = f"{agent.read_file('/proc/cmdline').decode('ascii', 'replace').strip()} {append}".strip()
            layout = read_layout(agent) if agent else memory_layout(_read(iomem, TEXT_BYTES).decode("ascii", "replace"))
            plan = _plan(action, image, layout, agent, crash_notes, append, guest_path, headers)
            if not dry_run:
                assert agent is not None
                agent.kexec_load(plan.entry, plan.segments, plan.flags)
            _show(plan, dry_run)
        if execute:
            assert agent is not None
            if agent.read_file(KEXEC_LOADED).strip() == b"0":
                raise KexecError("no kernel is loaded: load one with -l")
            agent.reboot(Reboot.KEXEC)
            click.echo("The guest was told to start the loaded kernel.")
    except (AgentFailure, KexecError) as error:
        click.echo(f"Error: {error}", err=True)
        refused = isinstance(error, (AgentError, BadAddress, KexecError))
        sys.exit(Status.BAD_INPUT if refused else Status.NO_MACHINE)


def _check_usage(
    kernel: Path | None,
    action: str | None,
    execute: bool,
    unload: bool,
    address: str | None,
    dry_run: bool,
    iomem: Path | None,
    crash_notes: str | None,
    reuse_cmdline: bool,
) -> None:
    """Raise UsageError for options that cannot be combined."""
    loads = action is not None and not unload
    if action is None and not execute and not unload:
        raise click.UsageError("Nothing to do: give one of -p, -l, -e and -u.")
    if loads and kernel is None:
        raise click.UsageError("-p and -l need a KERNEL file.")
    if unload and (execute or kernel is not None):
        raise click.UsageError("-u cannot be combined with -e or a KERNEL file.")
    if execute and action == "panic":
        raise click.UsageError("-e starts what -l loaded; a capture kernel is started by a panic.")
    if address is None and not (loads and dry_run and iomem is not None):
        raise click.UsageError("Give the guest's --agent, or --dry-run with --iomem FILE.")
    if address is not None and iomem is not None:
        raise click.UsageError("--iomem replaces --agent; give only one of them.")
    if dry_run and (execute or unload):
        raise click.UsageError("--dry-run needs -p or -l.")
    if address is None and action == "panic" and crash_notes is None:
        raise click.UsageError("-p without an agent needs --crash-notes.")
    if address is None and reuse_cmdline:
        raise click.UsageError("--reuse-cmdline needs an --agent.")


def _read(path: Path | None, limit: int) -> bytes:
    assert path is not None
    try:
        return read_input(path, limit)
    except OSError as error:
        raise KexecError(f"{path}: {error.strerror}") from None


def _plan(
    action: str,
    image: KernelImage,
    layout: MemoryLayout,
    agent: AgentClient | None,
    crash_notes: str | None,
    append: str,
    guest_path: str | None,
    headers: str | None,
) -> LoadPlan:
    if action == "load":
        return plan_normal(image, layout, default_purgatory(), append, guest_path=guest_path)
    vmcoreinfo = None if agent is None else read_vmcoreinfo(agent)
    if crash_notes is not None:
        notes = [parse_crash_notes(text, "--crash-notes") for text in crash_notes.split(",")]
    else:
        assert agent is not None
        notes = read_crash_notes(agent)
    elf64 = None if headers is None else headers == "64"
    return plan_panic(
        image, layout, notes, default_purgatory(), append, vmcoreinfo=vmcoreinfo, guest_path=guest_path, elf64=elf64
    )


def _show(plan: LoadPlan, dry_run: bool) -> None:
    table = Table(title="would be loaded" if dry_run else "loaded", title_justify="left", pad_edge=False)
    for name in ("segment", "address", "end", "memory", "contents", "from"):
        table.add_column(name, justify="left" if name in ("segment", "from") else "right", no_wrap=True)
    for segment in plan.segments:
        data = segment.data
        source = f"guest file {data.path}" if isinstance(data, FileData) else "inline" if data else ""
        table.add_row(
            segment.name,
            f"{segment.mem:#010x}",
            f"{segment.range.end - 1:#010x}",
            f"{segment.memsz >> 10} KiB",
            f"{segment.bufsz} B" if segment.bufsz else "-",
            source,
        )
    console = screen(soft_wrap=not sys.stdout.isatty())
    console.print(table)
    if plan.crash is not None:
        console.print(f"reserved region  {plan.crash}")
    console.print(f"entry            {plan.entry:#010x} (purgatory)")
    console.print(f"command line     {plan.command_line}", markup=False)
    console.print(f"                 {len(plan.command_line)} of at most {COMMAND_LINE_SIZE - 1} characters")
