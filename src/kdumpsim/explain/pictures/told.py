# SPDX-License-Identifier: GPL-2.0-or-later
"""What facts tell, as HTML: each sentence with links to its facts, and to its place in the timeline."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from kdumpsim.explain.facts import Fact, Facts
from kdumpsim.explain.page import Listing, sections
from kdumpsim.explain.pictures.svg import clean
from kdumpsim.explain.sentences import Sentence, seconds
from kdumpsim.target import hex_address

COLUMNS = ("fact", "kind", "virtual time", "CPU", "instruction", "address")


def _text(words: str) -> str:
    return escape(clean(words))


def told(facts: Facts) -> tuple[str, str]:
    """The page's sections, and the facts that they refer to, for its end."""
    used: dict[int, Fact] = {}
    parts = []
    for section in sections(facts):
        parts += [f"<h2>{_text(section.title)}</h2>", *_items(facts, section.items, used)]
    return "\n".join(parts), _table(facts, used)


def _items(facts: Facts, items: list[Sentence | Listing], used: dict[int, Fact]) -> Iterator[str]:
    """Sentences as lists, with listings between them."""
    open_list = False
    for item in items:
        if isinstance(item, Listing):
            if open_list:
                yield "</ul>"
            open_list = False
            used[facts.mark(item.fact)] = item.fact
            lines = "\n".join(item.lines)
            yield f"<pre>{_text(lines)}</pre>"
            continue
        if not open_list:
            yield '<ul class="told">'
        open_list = True
        marks = [facts.mark(fact) for fact in item.facts]
        used |= dict(zip(marks, item.facts, strict=True))
        links = " ".join(f'<a href="#fact-{mark}">#{mark}</a>' for mark in marks)
        yield f"<li>{_text(item.text)} <small>{links} {_when(facts, item.facts[0])}</small></li>"
    if open_list:
        yield "</ul>"


def _when(facts: Facts, fact: Fact) -> str:
    """A link to a fact's place in the timeline, if there is one; without its script, to the timeline."""
    if not facts.replayed:
        return seconds(fact.at.ns)
    return f'<a href="#timeline" data-time="{fact.at.ns}">{seconds(fact.at.ns)}</a>'


def _table(facts: Facts, used: dict[int, Fact]) -> str:
    """The facts that were referred to."""
    how = (
        "<code>kdumpsim debug DIR --gdb</code>, then <code>kd-goto N</code>, goes to instruction N of this run."
        if facts.replayed
        else "The run was not repeated, so its instructions were not counted and there are no pictures."
    )
    rows = []
    for mark, fact in sorted(used.items()):
        at = fact.at
        cells = [f"#{mark}", _text(fact.kind), _when(facts, fact)]
        cells += ["" if at.cpu is None else str(at.cpu), "" if at.number is None else f"{at.number:,}"]
        cells.append("" if at.address is None else f"0x{hex_address(at.address)}")
        rows.append(f'<tr id="fact-{mark}"><td>{"</td><td>".join(cells)}</td></tr>')
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "\n".join(rows)
    return (f'<h2 id="facts">Facts</h2>\n<p>{len(rows)} of {len(facts.facts)} are referred to. {how}</p>\n'
            f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>')  # fmt: skip
