# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim lesson`: labs, their questions, and whether the answers are right in this build."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdumpsim.choices import unknown
from kdumpsim.commands.help import documents, show
from kdumpsim.commands.inputs import TEXT_BYTES, read_input
from kdumpsim.commands.status import Status, status_help
from kdumpsim.files import atomic_file
from kdumpsim.lessons.pages import Lesson, lessons, read_answers

if TYPE_CHECKING:
    from kdumpsim.lessons.answers import Answer

SHEET, CHECK, FILES = "sheet", "check", "files"
HELP = f"""Show a lesson, its question sheet, or check the answers to it.

Without arguments, list the lessons. NUMBER shows one. `sheet NUMBER` prints its questions with room for answers.
`check NUMBER` asks for the answers, or reads them from FILE (- is standard input), and says which are right.
`files NUMBER` writes the files that the lesson gives into this folder.
The right answers are computed by running the lesson's crashes in this build, which takes up to half a minute.

\b
Examples:
  kdumpsim lesson
  kdumpsim lesson 3 | less
  kdumpsim lesson sheet 3 > answers.txt
  kdumpsim lesson check 3 answers.txt
  kdumpsim lesson check 3 --answers         # for teachers
  kdumpsim lesson files 4                   # writes its driver

{status_help(Status.WRONG_ANSWER)}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("words", metavar="[[sheet|check|files] N [FILE]]", nargs=-1)
@click.option("--answers", "reveal", is_flag=True, help="With check: print the right answers of this build.")
def lesson(words: tuple[str, ...], reveal: bool) -> None:
    """The command."""
    found = lessons(documents())
    action = words[0] if words[:1] in ((SHEET,), (CHECK,), (FILES,)) else ""
    rest = words[1:] if action else words
    if reveal and action != CHECK:
        raise click.UsageError("--answers is for `kdumpsim lesson check NUMBER`")
    if not words:
        for each in found.values():
            click.echo(each.title)
        click.echo("To read one: kdumpsim lesson 1; its questions: kdumpsim lesson sheet 1")
        return
    if not rest or len(rest) > 1 + (action == CHECK and not reveal):
        raise click.UsageError("give the number of one lesson" if not rest else f"'{rest[-1]}' is too much")
    if rest[0] not in (numbers := [str(number) for number in found]):
        raise click.UsageError(unknown("lesson", rest[0], numbers))
    chosen = found[int(rest[0])]
    if action == SHEET:
        click.echo(chosen.sheet(), nl=False)
    elif action == CHECK:
        sys.exit(_check(chosen, rest[1] if len(rest) > 1 else None, reveal=reveal))
    elif action == FILES:
        _write(chosen)
    else:
        show(chosen.text)


def _write(chosen: Lesson) -> None:
    """The files of a lesson, into this folder; none is overwritten."""
    files = chosen.files()
    if not files:
        click.echo(f"Lesson {chosen.number} gives no files.")
    for name in files:
        if Path(name).exists():
            raise click.UsageError(f"{name} is there already: move it away, or go to another folder")
    for name, text in files.items():
        with atomic_file(Path(name)) as file:
            file.write(text.encode())
        click.echo(f"{name}: written")


def _check(chosen: Lesson, file: str | None, *, reveal: bool) -> int:
    from kdumpsim.lessons import runs  # and the machine, to run it

    given = {} if reveal else _given(chosen, file)
    click.echo("Running the lesson's crashes …", err=True)
    try:
        right = runs.COMPUTED[chosen.number](chosen)
    except runs.CannotTell as error:
        click.echo(f"kdumpsim: this build does not do what the lesson says: {error}", err=True)
        return Status.WRONG_ANSWER
    if reveal:
        for number, answer in right.items():
            click.echo(f"{number}: {answer}")
        return Status.SUCCESS
    return _marked(chosen, right, given)


def _given(chosen: Lesson, file: str | None) -> Mapping[int, str]:
    """The answers, from a file or by asking."""
    questions = chosen.questions()
    if file is None and sys.stdin.isatty():
        return {
            number: click.prompt(f"{number}. {text}\n  ", default="", show_default=False, prompt_suffix="")
            for number, text in questions.items()
        }
    name = file or "-"
    try:
        text = (sys.stdin.buffer.read(TEXT_BYTES) if name == "-" else read_input(name, TEXT_BYTES)).decode()
        answers = read_answers(text)
    except OSError as error:
        raise click.UsageError(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from error
    if strange := answers.keys() - questions.keys():
        raise click.UsageError(f"{name}: lesson {chosen.number} has no question {min(strange)}")
    return answers


def _marked(chosen: Lesson, right: Mapping[int, Answer], given: Mapping[int, str]) -> int:
    correct = 0
    for number, text in chosen.questions().items():
        answer = given.get(number, "")
        accepted = bool(answer) and right[number].accepts(answer)
        correct += accepted
        mark = "right" if accepted else "wrong" if answer else "not answered"
        click.echo(f"{number}. {mark}{f': {answer}' if answer else ''}")
        if not accepted:
            click.echo(f"   {text}")
    click.echo(f"{correct} of {len(right)} right")
    return Status.SUCCESS if correct == len(right) else Status.WRONG_ANSWER
