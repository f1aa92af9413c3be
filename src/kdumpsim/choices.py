# SPDX-License-Identifier: GPL-2.0-or-later
"""The error message for a word that is not one of the choices."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, given: str, known: Iterable[str], *, others: Iterable[str] = ()) -> str:
    """Return an error message for `given`: the name in `known` that was probably meant, and all the choices.

    `others` are other names of the same things: they are accepted and suggested, but not listed.
    """
    known = list(known)
    meant = suggestion(given, [*known, *others])
    return f"unknown {what} '{given}'{f'; did you mean {meant}?' if meant else ';'} choose from: {', '.join(known)}"


def suggestion(given: str, known: Iterable[str]) -> str | None:
    """Return the name that was probably meant, or None."""
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(given.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None
