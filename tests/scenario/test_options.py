# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel options: what may be written and what the two kernels are told."""

from __future__ import annotations

import pytest

from kdumpsim.scenario.options import OPTIONS, Kernel, OptionError, command_line, config, parse


def test_a_kernel_is_told_only_what_it_would_not_do_by_itself() -> None:
    assert command_line({"nmi_watchdog": "0", "panic_on_oops": "1"}, Kernel.FIRST) == "panic_on_oops=1"
    assert config({"stack": "8k", "preempt": "1"}, Kernel.FIRST) == {}


def test_each_kernel_is_told_what_concerns_it() -> None:
    options = {"nmi_watchdog": "1", "reset_devices": "1", "sysrq": "0", "rec_num": "3"}
    assert command_line(options, Kernel.FIRST) == "nmi_watchdog=1 sysrq=0 dtt.rec_num=3"
    assert command_line(options, Kernel.CAPTURE) == "sysrq=0 reset_devices"


def test_build_time_choices_become_constants_for_the_compiler() -> None:
    chosen = {"stack": "4k", "preempt": "0", "sysrq": "0", "relocatable": "1"}
    assert config(chosen, Kernel.FIRST) == {"THREAD_SIZE": 4096, "PREEMPT": 0}
    assert config(chosen, Kernel.CAPTURE) == {"THREAD_SIZE": 4096, "PREEMPT": 0, "RELOCATABLE": 1}


def test_an_option_said_twice_must_say_the_same() -> None:
    assert parse(["stack=4k", "stack=4k", "rec_num=007", "rec_num=7"]) == {"stack": "4k", "rec_num": "7"}
    with pytest.raises(OptionError, match="stack cannot be '4k' and '8k' at once"):
        parse(["stack=4k", "stack=8k"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stack=16k", "stack cannot be '16k'; choose from: 4k, 8k"),
        ("stack", "no value: write NAME=VALUE"),
        ("hz=100", "unknown kernel option 'hz'; choose from: stack, preempt, nmi_watchdog"),
        ("rec_num=0", "rec_num cannot be '0'; choose from: 1 to 1000000"),
        ("rec_num=many", "rec_num cannot be 'many'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse([text])
    assert message in str(refused.value)


def test_every_option_takes_its_own_default_and_reaches_some_kernel() -> None:
    for option in OPTIONS.values():
        assert option.check(option.default) == option.default
        assert bool(option.word) != bool(option.constant)
        assert option.help
