# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: named sets of kernel options, the same for every crash point and crash type.

A profile names a value for every option.  docs/options.md gives the reason for each value of `2.6.16`, from the LKDTT
paper's section 4 (the test kernel's configuration and command line) and from the known behaviour of that kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kdumpsim.choices import unknown
from kdumpsim.scenario.options import OPTIONS, OptionError, check_contradictions, checked

DEFAULT_PROFILE = "default"


@dataclass(frozen=True)
class Profile:
    """A value for every kernel option, and the reason for each value."""

    name: str
    help: str
    choices: Mapping[str, tuple[str, str]]
    """Option: (value, reason)."""

    @property
    def options(self) -> dict[str, str]:
        """The values, in the table's order; an option that the profile does not set has its own default."""
        return {name: self.choices[name][0] if name in self.choices else OPTIONS[name].default for name in OPTIONS}

    def reason(self, name: str) -> str:
        """Why an option has its value here."""
        return self.choices[name][1] if name in self.choices else "the kernel's default"


CAREFUL: Mapping[str, tuple[str, str]] = {
    "stack": ("8k", "the i386 default of the time"),
    "preempt": ("1", "a preemptible kernel, as distributions ship for interactive use"),
    "nmi_watchdog": ("1", "hard lockups are detected"),
    "softlockup": ("panic", "a soft lockup starts the dump, as section 5.2.3 of the paper asks for"),
    "watchdog_thresh": ("5", "the kernel's default"),
    "panic_on_oops": ("1", "hand over as soon as an error is detected (sections 2.1 and 5.2.2)"),
    "sysrq": ("1", "a person at the keyboard can start the dump"),
    "reset_devices": ("1", "the capture kernel expects devices in any state (section 5.2.4)"),
    "combined_mode": ("libata", "a SATA disk is sda"),
    "ide_dma": ("1", "the drives and the controller support it"),
    "rec_num": ("10", "the default of modprobe dtt (section 3.2.2)"),
}

MEASURES: Mapping[str, tuple[str, str]] = {
    "safe_smp_processor_id": ("1", "the dump path trusts no stack (section 5.2.1); i386 has it from 2.6.19 on"),
    "crash_nmi": ("1", "an NMI handler for the crash that trusts no stack (section 5.2.1)"),
    "crash_stacks": ("1", "a stack for the dump path (section 5.2.1); a double fault is a detected error (2.1)"),
    "nmi_stacks": ("1", "the NMI watchdog needs stack space, too (section 5.2.1)"),
    "stack_guard": ("1", "an overflow is detected at the moment it occurs (section 5.2.1)"),
    "stack_check": ("panic", "CONFIG_DEBUG_STACKOVERFLOW (section 5.2.1), with a hand-over when it detects one (2.1)"),
    "fault_checks": ("1", "fault handlers do not rely on the stack; the hand-over is not deferred (section 5.2.2)"),
    "mce": ("1", "the hardware reports an error, and the kernel hands over (section 2.1.2)"),
    "unrecovered_nmi": ("panic", "the same for errors of memory and of the PCI bus (section 2.1.2)"),
    "softlockup_clock": ("local", "detects a hang with interrupts on that neither watchdog detected (section 5.2.3)"),
    "relocatable": ("1", "the reserved region may be anywhere (section 7.2.1)"),
    "kernel_dump": ("fallback", "without timer interrupts user space saves nothing (section 7.3)"),
    "hung_task": ("panic", "hangs that only show in tasks that wait (mark log of section 4); khungtaskd of 2.6.30"),
}
"""What the paper asks for and 2.6.16 does not have (sections 2.1.2, 5.2.1 to 5.2.3, 7.2.1 and 7.3)."""

TRADED: Mapping[str, tuple[str, str]] = {
    "relocate_cpu": ("0", "a boot CPU that hangs in an NMI handler would cost the dump (section 7.4)"),
}
"""What the paper proposes, and calls a trade-off; hardened is without it."""

TESTED: Mapping[str, tuple[str, str]] = {
    "stack": ("4k", "CONFIG_4KSTACKS is on (section 4)"),
    "preempt": ("1", "CONFIG_PREEMPT is on (section 4)"),
    "nmi_watchdog": ("1", "nmi_watchdog=1 on the command line (section 4)"),
    "softlockup": ("warn", "CONFIG_DETECT_SOFTLOCKUP only prints (sections 4 and 5.2.3)"),
    "watchdog_thresh": ("5", "5*HZ in its nmi.c, 10 seconds in its softlockup.c (section 5.2.3)"),
    "panic_on_oops": ("0", "kernel/panic.c starts with 0 and the command line cannot change it"),
    "sysrq": ("1", "sysrq_enabled starts with 1; the tests press the key (section 4)"),
    "reset_devices": ("0", "this kernel has no such parameter; drivers expect reset devices (5.2.4)"),
    "combined_mode": ("libata", "an ICH5 Serial ATA controller, root=/dev/sda1 (section 4)"),
    "ide_dma": ("1", "CONFIG_IDEDMA_PCI_AUTO is on in its default configuration"),
    "rec_num": ("10", "the default of modprobe dtt (section 3.2.2)"),
}
"""How the paper's section 4 configures and starts the kernels it tests."""

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(DEFAULT_PROFILE, "what a careful administrator would run", CAREFUL),
        Profile(
            "2.6.16",
            "the LKDTT paper's test kernel: Linux 2.6.16 as section 4 configures and starts it",
            TESTED,
        ),
        Profile(
            "2.6.13-rc7",
            "the other kernel that the LKDTT paper tested kdump on, configured and started like 2.6.16",
            {
                **TESTED,
                "softlockup": ("off", "the detector was added after 2.6.13: commit 8446f1d of September 2005"),
                "hrtimers": ("0", "kernel/hrtimer.c was added in 2.6.16"),
                "die_enables_irqs": (
                    "1",
                    "die() ends with spin_unlock_irq(): J. Beulich to LKML, 2005-09-08, fix i386 interrupt re-enabling "
                    "in die()",
                ),
            },
        ),
        Profile(
            "hardened",
            "like default, with every measure that the LKDTT paper asks for",
            {**CAREFUL, **MEASURES, **TRADED},
        ),
    )
}


def effective(profile: str, asked: Mapping[str, str]) -> dict[str, str]:
    """The value of every option: the profile's, changed by what was asked for.  OptionError for what cannot be."""
    if profile not in PROFILES:
        raise OptionError(unknown("profile", profile, PROFILES))
    asked = checked(asked)
    options = PROFILES[profile].options | asked
    check_contradictions(asked, options)
    return options


def changes(profile: str, asked: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What was asked for beyond the profile, in order: kernels that are alike have equal changes.

    OptionError for what cannot be.
    """
    return tuple(sorted(effective(profile, asked).items() - effective(profile, {}).items()))
