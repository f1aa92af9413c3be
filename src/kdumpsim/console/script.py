# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts for the console: one command per line, or a recorded session with its prompts and output.

A line ``# COMMAND`` whose first word is a command of the console, or begins with ``./``, is a prompt with a command;
any other line that begins with "#" is a comment.  A text with prompts is a transcript: its lines without one are
recorded output, and are not run.

Some commands are common English words (`back`, `where`), with which comments begin, too: a line with one of them is a
command only if all of it is valid.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass

PROMPT = "# "
_FOREIGN = frozenset("|&;<")


class ScriptError(ValueError):
    """A line cannot be run; the message says which one and why."""


@dataclass(frozen=True)
class Line:
    """A command of a script: its line number, and its text without the prompt."""

    number: int
    text: str


def split(text: str) -> list[str]:
    """Return the words of a command, with ``>`` as a word of its own; raise ValueError for other shell syntax."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = list(lexer)
    for word in words:
        if word == ">>" or (word and set(word) <= _FOREIGN):
            raise ValueError(f"'{word}' is not supported: the only redirection is '> FILE'")
    return words


def program(word: str) -> str:
    """Return the command that a first word means: ``./ttutils`` and ``./helper/memdrain`` are programs of LKDTT."""
    return word.rpartition("/")[2] if word.startswith(("./", "/")) else word


def read_script(
    text: str,
    commands: Collection[str],
    check: Callable[[str], object],
    name: str = "script",
    english: Collection[str] = (),
) -> list[Line]:
    """Return the commands of a script.  `check` raises ValueError for a bad one; ScriptError then names its line.

    `english` are the commands that are such only in a valid line.
    """

    def is_command(text: str) -> bool:
        name = program(text.split()[0]) if text.strip() else ""
        if name not in english:
            return name in commands
        try:
            check(text)
        except ValueError:
            return False
        return True

    def is_prompt(line: str) -> bool:
        text = line.removeprefix(PROMPT)
        return text != line and (text.lstrip().startswith("./") or is_command(text))

    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    prompted = [Line(number, line[len(PROMPT) :].strip()) for number, line in lines if is_prompt(line)]
    found = prompted or [Line(number, line) for number, line in lines if not line.startswith("#")]
    if prompted:
        for number, said in lines:
            if is_command(said):
                raise ScriptError(
                    f"{name}:{number}: '{said.split()[0]}' has no prompt before it, though line {prompted[0].number} "
                    f"has one: if some commands begin with '# ', all must"
                )
    for line in found:
        try:
            check(line.text)
        except ValueError as error:
            raise ScriptError(f"{name}:{line.number}: {error}") from None
    return found
