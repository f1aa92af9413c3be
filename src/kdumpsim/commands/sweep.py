# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim sweep`: many runs into a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kdumpsim.commands.compare import look_text
from kdumpsim.commands.hosttime import host_timeout_option
from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.planned import check_elsewhere, check_store, jobs_option, leave, run_shown
from kdumpsim.commands.report import report_options, write
from kdumpsim.commands.status import Status, status_help
from kdumpsim.files import writable_directory
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.extras import MissingExtra
from kdumpsim.sweeps.plan import AXES, FIELDS, OPTION_AXES, Plan
from kdumpsim.sweeps.running import Progress, run_plan, runner
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import cells, table
from kdumpsim.sweeps.workers import Ways

HELP = f"""Run all combinations of crash points, crash types, counts, seeds and options, and keep the runs in a store.

The plan is a TOML file or the options below; write lists as 1,3,5-9 and A,B. To vary another field of a scenario
(--cpus, --profile, …), give it several times. `kdumpsim help sweeps` describes plans, the store and the figures.

A machine is booted once for each seed and each combination of options, and forked for each run. The store, an SQLite
file, gets each run as soon as it ends. However a sweep ends, `--resume` continues it there, and repeats no run.
A changed kernel is a different experiment.

The exit status is 0 if every run had an outcome, whichever it was.

\b
Examples:
  kdumpsim sweep --points FS_DEVRW,TIMERADD --types panic,oops --seeds 0-4
  kdumpsim sweep --points TASKLET --types overflow --option stack=4k,8k
  kdumpsim sweep --points FS_DEVRW --types oops --counts 1-20 --precision 0.05
  kdumpsim sweep plan.toml --store stacks.sqlite --resume
  kdumpsim sweep --store stacks.sqlite --resume   # the store has the plan

{status_help(Status.HOST_TIMEOUT)}
"""


def _plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of a scenario, which is varied if it is given several times."""
    for named in reversed(list(FIELDS.values())):
        chosen = named.setting
        if chosen.flag:
            decorate = click.option(named.option, named.name, is_flag=True, help=named.help)
        else:
            decorate = click.option(named.option, named.name, multiple=True, metavar=chosen.metavar, help=named.help)
        command = decorate(command)
    return command


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("plan_file", required=False, type=click.Path(path_type=Path), metavar="[PLAN.toml]")
@click.option("--points", metavar="P,…", help="Crash points.")
@click.option("--types", metavar="T,…", help="Crash types.")
@click.option("--counts", metavar="N,…", help="Crossings of the point before the crash.  [default: 10]")
@click.option("--seeds", metavar="N,…", help="Seeds.  [default: 0]")
@click.option("--draws", metavar="N,…", help="Numbers of draws of an instant, a fault or a variation.  [default: 0]")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=V,…", help="Vary a kernel option; repeatable: `stack=4k,8k`."
)
@click.option(
    "--precision",
    type=float,
    metavar="F",
    help="Take as many seeds as each option needs for an interval of ± F, a fraction of 1: 0.05 needs 385 runs.",
)
@click.option(
    "--looks",
    type=int,
    metavar="N",
    help="Compare the two values of --option N times during the sweep; end if they differ, at 5 % for all looks.",
)
@click.option(
    "--store",
    default="sweep.sqlite",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file that keeps the runs.",
)
@click.option(
    "--resume", is_flag=True, help="Continue with an existing store; without a plan, with the store's last one."
)
@jobs_option
@click.option(
    "--dask", "scheduler", metavar="ADDRESS", help="Run on the workers of this Dask scheduler, such as tcp://HOST:8786."
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep result.json and console.log of each run in DIR.",
)
@host_timeout_option(default=HOST_TIMEOUT_S)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one per cell, and nothing else.")
@report_options
@_plan_options
@click.pass_obj
def sweep(
    interrupts: Interrupts | None,
    /,
    plan_file: Path | None,
    options: tuple[str, ...],
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
    poll = None if interrupts is None else interrupts.poll
    check_elsewhere(scheduler, jobs, keep)
    try:
        plan = _plan(plan_file, options, given)
        if plan is None and not resume:
            raise click.UsageError("nothing to run: give PLAN.toml, or --points and --types")
        check_store(store, resume=resume)
        with Store(store, create=plan is not None) as opened:
            plan = plan or _last_plan(opened)
            if keep is not None:
                writable_directory(keep)
            run_by = runner(plan, jobs, scheduler, Ways(host_timeout, keep), poll)
            dead = run_shown(
                lambda progress: run_plan(plan, opened, run_by, progress),
                plan.total,
                lambda progress: _show(plan, opened, progress, as_json=as_json),
                quiet=as_json,
            )
            for path in write(opened, html_file, junit_file, form):
                click.echo(f"Wrote {path}.", err=as_json)
    except (ScenarioError, StoreError, MissingExtra) as error:
        raise click.UsageError(str(error)) from error
    leave(dead)


def _plan(path: Path | None, options: Sequence[str], given: dict[str, Any]) -> Plan | None:
    """The plan that was asked for; None if none was."""
    data: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None and value is not False and value != ():
            data[name] = value if name in AXES or not isinstance(value, tuple) else list(value)
    for word in options:
        name, equals, values = word.partition("=")
        if not equals:
            raise ScenarioError(f"option '{word}' has no values: write NAME=VALUE,…, such as stack=4k,8k")
        if name in data.setdefault(OPTION_AXES, {}):
            raise ScenarioError(f"option {name} is given twice: write all its values in one, such as {name}=A,B")
        data[OPTION_AXES][name] = values
    if path is None:
        return Plan.from_dict(data) if data else None
    if data:
        raise ScenarioError(f"{', '.join(data)} cannot be combined with the plan {path}: change the file instead")
    return Plan.read(path)


def _last_plan(store: Store) -> Plan:
    plans = store.plans
    if not plans:
        raise StoreError(f"the store '{store.path}' has no plan: give PLAN.toml, or --points and --types")
    return plans[-1]


def _show(plan: Plan, store: Store, progress: Progress, *, as_json: bool) -> None:
    tallies = cells(store)
    if as_json:
        settings = {arm.id: arm.settings for arm in store.arms}
        objects = [
            {
                "crash_point": point, "crash_type": kind, "runs": tally.ends.total(), "ok": tally.ok, "n": tally.n,
                "rate": tally.rate, "interval": [tally.interval.low, tally.interval.high], "ends": tally.ends,
                "settings": settings[arm],
            }
            for (arm, point, kind), tally in tallies.items()
        ]  # fmt: skip
        click.echo(json.dumps(objects, indent=2))
        return
    for line in table(tallies, store.arms):
        click.echo(line)
    for look in store.looks:
        click.echo(look_text(look))
    there = progress.before + progress.done
    if there < plan.total and not any(look.decided for look in store.looks):
        click.echo(f"{there} of {plan.total} runs are in {store.path}: continue with --resume.")
    else:
        click.echo(f"{len(store)} runs in {store.path}, {progress.done} of them new.")
        click.echo(f"To see them: kdumpsim report {store.path} --html sweep.html")
