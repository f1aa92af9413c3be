# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim ablate`: what each option of a profile is worth."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import click

from kdumpsim.commands.hosttime import host_timeout_option
from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.planned import check_store, jobs_option, leave, run_shown
from kdumpsim.commands.report import report_options, write
from kdumpsim.commands.status import Status, status_help
from kdumpsim.files import scratch_directory
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S
from kdumpsim.scenario.points import DEFAULT_COUNT
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.ablation import Ablation, ablations, plans, switches
from kdumpsim.sweeps.extras import MissingExtra
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.ratetable import rate_axes
from kdumpsim.sweeps.row import Row
from kdumpsim.sweeps.running import Progress, run_plan, runner
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import columns
from kdumpsim.sweeps.workers import Ways

SHOWN = 6
"""Changed outcomes of an option that are printed; --json has all of them."""
HELP = f"""Switch off each option of a profile in turn, and count the crashes that then end differently.

The cells of the LKDTT paper's Table 2 are crashed with the whole profile, and again without each of its options.
An option is switched off by giving it the kernel's default, together with the options that depend on it. The same
crash from the same seed makes a pair. p is from McNemar's exact test on the pairs in which only one side
ended O, adjusted for the number of options (Holm).

\b
Examples:
  kdumpsim ablate --profile hardened
  kdumpsim ablate --option crash_stacks --option nmi_stacks --type overflow
  kdumpsim ablate --counts 1-20 --store ablate.sqlite --html ablate.html

{status_help(Status.HOST_TIMEOUT)}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.option(
    "--profile", default="hardened", show_default=True, metavar="NAME", help="The profile with the options to test."
)
@click.option("--option", "names", multiple=True, metavar="NAME", help="Only this kernel option; repeatable.")
@click.option("--point", "points", multiple=True, metavar="P", help="Only this crash point; repeatable.")
@click.option("--type", "types", multiple=True, metavar="T", help="Only this crash type; repeatable.")
@click.option(
    "--counts",
    default=str(DEFAULT_COUNT),
    show_default=True,
    metavar="N,…",
    help="Crossings of the point before the crash.",
)
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Number of seeds.")
@click.option("--seed", default=0, show_default=True, metavar="S", help="The first seed.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the runs in this store, as a sweep does.",
)
@click.option("--resume", is_flag=True, help="Continue with an existing store.")
@jobs_option
@host_timeout_option(default=HOST_TIMEOUT_S)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one per option, and nothing else.")
@report_options
@click.pass_obj
def ablate(
    interrupts: Interrupts | None,
    /,
    profile: str,
    names: tuple[str, ...],
    points: tuple[str, ...],
    types: tuple[str, ...],
    counts: str,
    seeds: int,
    seed: int,
    store: Path | None,
    resume: bool,
    jobs: int | None,
    host_timeout: float,
    as_json: bool,
    html_file: Path | None,
    junit_file: Path | None,
    form: str | None,
) -> None:
    """Parse, run, show."""
    check_store(store, resume=resume)
    poll = None if interrupts is None else interrupts.poll
    try:
        chosen = switches(profile, names)
        axes: dict[str, Any] = rate_axes(points, types, counts, range(seed, seed + seeds))
        made = list(plans(profile, chosen, **axes))
        with scratch_directory() as scratch, Store(store or scratch / "ablate.sqlite", create=True) as opened:
            ways = Ways(host_timeout)

            def rows(progress: Progress) -> Generator[Row, None, None]:
                for plan in made:
                    yield from run_plan(plan, opened, runner(plan, jobs, None, ways, poll), progress)

            def show(progress: Progress) -> None:
                if progress.left:
                    where = f" in {store}: go on with --resume" if store is not None else ""
                    click.echo(f"{progress.before + progress.done} of {progress.total} runs{where}.", err=as_json)
                    return
                found = ablations(opened, profile, chosen)
                if as_json:
                    click.echo(json.dumps([ablation.as_dict() for ablation in found], indent=2))
                else:
                    _print(profile, made[0], found)

            dead = run_shown(rows, sum(plan.total for plan in made), show, quiet=as_json)
            for path in write(opened, html_file, junit_file, form):
                click.echo(f"Wrote {path}.", err=as_json)
    except (ScenarioError, StoreError, MissingExtra) as error:
        raise click.UsageError(str(error)) from error
    leave(dead)


def _print(profile: str, whole: Plan, found: Sequence[Ablation]) -> None:
    click.echo(f"Profile {profile}, {whole.total} crashes, and the same with each option off")
    rows = [("off", "O with", "O without", "only with", "only without", "p")]
    for ablation in found:
        pairs = ablation.comparison
        rows.append((
            ablation.switch.option, f"{pairs.both + pairs.only_a} of {pairs.pairs}", str(pairs.both + pairs.only_b),
            str(pairs.only_a), str(pairs.only_b), f"{pairs.adjusted:.2g}",
        ))  # fmt: skip
    for line in columns(rows):
        click.echo(line)
    for ablation in found:
        click.echo()
        click.echo(f"{ablation.switch.text}: {'changes these outcomes' if ablation.turns else 'changes nothing'}")
        for turn in ablation.turns[:SHOWN]:
            click.echo(f"  {turn.pairs} x {turn.crash_point} / {turn.crash_type}: {turn.end} to {turn.end_off}")
        if len(ablation.turns) > SHOWN:
            click.echo(f"  and {len(ablation.turns) - SHOWN} more: --json has all of them")
        for example in ablation.comparison.differing[:1]:
            click.echo(f"  with     {example.command_a}")
            click.echo(f"  without  {example.command_b}")
