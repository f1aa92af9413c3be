# SPDX-License-Identifier: GPL-2.0-or-later
"""Dataclasses that are written to JSON and read again: each field says once how it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

_KEY = "kdumpsim.records"


@dataclass(frozen=True)
class Form:
    """How a value stands in JSON: the way there and back."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


PLAIN = Form(lambda value: value, lambda stored: stored)
HEX = Form(hex, lambda stored: int(stored, 16))
"""An address."""
LIST = Form(list, list)
TUPLE = Form(list, tuple)


def optional(form: Form) -> Form:
    """As `form`, or null for None."""
    return Form(
        lambda value: None if value is None else form.write(value),
        lambda stored: None if stored is None else form.read(stored),
    )


def record(kind: type[Record]) -> Form:
    """One record within another."""
    return Form(lambda value: value.as_dict(), kind.from_dict)


def each(kind: type[Record]) -> Form:
    """A list of records."""
    return Form(
        lambda values: [value.as_dict() for value in values], lambda stored: [kind.from_dict(part) for part in stored]
    )


def stored(form: Form = PLAIN, *, name: str = "") -> dict[str, Any]:
    """Metadata of a dataclass field that is stored in this form, under `name` where that is not the field's."""
    return {_KEY: (name, form)}


NOT_STORED: dict[str, Any] = {_KEY: None}
"""Metadata of a field that follows from the others."""


def _stored_fields(kind: type[Any]) -> tuple[tuple[str, str, Form], ...]:
    """key and form of all that is stored; a field that says nothing is stored as it is."""
    found = []
    for one in fields(kind):
        said = one.metadata.get(_KEY, ("", PLAIN))
        if said is not None:
            found.append((one.name, said[0] or one.name, said[1]))
    return tuple(found)


class Record:
    """A dataclass whose fields are the keys of a JSON object."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {key: form.write(getattr(self, name)) for name, key, form in _stored_fields(type(self))}

    @classmethod
    def stored_values(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The stored fields' values by the fields' names; KeyError for one that `data` lacks."""
        return {name: form.read(data[key]) for name, key, form in _stored_fields(cls)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record of `as_dict`; keys that are none of its own are passed over.  KeyError for one that is missing."""
        return cls(**cls.stored_values(data))
