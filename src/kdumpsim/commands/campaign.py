# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim campaign`: many faults, what came of them, and what options are worth against them."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import click

from kdumpsim.commands.compare import show_comparison
from kdumpsim.commands.hosttime import host_timeout_option
from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.planned import check_elsewhere, check_store, jobs_option, leave, run_shown
from kdumpsim.commands.report import report_options, write
from kdumpsim.commands.settings import fields_of, scenario_options
from kdumpsim.commands.status import Status, status_help
from kdumpsim.files import writable_directory
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S
from kdumpsim.scenario.parts import CrashPart, KernelPart, PcPart
from kdumpsim.scenario.values import ScenarioError, words_of
from kdumpsim.sweeps.campaign import Campaign, campaign_table, compared_of, fault_tallies, run_campaign
from kdumpsim.sweeps.comparing import compare_all
from kdumpsim.sweeps.extras import MissingExtra
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.row import Row
from kdumpsim.sweeps.running import Progress, Runner, runner
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.workers import Ways

HELP = f"""Inject faults into running kernels, --runs of each kind on --boots boots, and count their effects.

Each --fault is a model with a word for its target, as for `kdumpsim run --fault`, or instant:TYPE, a crash wherever
a CPU is busy in the kernel. The actual fault is drawn from the seed of the boot and the number of the draw. Of the
faults that required a dump, the share with a correct one is shown with its interval.

With --compare, the very faults that were drawn with the profile's own options are injected again with another value of
an option: same kernel, same target, same time. Pairs in which the fault was activated on both sides are compared, with
McNemar's exact test on those in which only one side ended O; p-values are adjusted for their number (Holm).
The number of runs is fixed in advance, by --runs.

The runs are kept like a sweep's: --resume continues a store, and report and compare read it. `kdumpsim help faults`
describes the models, `kdumpsim help sweeps` the figures.

\b
Examples:
  kdumpsim campaign --fault text:executed --boots 5 --runs 50
  kdumpsim campaign --fault text --fault stack --compare panic_on_oops=1,0
  kdumpsim campaign --fault instant:oops --profile default,2.6.16
  kdumpsim campaign --fault text:executed --faults 20 --html campaign.html

{status_help(Status.HOST_TIMEOUT)}
"""
OF_THE_KERNEL = ("mechanism", "kernel_options", "guest_modules")
OF_THE_PC = ("cpus", "memory", "nic")
OF_THE_CRASH = ("faults", "load", "dma", "patience", "timeout", "breaks")


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.option("--fault", "strikes", multiple=True, metavar="FAULT", help="MODEL[:TARGET] or instant:TYPE; repeatable.")
@click.option(
    "--boots", default=20, show_default=True, type=click.IntRange(1), help="Number of boots, each with its own seed."
)
@click.option("--runs", default=100, show_default=True, type=click.IntRange(1), help="Number of faults of each kind.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), metavar="S", help="The first boot's seed."
)
@click.option(
    "--compare",
    "compared",
    multiple=True,
    metavar="NAME=V,V",
    help="Compare these values of a kernel option; repeatable.",
)
@click.option("--profile", default="default", show_default=True, metavar="NAME,…", help="Sets of kernel options.")
@click.option(
    "--store",
    default="campaign.sqlite",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file that keeps the runs.",
)
@click.option("--resume", is_flag=True, help="Continue with an existing store.")
@jobs_option
@click.option("--dask", "scheduler", metavar="ADDRESS", help="Run on the workers of this Dask scheduler.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep result.json and console.log of each run in DIR.",
)
@host_timeout_option(default=HOST_TIMEOUT_S)
@click.option("--json", "as_json", is_flag=True, help="Print an object, and nothing else.")
@report_options
@scenario_options(KernelPart, only=OF_THE_KERNEL)
@scenario_options(PcPart, only=OF_THE_PC)
@scenario_options(CrashPart, only=OF_THE_CRASH)
@click.pass_obj
def campaign(
    interrupts: Interrupts | None,
    /,
    strikes: tuple[str, ...],
    boots: int,
    runs: int,
    seed: int,
    compared: tuple[str, ...],
    profile: str,
    store: Path,
    resume: bool,
    jobs: int | None,
    scheduler: str | None,
    keep: Path | None,
    host_timeout: float,
    as_json: bool,
    html_file: Path | None,
    junit_file: Path | None,
    form: str | None,
    **given: Any,
) -> None:
    """Parse, run, show."""
    check_elsewhere(scheduler, jobs, keep)
    check_store(store, resume=resume)
    poll = None if interrupts is None else interrupts.poll
    try:
        fields = fields_of(KernelPart, given) | fields_of(PcPart, given) | fields_of(CrashPart, given)
        options = dict(fields.pop("kernel_options", ()))
        made = [
            Campaign.of(
                strikes, boots=boots, runs=runs, seed=seed, compared=compared_of(compared), options=options,
                profile=name, **{name: _written(value) for name, value in fields.items()},
            )
            for name in words_of(profile)
        ]  # fmt: skip
        if keep is not None:
            writable_directory(keep)
        with Store(store, create=True) as opened:
            ways = Ways(host_timeout, keep)

            def run_by(plan: Plan) -> Runner:
                return runner(plan, jobs, scheduler, ways, poll)

            def rows(progress: Progress) -> Generator[Row, None, None]:
                for one in made:
                    yield from run_campaign(one, opened, run_by, progress)

            total = sum(one.total for one in made)
            dead = run_shown(rows, total, lambda progress: _show(opened, progress, as_json=as_json), quiet=as_json)
            for path in write(opened, html_file, junit_file, form):
                click.echo(f"Wrote {path}.", err=as_json)
    except (ScenarioError, StoreError, MissingExtra) as error:
        raise click.UsageError(str(error)) from error
    leave(dead)


def _written(value: Any) -> Any:
    """A value as a plan has it: a list is one value, not several."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else [value]


def _show(store: Store, progress: Progress, *, as_json: bool) -> None:
    found, comparisons = fault_tallies(store), compare_all(store)
    if as_json:
        faults = [
            {
                "faults": label, "runs": tally.runs, "classes": dict(tally.classes),
                "harmful": tally.harmful, "right_dumps": tally.captured,
                "interval": [tally.interval.low, tally.interval.high],
                "interval_by_boot": [tally.by_boot.low, tally.by_boot.high],
            }
            for label, tally in found.items()
        ]  # fmt: skip
        click.echo(json.dumps({"faults": faults, "comparisons": [one.as_dict() for one in comparisons]}, indent=2))
        return
    if found:
        for line in campaign_table(found):
            click.echo(line)
        click.echo("none: no effect; lived: the kernel still works; wrong: O, but memory or registers are wrong;")
        click.echo(
            "right dumps: share of O in O, wrong and X (the faults that required a dump), with Wilson's 95 % interval."
        )
    for comparison in comparisons:
        click.echo()
        show_comparison(comparison, many=len(comparisons) > 1)
    click.echo()
    there = progress.before + progress.done
    if there < progress.total:
        click.echo(f"{there} of {progress.total} runs are in {store.path}: continue with --resume.")
    else:
        click.echo(f"{len(store)} runs in {store.path}.")
        click.echo(f"To see them: kdumpsim report {store.path} --html campaign.html")
