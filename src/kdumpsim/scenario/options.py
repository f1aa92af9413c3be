# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel options: what can be configured in a run's two kernels, and how each option reaches them.

An option is either a word on a kernel's command line or a compiled-in constant.  Only this table says which; profiles,
the command line and the help text are derived from it.  A kernel that is given no word uses the option's default, so
the default is never passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from kdumpsim.choices import unknown
from kdumpsim.scenario.values import ScenarioError

MAX_NUMBER = 1_000_000


class Kernel(Enum):
    """One of the two kernels of a run."""

    FIRST = "first"
    CAPTURE = "capture"


class OptionError(ScenarioError):
    """An unknown option or an invalid value; the message says what is allowed."""


BOTH = frozenset(Kernel)
FIRST = frozenset({Kernel.FIRST})
CAPTURE = frozenset({Kernel.CAPTURE})


@dataclass(frozen=True)
class Option:
    """One option.  `values` maps the value that users write to the one the kernel gets; empty means a positive number.

    `word` is the option's name on the command line of `kernels`; `constant` is its name for the compiler.
    """

    name: str
    help: str
    default: str
    values: Mapping[str, str]
    kernels: frozenset[Kernel] = BOTH
    word: str = ""
    flag: bool = False
    """The word has no value; it is present for `1`."""
    constant: str = ""

    @property
    def allowed(self) -> str:
        """The values as shown to users: `0|1`, or `N`."""
        return "|".join(self.values) if self.values else "N"

    def check(self, value: str) -> str:
        """Return the value in its canonical form; raise OptionError if it is not allowed."""
        if self.values:
            if value in self.values:
                return value
        elif value.isascii() and value.isdigit() and 1 <= int(value) <= MAX_NUMBER:
            return str(int(value))
        allowed = ", ".join(self.values) or f"1 to {MAX_NUMBER}"
        raise OptionError(f"kernel option {self.name} cannot be '{value}'; choose from: {allowed}")

    def given(self, value: str) -> str:
        """Return what the kernel gets for a value."""
        return self.values.get(value, value)


def _switch(*values: str) -> dict[str, str]:
    return {value: value for value in values}


OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(
            "stack",
            "size of kernel stacks (CONFIG_4KSTACKS)",
            "8k",
            {"4k": "4096", "8k": "8192"},
            constant="THREAD_SIZE",
        ),
        Option("preempt", "kernel code can be preempted (CONFIG_PREEMPT)", "1", _switch("0", "1"), constant="PREEMPT"),
        Option(
            "nmi_watchdog",
            "detect CPUs that take no timer interrupts, with NMIs from the timer through LINT0 (1) or from each "
            "processor's performance counter through its local APIC (2)",
            "0",
            _switch("0", "1", "2"),
            FIRST,
            "nmi_watchdog",
        ),
        Option(
            "softlockup",
            "what to do when a CPU's watchdog thread does not get to run: nothing, print a warning, or panic",
            "warn",
            _switch("off", "warn", "panic"),
            FIRST,
            "softlockup",
        ),
        Option(
            "watchdog_thresh",
            "seconds until the NMI watchdog reports a stuck CPU; the other two watchdogs wait twice as long",
            "5",
            {},
            FIRST,
            "watchdog_thresh",
        ),
        Option(
            "panic_on_oops",
            "an oops in process context ends the whole system (1), or only the task (0)",
            "0",
            _switch("0", "1"),
            BOTH,
            "panic_on_oops",
        ),
        Option("sysrq", "Alt-SysRq keys work", "1", _switch("0", "1"), BOTH, "sysrq"),
        Option(
            "reset_devices",
            "the capture kernel's drivers reset their devices before they use them",
            "0",
            _switch("0", "1"),
            CAPTURE,
            "reset_devices",
            flag=True,
        ),
        Option(
            "irqpoll",
            "the capture kernel calls all shared handlers when none claims an interrupt, and at every tick",
            "0",
            _switch("0", "1"),
            CAPTURE,
            "irqpoll",
            flag=True,
        ),
        Option(
            "disable_pci_intx",
            "the capture kernel first disables the interrupt pins of all PCI functions that support it (PCI 2.3)",
            "0",
            _switch("0", "1"),
            CAPTURE,
            "disable_pci_intx",
            flag=True,
        ),
        Option(
            "combined_mode",
            "the driver of the primary ATA channel: libata (its disk is sda) or the IDE driver (its disk is hda)",
            "libata",
            _switch("libata", "ide"),
            BOTH,
            "combined_mode",
        ),
        Option(
            "ide_dma",
            "the first kernel's IDE driver transfers data by bus-master DMA (1), or itself, word by word (0)",
            "1",
            {"0": "nodma", "1": "dma"},
            FIRST,
            "ide",
        ),
        Option(
            "rec_num",
            "crash type overflow: the depth of the recursion, with about 1 KiB of stack per level",
            "10",
            {},
            FIRST,
            "dtt.rec_num",
        ),
        Option(
            "hrtimers",
            "sleeps count in nanoseconds (1; kernel/hrtimer.c, from 2.6.16 on), or in jiffies as before (0)",
            "1",
            _switch("0", "1"),
            constant="HRTIMERS",
        ),
        Option(
            "die_enables_irqs",
            "die() turns interrupts on before it hands over, as up to 2.6.13",
            "0",
            _switch("0", "1"),
            constant="DIE_ENABLES_IRQS",
        ),
        Option(
            "safe_smp_processor_id",
            "a crashing kernel determines its CPU from the APIC ID (1), or from the end of its stack (0)",
            "0",
            _switch("0", "1"),
            constant="SAFE_SMP_PROCESSOR_ID",
        ),
        Option(
            "crash_nmi",
            "from the crash on, NMIs have a handler that trusts nothing on the stack",
            "0",
            _switch("0", "1"),
            constant="CRASH_NMI",
        ),
        Option(
            "crash_stacks",
            "each CPU has a stack for the dump path, and one for double faults, which lead to a dump",
            "0",
            _switch("0", "1"),
            constant="CRASH_STACKS",
        ),
        Option("nmi_stacks", "each CPU has a stack for NMIs", "0", _switch("0", "1"), constant="NMI_STACKS"),
        Option(
            "stack_guard", "the page below each stack is not mapped", "0", _switch("0", "1"), constant="STACK_GUARD"
        ),
        Option(
            "stack_check",
            "what to do when an interrupt finds a stack nearly full or its end destroyed: not check, print "
            "a warning, or panic",
            "off",
            {"off": "0", "warn": "1", "panic": "2"},
            constant="STACK_CHECK",
        ),
        Option(
            "fault_checks",
            "fault handlers check that `current` is valid, and the kernel hands over where an error is detected, "
            "before it is printed",
            "0",
            _switch("0", "1"),
            constant="FAULT_CHECKS",
        ),
        Option(
            "relocatable",
            "the capture kernel relocates itself to wherever its region is (LKDTT paper, section 7.2.1), instead of "
            "running where it is linked; `--crashkernel SIZE` needs this",
            "0",
            _switch("0", "1"),
            CAPTURE,
            constant="RELOCATABLE",
        ),
        Option(
            "kernel_dump",
            "when the capture kernel itself saves the dump, by polling and without a timer (LKDTT paper, section 7.3): "
            "never, if it panics, or always, without user space",
            "off",
            _switch("off", "fallback", "only"),
            CAPTURE,
            "kernel_dump",
        ),
        Option(
            "apic_restore",
            "what a crash does to the interrupt controllers: nothing, set legacy mode for the continuing CPU, like "
            "kdump, or restore the firmware's state (LKDTT paper, section 5.2.5)",
            "partial",
            {"none": "0", "partial": "1", "full": "2"},
            FIRST,
            constant="APIC_RESTORE",
        ),
        Option(
            "calibrate",
            "how a kernel measures its speed: with the PIT's count alone, or also with ticks of the i8259, like 2.6.16 "
            "before it sets up any APIC",
            "pit",
            _switch("pit", "ticks"),
            BOTH,
            "calibrate",
        ),
        Option(
            "relocate_cpu",
            "the boot CPU starts the capture kernel, whichever CPU has crashed, after an NMI from it (LKDTT paper, "
            "section 7.4)",
            "0",
            _switch("0", "1"),
            FIRST,
            constant="RELOCATE_CPU",
        ),
        Option(
            "mce",
            "machine checks are taken, reported and lead to a panic (CONFIG_X86_MCE); without it the CPU shuts down",
            "0",
            _switch("0", "1"),
            FIRST,
            constant="MCE",
        ),
        Option(
            "unrecovered_nmi",
            "what to do about an NMI for which nobody is to blame but the hardware (SERR#, IOCHK#, no reason at all): "
            "print a warning and continue, or panic, as panic_on_unrecovered_nmi of 2.6.18",
            "warn",
            {"warn": "0", "panic": "1"},
            FIRST,
            constant="PANIC_ON_UNRECOVERED_NMI",
        ),
        Option("maxcpus", "the number of CPUs that the capture kernel starts", "1", {}, CAPTURE, "maxcpus"),
        Option(
            "failover",
            "the crash path tells a peer on the network that it hands over, by one UDP datagram (LKDTT paper, "
            "section 9)",
            "0",
            {"0": "0", "1": "10.0.2.2"},
            FIRST,
            "failover",
        ),
        Option(
            "softlockup_clock",
            "how the soft-lockup watchdog measures time: in jiffies, or by each CPU's own timer interrupts, which "
            "continue even if jiffies stop",
            "jiffies",
            _switch("jiffies", "local"),
            FIRST,
            "softlockup_clock",
        ),
        Option(
            "hung_task",
            "what to do when a task sleeps uninterruptibly for twice watchdog_thresh: not check, print a "
            "warning, or panic",
            "off",
            _switch("off", "warn", "panic"),
            FIRST,
            "hung_task",
        ),
    )
}


NEEDS_SAFE_ID = ("crash_nmi", "crash_stacks", "nmi_stacks", "relocate_cpu")
"""These use safe_smp_processor_id() to find their CPU and its stack."""


def parse(texts: Iterable[str]) -> dict[str, str]:
    """Return options by name from `NAME=VALUE` texts; raise OptionError for invalid or contradictory ones."""
    chosen: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"kernel option '{text}' has no value: write NAME=VALUE")
        if name not in OPTIONS:
            raise OptionError(unknown("kernel option", name, OPTIONS))
        kept = OPTIONS[name].check(value)
        if chosen.setdefault(name, kept) != kept:
            raise OptionError(f"kernel option {name} cannot be '{chosen[name]}' and '{kept}' at once; give one value")
    return chosen


def checked(options: Mapping[str, str]) -> dict[str, str]:
    """Return `options` in the table's order, checked; raise OptionError for an invalid one."""
    chosen = parse(f"{name}={value}" for name, value in options.items())
    return {name: chosen[name] for name in OPTIONS if name in chosen}


def check_contradictions(asked: Mapping[str, str], options: Mapping[str, str]) -> None:
    """Raise OptionError if an option in `asked` has no effect in combination with all the `options` of a run."""
    if options["safe_smp_processor_id"] == "0" and (lost := [n for n in NEEDS_SAFE_ID if options[n] != "0"]):
        off = " ".join(f"{name}=0" for name in lost)
        raise OptionError(f"safe_smp_processor_id=1 is required for {', '.join(lost)}: add it, or {off}")
    watchdogs = options["nmi_watchdog"], options["softlockup"], options["hung_task"]
    if "watchdog_thresh" in asked and watchdogs == ("0", "off", "off"):
        raise OptionError(
            "watchdog_thresh has no effect without a watchdog: add nmi_watchdog=1|2, softlockup=warn|panic or "
            "hung_task=warn|panic"
        )
    if "softlockup_clock" in asked and options["softlockup"] == "off":
        raise OptionError("softlockup_clock has no effect without the watchdog: add softlockup=warn|panic")
    if "ide_dma" in asked and options["combined_mode"] != "ide":
        raise OptionError("ide_dma has no effect: the IDE driver does not drive the system disk; add combined_mode=ide")


def command_line(options: Mapping[str, str], kernel: Kernel) -> str:
    """Return the words that `options` put on the command line of one of the kernels, without defaults."""
    words = []
    for name, value in checked(options).items():
        option = OPTIONS[name]
        if option.word and kernel in option.kernels and value != option.default:
            words.append(option.word if option.flag else f"{option.word}={option.given(value)}")
    return " ".join(words)


def config(options: Mapping[str, str], kernel: Kernel) -> dict[str, int]:
    """Return the constants to compile one of the kernels with, without defaults, for `images.kernel`."""
    return {
        OPTIONS[name].constant: int(OPTIONS[name].given(value))
        for name, value in checked(options).items()
        if OPTIONS[name].constant and kernel in OPTIONS[name].kernels and value != OPTIONS[name].default
    }
