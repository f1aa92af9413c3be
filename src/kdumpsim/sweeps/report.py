# SPDX-License-Identifier: GPL-2.0-or-later
"""What a store says as one HTML page that needs nothing else: charts, tables, a command for each kind of failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from kdumpsim._version import __version__
from kdumpsim.sweeps import campaign, charts
from kdumpsim.sweeps.campaign import CLASSES, FaultTally, fault_labels, fault_tallies
from kdumpsim.sweeps.comparing import Comparison, compare_all
from kdumpsim.sweeps.statistics import cluster_bootstrap
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import Failures, Tally, by_arm, cells, clusters, failures, labels, waits

MOST_FAILURES = 100
BUCKET_NS = 10_000
_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } h3 { font-size: 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { white-space: pre-wrap; background: #f4f4f4; padding: .5rem .7rem }
svg { width: 100%; height: auto } .n { text-align: right } .o { color: #2e7d32 } .x { color: #b3261e }
summary { cursor: pointer } .small { color: #555; font-size: 13px } .chain { color: #444; overflow-wrap: anywhere }
"""


def page(store: Store) -> str:
    """The page.  StoreError for a store without runs, MissingExtra without matplotlib and scipy."""
    tallies, arms = cells(store), store.arms
    if not tallies:
        raise StoreError(f"'{store.path}' has no runs yet")
    named = labels(arms)
    of_arms = by_arm(tallies)
    totals = {named[arm]: tally for arm, tally in of_arms.items()}
    title = f"Sweep {store.path.stem}"
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width">\n<style>{_CSS}</style>\n<h1>{escape(title)}</h1>',
        f"<p>{_story(totals.values())}</p>",
        _section("How the runs ended", charts.outcome_bars(totals), _arms_table(clusters(store), of_arms, named)),
    ]
    if faults := fault_tallies(store):
        bars = charts.effect_bars({label: tally.classes for label, tally in faults.items()})
        parts.append(_section("What came of the faults", bars, _faults_table(faults)))
    if after := campaign.latencies(store):
        parts.append(_section("From the fault to the crash", charts.latencies(after, "fault-latency", _FROM_FAULT)))
    struck = fault_labels(store)
    for arm, label in named.items():
        if arm not in struck and any(key[0] == arm for key in tallies):
            heading = "Crash points and types" + (f": {label}" if len(named) > 1 else "")
            parts.append(_section(heading, charts.heat_map(tallies, arm, f"cells{arm}"), _CELLS))
    if handed := waits(store, named, "hand_over_ns - crash_ns", BUCKET_NS):
        chart = charts.latencies(handed, "latency", "from the crash to the hand-over")
        parts.append(_section("From the crash to the hand-over", chart, _WAITS))
    if made := compare_all(store):
        parts.append(_section("What differs", charts.differences(made), _comparisons(made)))
    parts.append(_section("Failures", _failures(failures(store, MOST_FAILURES + 1), named)))
    parts.append(f'<p class="small">kdumpsim {escape(__version__)}</p>\n</html>\n')
    return "\n".join(parts)


_CELLS = (
    '<p class="small">Share of O, with Wilson\'s 95 % interval as if runs were independent, and the number of runs.</p>'
)
_FROM_FAULT = "from the first fault that mattered to the crash"
_WAITS = '<p class="small">Runs in which the kernel handed over to its dump mechanism; their number in brackets.</p>'


def _section(heading: str, *parts: str) -> str:
    return f"<h2>{escape(heading)}</h2>\n" + "\n".join(parts)


def _story(totals: Iterable[Tally]) -> str:
    totals = list(totals)
    runs, n, ok = (sum(counts) for counts in zip(*((t.ends.total(), t.n, t.ok) for t in totals), strict=True))
    text = f"{runs} runs in {len(totals)} {'arm' if len(totals) == 1 else 'arms'}: {ok} ended O, {n - ok} ended X"
    return text + (f", {runs - n} have no outcome." if runs > n else ".")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"


def _arms_table(
    by_boot: Mapping[int, list[tuple[int, int]]], totals: Mapping[int, Tally], named: dict[int, str]
) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for arm, tally in totals.items():
            boots = by_boot.get(arm, [])
            rate = "–" if tally.rate is None else f"{100 * tally.rate:.1f}&nbsp;%"
            yield (
                escape(named[arm]),
                str(tally.n),
                rate,
                str(tally.interval),
                str(cluster_bootstrap(boots)),
                str(len(boots)),
            )

    return _table(("arm", "runs", "O", "95 %, runs (Wilson)", "95 %, boots (bootstrap)", "boots"), rows())


def _faults_table(found: Mapping[str, FaultTally]) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for label, tally in found.items():
            rate = f"{100 * tally.captured / tally.harmful:.1f}&nbsp;%" if tally.harmful else "–"
            counts = (str(tally.classes[each.value]) for each in CLASSES)
            yield escape(label), *counts, rate, str(tally.interval), str(tally.by_boot)

    names = [each.value for each in CLASSES]
    return _table(("faults", *names, "right dumps", "95 %, faults (Wilson)", "95 %, boots"), rows())


def _comparisons(made: Sequence[Comparison]) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for found in made:
            a, b = escape(found.a), escape(found.b)
            counts = f"both {found.both}, only {a} {found.only_a}, only {b} {found.only_b}, neither {found.neither}"
            yield f"{a}<br>{b}", counts, f"{found.p:.2g}", f"{found.adjusted:.2g}", escape(found.verdict)

    heads = ("arms", "pairs that end O", "p (McNemar, exact)", "p (Holm)", "")
    return _table(heads, rows()) + "".join(_examples(found) for found in made if found.differing)


def _examples(found: Comparison) -> str:
    shown = "".join(
        f"<p>{example.pairs} pairs: {escape(example.end_a)} against {escape(example.end_b)}, such as</p>"
        f"<pre>{escape(example.command_a)}\n{escape(example.command_b)}</pre>"
        for example in found.differing
    )
    return f"<details><summary>{escape(found.a)} and {escape(found.b)}: pairs that differ</summary>{shown}</details>"


def _failures(groups: Sequence[Failures], named: dict[int, str]) -> str:
    if not groups:
        return "<p>None.</p>"

    def rows() -> Iterator[Sequence[str]]:
        for group in groups[:MOST_FAILURES]:
            where = f" in {escape(group.ended_in)}" if group.ended_in else ""
            chain = f'<div class="chain small">{escape(group.calls)}</div>' if group.calls else ""
            seen = "".join(f"<li>{escape(line)}</li>" for line in group.evidence)
            seen = (
                f"<details><summary class='small'>what was seen</summary><ul class='small'>{seen}</ul></details>"
                if seen
                else ""
            )
            what = f"{escape(group.reason)}{chain}<pre>{escape(group.command)}</pre>{seen}"
            yield str(group.runs), f'<span class="x">{escape(group.end)}</span>{where}', escape(named[group.arm]), what

    more = f"<p>Only the {MOST_FAILURES} largest groups are shown.</p>" if len(groups) > MOST_FAILURES else ""
    return _table(("runs", "end", "arm", "why, calls at the crash (innermost first), one run again"), rows()) + more
