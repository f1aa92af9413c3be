# SPDX-License-Identifier: GPL-2.0-or-later
"""Charts of a report, drawn by matplotlib as SVG that stands in a page by itself."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from kdumpsim.lkdtt.effect import EffectClass
from kdumpsim.sweeps.comparing import Comparison
from kdumpsim.sweeps.extras import extra
from kdumpsim.sweeps.row import HOST_TIMEOUT, WORKER_DIED
from kdumpsim.sweeps.tally import CellKey, Tally

WIDTH = 9.0
"""Inches of 72 points."""
LABEL = 32
"""Characters of an arm's name on a line."""
_GREENS = ("#2e7d32", "#66a95b", "#a5cf9c")
_REDS = ("#b3261e", "#d9603b", "#e58f52", "#efb871", "#8e4585", "#b57bb0", "#6d4c41", "#a1887f")
_GREYS = {WORKER_DIED: "#616161", HOST_TIMEOUT: "#9e9e9e"}
_EFFECTS = {
    EffectClass.NOT_ACTIVATED: "#e0e0e0",
    EffectClass.CONVERGED: "#cfd8dc",
    EffectClass.LATENT: "#b0bec5",
    EffectClass.LOAD_ONLY: "#90a4ae",
    EffectClass.SURVIVED: "#78909c",
    EffectClass.CAPTURED: "#2e7d32",
    EffectClass.WRONG: "#efb871",
    EffectClass.FAILED: "#b3261e",
}
_STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none",
}  # fmt: skip


def _figure(height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    figure = extra("matplotlib.figure").Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _svg(figure: Any, name: str) -> str:
    """The figure as an element of HTML: no header, no metadata, names of its own."""
    out = io.StringIO()
    with extra("matplotlib").rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    head, end, rest = text.partition(">")
    return re.sub(r'\s(width|height)="[^"]*pt"', "", head) + end + rest


def outcome_bars(arms: Mapping[str, Tally]) -> str:
    """A bar an arm: shares of how runs ended."""
    ends = sorted({end for tally in arms.values() for end in tally.ends}, key=_good_first)
    return _bars("outcomes", {label: tally.ends for label, tally in arms.items()}, _colours(ends))


def effect_bars(arms: Mapping[str, Counter[str]]) -> str:
    """A bar an arm: shares of what came of the faults."""
    there = {effect for counted in arms.values() for effect in counted}
    colours = {effect.value: colour for effect, colour in _EFFECTS.items() if effect.value in there}
    return _bars("effects", arms, colours | _colours(sorted(there - colours.keys(), key=_good_first)))


def _bars(name: str, arms: Mapping[str, Counter[str]], colours: Mapping[str, str]) -> str:
    with extra("matplotlib").rc_context(_STYLE):
        figure, ((axes,),) = _figure(1.1 + 0.45 * len(arms))
        left = dict.fromkeys(arms, 0.0)
        for end, colour in colours.items():
            shares = [100 * counted[end] / counted.total() for counted in arms.values()]
            names = [fill(arm, LABEL) for arm in arms]
            axes.barh(names, shares, left=list(left.values()), color=colour, label=end, height=0.7)
            left = {arm: before + share for (arm, before), share in zip(left.items(), shares, strict=True)}
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of the runs")
        figure.legend(loc="outside upper left", ncols=5, frameon=False)
        return _svg(figure, name)


def _good_first(end: str) -> tuple[int, str]:
    return (0 if end.startswith("O") else 2 if end in _GREYS else 1), end


def _colours(ends: Sequence[str]) -> dict[str, str]:
    good = [end for end in ends if end.startswith("O")]
    bad = [end for end in ends if end not in good and end not in _GREYS]
    found = {end: _GREENS[number % len(_GREENS)] for number, end in enumerate(good)}
    found |= {end: _REDS[number % len(_REDS)] for number, end in enumerate(bad)}
    return found | {end: _GREYS[end] for end in ends if end in _GREYS}


def heat_map(tallies: Mapping[CellKey, Tally], arm: int, name: str) -> str:
    """Crash points by crash types: the rate of O, its interval, and the number of runs in each cell."""
    points = list(dict.fromkeys(point for _, point, _ in sorted(tallies)))
    types = list(dict.fromkeys(kind for _, _, kind in sorted(tallies, key=lambda key: key[2])))
    with extra("matplotlib").rc_context(_STYLE):
        figure, ((axes,),) = _figure(0.9 + 0.62 * len(points))
        rates = [[_rate(tallies.get((arm, point, kind))) for kind in types] for point in points]
        axes.pcolormesh(rates, cmap="RdYlGn", vmin=0, vmax=100, alpha=0.55, edgecolors="white", linewidth=2)
        for row, point in enumerate(points):
            for column, kind in enumerate(types):
                tally = tallies.get((arm, point, kind))
                if tally is not None and tally.rate is not None:
                    text = f"{100 * tally.rate:.0f} %\n{tally.interval} of {tally.n}"
                    axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=9, color="#111")
        axes.set_xticks([column + 0.5 for column in range(len(types))], types)
        axes.set_yticks([row + 0.5 for row in range(len(points))], points)
        axes.invert_yaxis()
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return _svg(figure, name)


def _rate(tally: Tally | None) -> float:
    return float("nan") if tally is None or tally.rate is None else 100 * tally.rate


def latencies(found: Mapping[str, Sequence[tuple[float, int]]], name: str, what: str) -> str:
    """Of each arm, which share of its runs took how many milliseconds at most; `what` took so long."""
    with extra("matplotlib").rc_context(_STYLE):
        figure, ((axes,),) = _figure(3.2)
        for label, counted in found.items():
            total, sums, so_far = sum(runs for _, runs in counted), [], 0
            for _, runs in counted:
                so_far += runs
                sums.append(100 * so_far / total)
            axes.step(
                [ms for ms, _ in counted],
                sums,
                where="post",
                label=f"{label} ({total})",
                marker="." if len(counted) < 3 else None,
            )
        axes.set_xscale("log")
        axes.set_ylim(0, 103)
        axes.set_xlabel(f"ms of the machine's time {what}")
        axes.set_ylabel("% within")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        return _svg(figure, name)


def differences(made: Sequence[Comparison]) -> str:
    """The difference of each two arms, with its interval."""
    with extra("matplotlib").rc_context(_STYLE):
        figure, ((axes,),) = _figure(0.9 + 0.45 * len(made))
        for row, found in enumerate(made):
            centre = 100 * (found.only_a - found.only_b) / max(found.pairs, 1)
            axes.plot([100 * found.difference.low, 100 * found.difference.high], [row, row], color="#555")
            axes.plot([centre], [row], "o", color="#1565c0")
        axes.axvline(0, color="#999", linewidth=0.8)
        axes.set_yticks(range(len(made)), [fill(f"{found.a} − {found.b}", LABEL) for found in made])
        axes.set_ylim(len(made) - 0.5, -0.5)
        axes.set_xlabel("difference of the rates of O, % (interval of 95 % by boots)")
        return _svg(figure, "differences")
