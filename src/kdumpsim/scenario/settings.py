# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptions of the fields of a scenario.

A field of `scenario.parts` is described once, by the :func:`setting` in its metadata.  Its option, its words in the
printed command, its checks, its form in JSON and its row in the documentation are derived from that
(`scenario.options` does the same for the kernel's options).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from kdumpsim.choices import unknown
from kdumpsim.scenario.values import ScenarioError

_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """A field of a scenario, as users meet it."""

    help: str
    metavar: str = ""
    """The placeholder for the value in help texts; empty for a flag."""
    parse: Callable[[str], Any] = str
    """Return the value of a text; raise ScenarioError for an invalid one."""
    show: Callable[[Any], str] = str
    """The text of a value, which `parse` understands."""
    complain: Callable[[Any], str] | None = None
    """The text of a value in an error, if it differs from `show`."""
    option: str = ""
    """The name on the command line, without dashes, if it is not the field's own."""
    each: bool = False
    """The option may be given several times; the field is a tuple of the values."""
    bounds: tuple[int, int] | None = None
    """Smallest and largest value."""
    choices: Mapping[str, object] | None = None
    """Allowed words and, as text, their meanings."""

    word: str = ""
    """What one of the words is called in an error, if not by the field's name."""

    @property
    def flag(self) -> bool:
        """Whether the option has no value."""
        return not self.metavar


@dataclass(frozen=True)
class Named:
    """A setting with its field's name and default."""

    name: str
    setting: Setting
    default: Any
    """`dataclasses.MISSING` for a field that must be given."""

    @property
    def option(self) -> str:
        """The option: `--crash-cpu`."""
        return f"--{self.setting.option or self.name.replace('_', '-')}"

    @property
    def help(self) -> str:
        """The help with the words that are allowed."""
        choices = self.setting.choices
        if not choices:
            return self.setting.help
        return f"{self.setting.help}: {'; '.join(f'{name} ({text})' for name, text in choices.items())}."

    def words(self, value: Any) -> list[tuple[str, str]]:
        """The options that give the field this value, each with its text; the text of a flag is empty."""
        if self.setting.flag:
            return [(self.option, "")] if value else []
        if self.setting.each:
            return [(self.option, self.setting.show(item)) for item in value]
        return [(self.option, self.setting.show(value))]


def setting(help: str, **more: Any) -> dict[str, Setting]:
    """Metadata for a field; `more` as in `Setting`."""
    return {_KEY: Setting(help, **more)}


def integer(what: str) -> Callable[[str], int]:
    """A parser of whole numbers that names what was meant."""

    def parse(text: str) -> int:
        try:
            return int(text.strip(), 0)
        except ValueError:
            raise ScenarioError(f"{what} '{text}' is not a whole number") from None

    return parse


def settings_of(part: type) -> Iterator[Named]:
    """The settings of a part of a scenario (or of all of it): those that can be given by place, then the others."""
    for item in sorted(fields(part), key=lambda item: bool(item.kw_only)):
        if _KEY in item.metadata:
            yield Named(item.name, item.metadata[_KEY], item.default)


def check_values(part: type, whole: object) -> None:
    """ScenarioError if a field of this part has the wrong type, is out of bounds, or none of the words it takes."""
    for named in settings_of(part):
        value, chosen = getattr(whole, named.name), named.setting
        what = named.name.replace("_", " ")
        _check_type(what, value, named.default)
        if chosen.bounds is not None and value is not None:
            low, high = chosen.bounds
            if not low <= value <= high:
                shown = chosen.complain(value) if chosen.complain else chosen.show(value)
                raise ScenarioError(f"{what} {shown} is out of range: choose {chosen.show(low)} to {chosen.show(high)}")
        if chosen.choices is not None and value is not None:
            for word in value if isinstance(value, tuple) else (value,):
                check_word(chosen.word or what, word, chosen.choices)


def _check_type(what: str, value: Any, default: Any) -> None:
    """ScenarioError for a value of another type than the default's; a field without one takes text."""
    if default is None:
        fits = value is None or (isinstance(value, int | str) and not isinstance(value, bool))
    else:
        wanted = str if default is MISSING else type(default)
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    if not fits:
        example = "" if default in (None, MISSING) else f", as {default!r} is"
        raise ScenarioError(f"{what} is {value!r}: give a value of the right type{example}")


def check_word(what: str, given: str, allowed: Iterable[str], others: Iterable[str] = ()) -> None:
    """ScenarioError for a word that is none of those allowed; `others` are names that can be meant, too."""
    if given not in allowed:
        raise ScenarioError(unknown(what, given, allowed, others=others))


def to_plain(value: Any) -> Any:
    """A value as JSON has it: tuples become lists; what JSON does not have, the text that `parse` understands."""
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def from_plain(value: Any, chosen: Setting, default: Any) -> Any:
    """The way back from `to_plain`, for a field with this default."""
    if isinstance(value, list):
        return tuple(from_plain(item, chosen, None) for item in value)
    if isinstance(value, str) and not isinstance(default, str | tuple) and default is not None:
        return chosen.parse(value)
    return value
