# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts of the console: what is a command, what is a comment, what is output, and what is wrong."""

from __future__ import annotations

import pytest

from kdumpsim.console.command import parse_time
from kdumpsim.console.script import ScriptError, read_script, split
from kdumpsim.console.shell import COMMANDS, ENGLISH, parse

TABLE_1 = """\
# modprobe dtb
# ./ttutils ls
id      crash type      crash point name      count  location
1       none             INT_HARDWARE_ENTRY    0      kern
3       none             FS_DEVRW              0      kern
4       panic           MEM_SWAPOUT           7      kern
5       none             TASKLET               0      kern
# ./ttutils add -p IDE_CORE_CP -n 50
# ./ttutils ls
id      crash type      crash point name      count  location
50      none             IDE_CORE_CP           0      dyn
# ./helper/memdrain
# ./ttutils set -p IDE_CORE_CP -t panic -c 10
"""


def commands(text: str) -> list[tuple[int, str]]:
    return [(line.number, line.text) for line in read_script(text, COMMANDS, parse, english=ENGLISH)]


def test_table_1_of_the_paper_is_a_script() -> None:
    assert commands(TABLE_1) == [
        (1, "modprobe dtb"),
        (2, "./ttutils ls"),
        (8, "./ttutils add -p IDE_CORE_CP -n 50"),
        (9, "./ttutils ls"),
        (12, "./helper/memdrain"),
        (13, "./ttutils set -p IDE_CORE_CP -t panic -c 10"),
    ]


def test_commands_without_prompts_and_comments() -> None:
    assert commands("# what it has\n\nttutils ls\n  #and now\ncontinue 10ms\n") == [
        (3, "ttutils ls"),
        (5, "continue 10ms"),
    ]


def test_a_comment_may_begin_with_a_word_that_is_a_command_if_it_is_not_valid_as_such() -> None:
    script = "# where the crash is\n# back to the prompt\nps\n# present at all times\n"
    assert commands(script) == [(3, "ps")]
    assert commands("# ps\nmem: 64 MB\ntrace of nothing much\n# back 5\nwhere it was\n") == [(1, "ps"), (4, "back 5")]
    with pytest.raises(ScriptError, match="'back' has no prompt before it"):
        commands("# ps\nback 5\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ps\nfrobnicate\n", "script:2: unknown command 'frobnicate'"),
        ("# ./ttutlis ls\n", "script:1: unknown command './ttutlis'"),
        ("ttutils set -p FS_DEVRW\n", "script:1: ttutils: set needs -t"),
        ("# ps\nps\n", "script:2: 'ps' has no prompt before it, though line 1 has one"),
        ("cat\n", "script:1: cat needs a FILE"),
        ("cat proc/ps\n", "script:1: 'proc/ps' is not an absolute path"),
        ("ps | head\n", r"script:1: '\|' is not supported"),
        ("echo a >> /b\n", "script:1: '>>' is not supported"),
        ("echo a > /b /c\n", "script:1: echo TEXT > FILE"),
        ("echo 'a\n", "script:1: No closing quotation"),
        ("step 10x\n", "script:1: '10x' is not a time"),
        ("step 0ms\n", "script:1: '0ms' is not a time"),
        ("sysrq F13\n", "script:1: sysrq needs one KEY"),
        ("kexec -p -e\n", "script:1: kexec: choose one of"),
        ("kexec -x\n", "script:1: kexec: unknown option '-x'"),
        ("modprobe ext3\n", "script:1: modprobe: this kernel cannot load modules"),
        ("ps aux\n", "script:1: ps takes no arguments"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError, match=complaint):
        commands(text)


def test_a_redirection_needs_no_blanks() -> None:
    assert split("echo c>/proc/sysrq-trigger") == ["echo", "c", ">", "/proc/sysrq-trigger"]


@pytest.mark.parametrize(
    ("text", "ns"), [("500us", 500_000), ("10ms", 10**7), ("1.5s", 15 * 10**8), ("2min", 12 * 10**10)]
)
def test_times(text: str, ns: int) -> None:
    assert parse_time(text) == ns
