# SPDX-License-Identifier: GPL-2.0-or-later
"""What to say to a word that is none of those there are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, given: str, known: Iterable[str], *, others: Iterable[str] = ()) -> str:
    """A complaint about `given`: the name of `known` that was probably meant, and all there are.

    `others` are accepted, too, and suggested, but not listed: other names of the same things.
    """
    known = list(known)
    meant = suggestion(given, [*known, *others])
    return f"unknown {what} '{given}'{f'; did you mean {meant}?' if meant else ';'} choose from: {', '.join(known)}"


def suggestion(given: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, or None."""
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(given.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None
