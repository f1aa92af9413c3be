# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim compare`: two options of a store beside each other."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kdumpsim.commands.status import status_help
from kdumpsim.sweeps.comparing import Comparison, compare_all, side
from kdumpsim.sweeps.comparing import compare as compare_sides
from kdumpsim.sweeps.extras import MissingExtra
from kdumpsim.sweeps.store import Look, Store, StoreError

HELP = f"""Compare the runs of STORE with A and with B, pair by pair: same crash, same seed, all else equal.

A and B are settings that the sweep varied, such as stack=4k and stack=8k. Without them, every two values of everything
that was varied are compared, and the p-values adjusted for being so many (Holm). A pair counts if both of its runs
have an outcome. p is that of McNemar's exact test; the difference has its interval by drawing boots, since runs
that share one are not independent.

\b
Examples:
  kdumpsim compare stacks.sqlite stack=4k stack=8k
  kdumpsim compare stacks.sqlite --json

{status_help()}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("store", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one per comparison, and nothing else.")
def compare(store: Path, a: str | None, b: str | None, as_json: bool) -> None:
    """Parse, compare, show."""
    if a is not None and b is None:
        raise click.UsageError(f"{a} alone cannot be compared: give both sides, or none")
    try:
        with Store(store) as opened:
            looks = opened.looks
            made = [compare_sides(opened, side(a), side(b))] if a and b else compare_all(opened)
            if not made:
                raise StoreError(f"nothing was varied in '{store}': sweep with --option NAME=V,V")
    except (StoreError, MissingExtra) as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps([comparison.as_dict() for comparison in made], indent=2))
        return
    for comparison in made:
        show_comparison(comparison, many=len(made) > 1)
    for look in looks:
        click.echo(look_text(look))


def look_text(look: Look) -> str:
    """A look in a line."""
    verdict = "the arms differ" if look.decided else "undecided"
    return f"look {look.number}: {look.pairs} pairs, p = {look.p:.2g}, level {look.level:.2g}: {verdict}"


def show_comparison(found: Comparison, *, many: bool) -> None:
    """Print a comparison; with the adjusted p-value where it is one of many."""
    wide = max(len(found.a), len(found.b))
    click.echo(f"{found.a} against {found.b}: {found.pairs} pairs")
    for name, ok, rate in (
        (found.a, found.both + found.only_a, found.rate_a),
        (found.b, found.both + found.only_b, found.rate_b),
    ):
        click.echo(f"  {name:<{wide}}  O in {ok} of {found.pairs}, {100 * ok / max(found.pairs, 1):.1f} % {rate}")
    click.echo(
        f"  both O {found.both}, only {found.a} {found.only_a}, only {found.b} {found.only_b}, neither {found.neither}"
    )
    adjusted = f", adjusted {found.adjusted:.2g}" if many else ""
    click.echo(f"  McNemar's exact test: p = {found.p:.2g}{adjusted}; difference {found.difference} % by boots")
    click.echo(f"  {found.verdict}")
    for example in found.differing:
        click.echo(f"  {example.pairs} x {example.end_a} against {example.end_b}, such as")
        click.echo(f"    {example.command_a}\n    {example.command_b}")
    if found.unpaired:
        click.echo(
            f"  {found.unpaired} runs are not in pairs: the other side has no run of the same crash with an outcome."
        )
