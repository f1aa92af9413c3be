# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario says no before anything is built, and says what would be allowed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_harness import host_module
from kdumpsim.scenario.conditions import E820MAX, MIB
from kdumpsim.scenario.scenario import Scenario, check_kernel
from kdumpsim.scenario.values import Reservation, ScenarioError, format_size, parse_crashkernel, parse_holes, parse_size

HOLES = tuple((33 * MIB + i * MIB, 4096) for i in range(29))


@given(st.integers(0, 1 << 40))
def test_sizes_survive_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "M", "16 M", "-1M", "16MB", "1.5M", "0x"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="is not a size"):
        parse_size(text)


def test_crashkernel_is_size_at_start_as_in_2_6() -> None:
    assert parse_crashkernel("16M@32M") == Reservation(size=16 * MIB, base=32 * MIB)


@pytest.mark.parametrize(
    ("text", "size", "base"),
    [("16M", 16, None), ("32M-64M:8M,64M-:16M", 16, None), ("64M-:16M@32M", 16, 32 * MIB), ("0-32M:8M", 0, None)],
)
def test_crashkernel_without_a_start_or_with_ranges_as_in_2_6_24(text: str, size: int, base: int | None) -> None:
    region = parse_crashkernel(text)
    assert (region.size_with(64 * MIB), region.base) == (size * MIB, base)
    assert str(region) == text


@pytest.mark.parametrize("text", ["16M-", "16M-32M", "32M-16M:8M", "16M-32M:8M,4M", "-16M:4M"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"is not a range|is empty"):
        parse_crashkernel(text)


def test_a_disk_that_cannot_be_polled_is_refused_for_kernel_dump() -> None:
    options = (("kernel_dump", "fallback"),)
    with pytest.raises(ScenarioError, match=r"kernel_dump=fallback.* dump-disk sdb"):
        Scenario("FS_DEVRW", "panic", sata="native", dump_disk="sdb", kernel_options=options)
    Scenario("FS_DEVRW", "panic", sata="native", dump_disk="sdb", profile="hardened")


@pytest.mark.parametrize(
    ("text", "relocatable", "complaint"),
    [
        ("16M", "0", "add @START, such as 16M@16M, or --kernel-option relocatable=1"),
        ("128M-:16M", "1", "reserves nothing: 64M of RAM"),
        ("64M-:1M", "1", "too small"),
        ("64M-:16M@60M", "0", "outside the 64M of RAM"),
    ],
)
def test_what_crashkernel_cannot_be_used_is_refused(text: str, relocatable: str, complaint: str) -> None:
    options = (("relocatable", relocatable),)
    with pytest.raises(ScenarioError, match=complaint):
        Scenario("FS_DEVRW", "panic", crashkernel=parse_crashkernel(text), kernel_options=options)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"crash_point": "FS_DEVRX"}, "FS_DEVRW"),
        ({"crash_type": "meltdown"}, "panic, oops, exception"),
        ({"count": 0}, "count 0 is out of range"),
        ({"cpus": 9}, "1 to 8"),
        ({"memory": 4 * MIB}, "16M to 512M"),
        ({"crashkernel": Reservation(MIB, 16 * MIB)}, "too small"),
        ({"crashkernel": Reservation(16 * MIB, 60 * MIB)}, "outside the 64M of RAM"),
        ({"crashkernel": Reservation(16 * MIB, 512 * 1024)}, "below 1M"),
        ({"crashkernel": Reservation(16 * MIB, 16 * MIB + 12)}, "multiples of 4K"),
        ({"inject": "gremlins"}, "corrupt-capture-kernel"),
        ({"profile": "2.4"}, "choose from: default, 2.6.16"),
        ({"kernel_options": (("stack", "16k"),)}, "4k|8k"),
        ({"crash_cpu": 2}, "choose 0 to 1"),
        ({"cpus": 1, "other_cpus": "spinning"}, "choose --cpus 2 to 8"),
        ({"other_cpus": "asleep"}, "halted, spinning, nmi"),
        ({"dma": ("floppy",)}, "choose from: disk, net"),
        ({"dump_disk": "hdd"}, "choose from: hdc, hdb"),
        ({"machine": "bochs"}, "choose from: kdumpsim, qemu"),
        ({"dump_disk": "hdb"}, "combined_mode=ide"),
        ({"kernel_options": (("ide_dma", "0"),)}, "combined_mode=ide"),
        ({"patience": 0}, "patience 0 is out of range"),
        ({"memory_holes": ((40 * MIB, 100),)}, "multiples of 4K"),
        ({"memory_holes": ((17 * MIB, MIB),)}, "overlaps the reserved region"),
        ({"memory_holes": ((40 * MIB, MIB), (40 * MIB, 4096))}, "overlaps another one"),
        ({"memory_holes": ((63 * MIB, 2 * MIB),)}, "choose addresses from 1M to 64M"),
        ({"memory_holes": HOLES[:28]}, r"33 ranges, but the kernel keeps only 32 \(E820MAX\): choose at most 27 holes"),
        ({"memory_holes": HOLES[:29]}, r"34 ranges, but the kernel keeps only 32 \(E820MAX\): choose at most 27 holes"),
    ],
)
def test_bad_scenarios_are_refused_with_what_is_allowed(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        Scenario(**{"crash_point": "FS_DEVRW", "crash_type": "panic", **options})  # type: ignore[arg-type]


def test_as_many_holes_as_the_kernels_memory_map_has_room_for() -> None:
    Scenario("FS_DEVRW", "panic", memory_holes=HOLES[:27])
    to_the_end = ((63 * MIB, MIB),)
    assert len(Scenario("FS_DEVRW", "panic", memory_holes=(*HOLES[:27], *to_the_end)).memory_holes) == 28
    assert host_module("kdumpsim.kernel.arch.i386.e820").E820MAX == E820MAX


def test_oops_is_the_papers_name_for_bug() -> None:
    assert Scenario("FS_DEVRW", "bug").crash_type == "oops"


def test_the_names_lkdtm_gives_to_two_points_are_understood() -> None:
    assert Scenario("FS_SUBMIT_BH", "panic").crash_point == "FS_DEVRW"
    assert Scenario("SCSI_QUEUE_RQ", "panic").crash_point == "SCSI_DISPATCH_CMD"


def test_a_load_the_guest_does_not_have_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ScenarioError, match="unknown load 'diskoi'; did you mean diskio"):
        Scenario("FS_DEVRW", "panic", load=("diskoi",))
    with pytest.raises(ScenarioError, match=r"did you mean dmaread.* choose from: diskio, hello, .*dmaread"):
        Scenario("FS_DEVRW", "panic", load=("diskio", "dmared"))
    Scenario("FS_DEVRW", "panic", load=("dmaread",))


def test_a_reserved_region_over_the_first_kernel_is_refused() -> None:
    scenario = Scenario("FS_DEVRW", "panic", crashkernel=Reservation(16 * MIB, 2 * MIB))
    with pytest.raises(ScenarioError, match="start it at 3M or above"):
        check_kernel(scenario.pc, scenario.kernel, kernel_end=2 * MIB + 1)
    check_kernel(scenario.pc, scenario.kernel, kernel_end=2 * MIB)


def test_a_reserved_region_that_leaves_the_first_kernel_too_little_is_refused() -> None:
    tight = Scenario("FS_DEVRW", "panic", memory=16 * MIB, crashkernel=Reservation(14 * MIB, 2 * MIB))
    with pytest.raises(ScenarioError, match="leaves the first kernel 2048K of 16M: it needs at least 3584K"):
        check_kernel(tight.pc, tight.kernel, kernel_end=MIB + MIB * 3 // 8)
    fits = Scenario("FS_DEVRW", "panic", memory=16 * MIB, crashkernel=Reservation(12 * MIB, 4 * MIB))
    check_kernel(fits.pc, fits.kernel, MIB)


def test_the_printed_command_names_every_option_that_is_not_the_default() -> None:
    scenario = Scenario(
        "TIMERADD", "oops", cpus=4, seed=7, memory=128 * MIB, crashkernel=Reservation(8 * MIB, 32 * MIB)
    )
    assert shlex.split(scenario.command()) == shlex.split(
        "kdumpsim run --crashpoint TIMERADD --type oops --seed 7 --cpus 4 --memory 128M --crashkernel 8M@32M"
    )


def test_the_printed_command_names_profile_options_and_conditions_and_parses_to_the_same_scenario() -> None:
    scenario = Scenario(
        "FS_DEVRW",
        "bug",
        profile="2.6.16",
        kernel_options=(("panic_on_oops", "1"), ("stack", "8k")),
        load=("memdrain", "diskio"),
        patience=30,
        crash_cpu=1,
        other_cpus="spinning",
        memory_holes=((40 * MIB, MIB), (50 * MIB, 65536)),
        pending_irq=True,
        dma=("disk",),
    )
    assert shlex.split(scenario.command())[2:] == shlex.split(
        "--crashpoint FS_DEVRW --type oops --memory-holes 40M:1M,50M:64K --profile 2.6.16 "
        "--kernel-option stack=8k --kernel-option panic_on_oops=1 --crash-cpu 1 --other-cpus spinning "
        "--dma disk --pending-irq --load memdrain,diskio --patience 30"
    )
    assert parse_holes("50M:64K,40M:1M") == ((50 * MIB, 65536), (40 * MIB, MIB))
    assert scenario.to_dict()["kernel_options"]["panic_on_oops"] == "1"


def test_a_dump_disk_on_the_system_disks_cable_is_for_the_ide_driver_and_another_machine_to_boot() -> None:
    slave = Scenario("IDE_CORE_CP", "panic", kernel_options=(("ide_dma", "0"),), dump_disk="hdb")
    assert slave.command().endswith("--dump-disk hdb --kernel-option ide_dma=0")
    assert slave.boot_key() != Scenario("IDE_CORE_CP", "panic", kernel_options=(("ide_dma", "0"),)).boot_key()


def test_another_pc_is_named_by_the_command_and_boots_by_itself() -> None:
    scenario = Scenario("FS_DEVRW", "panic", machine="qemu", pending_irq=True)
    assert scenario.command() == "kdumpsim run --crashpoint FS_DEVRW --type panic --machine qemu --pending-irq"
    assert scenario.boot_key() != Scenario("FS_DEVRW", "panic").boot_key()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"seed": 1}, "no two runs are alike"),
        ({"memory_holes": ((40 * MIB, MIB),)}, "machine qemu does not support memory holes"),
        ({"dma": ("disk",)}, "machine qemu does not support dma disk"),
        ({"load": ("diskio", "netload")}, "machine qemu does not support the network card"),
        ({"memory": 64 * MIB + 4096}, "a multiple of 8K"),
        ({"crashkernel": Reservation(16 * MIB, 48 * MIB)}, "at 0x3fe0000 or below"),
    ],
)
def test_what_qemu_cannot_do_is_refused_for_qemu_alone(options: dict[str, Any], complaint: str) -> None:
    Scenario("FS_DEVRW", "panic", **options)
    with pytest.raises(ScenarioError, match=complaint):
        Scenario("FS_DEVRW", "panic", machine="qemu", **options)


def test_scenarios_that_differ_from_arming_on_boot_alike() -> None:
    first, second = Scenario("FS_DEVRW", "bug"), Scenario("TIMERADD", "panic", count=3, patience=9, load=())
    assert first.boot_key() == second.boot_key()
    assert first.boot_key() != Scenario("FS_DEVRW", "bug", profile="2.6.16").boot_key()


PC: tuple[dict[str, Any], ...] = (
    {},
    {"seed": 1},
    {"cpus": 3},
    {"memory": 48 * MIB},
    {"memory_holes": ((40 * MIB, MIB),)},
    {"crashkernel": Reservation(15 * MIB, 16 * MIB)},
    {"kernel_options": (("combined_mode", "ide"),)},
    {"kernel_options": (("combined_mode", "ide"),), "dump_disk": "hdb"},
    {"nic": True},
    {"dma": ("net",)},
    {"inject": "corrupt-capture-kernel"},
    {"profile": "2.6.16"},
    {"kernel_options": (("stack", "4k"),)},
    {"machine": "qemu"},
)
"""Each one another machine, or another kernel, from power-on."""


def test_scenarios_that_differ_before_arming_do_not_share_a_boot() -> None:
    keys = {Scenario("FS_DEVRW", "panic", **options).boot_key() for options in PC}
    assert len(keys) == len(PC)


def test_a_card_that_somebody_sends_to_is_not_one_that_hears_nothing() -> None:
    """The load netload brings a card along, and dma net a card and traffic from power-on."""
    quiet, busy = Scenario("FS_DEVRW", "panic", nic=True), Scenario("FS_DEVRW", "panic", nic=True, dma=("net",))
    loaded = Scenario("FS_DEVRW", "panic", load=("diskio", "netload"))
    assert quiet.boot_key() == loaded.boot_key()
    assert quiet.boot_key() != busy.boot_key()
    assert busy.boot_key() == Scenario("FS_DEVRW", "panic", dma=("disk", "net")).boot_key()


def test_a_point_of_one_disk_driver_brings_that_driver_and_refuses_the_other() -> None:
    assert Scenario("FS_DEVRW", "panic").options["combined_mode"] == "libata"
    assert Scenario("IDE_CORE_CP", "panic").options["combined_mode"] == "ide"
    with pytest.raises(ScenarioError, match="IDE_CORE_CP is never crossed with kernel option combined_mode=libata"):
        Scenario("IDE_CORE_CP", "panic", kernel_options=(("combined_mode", "libata"),))
    with pytest.raises(ScenarioError, match="SCSI_DISPATCH_CMD is never crossed with kernel option combined_mode=ide"):
        Scenario("SCSI_DISPATCH_CMD", "panic", kernel_options=(("combined_mode", "ide"),))


def test_the_usual_load_is_what_crosses_the_point() -> None:
    assert Scenario("FS_DEVRW", "panic").load == ("diskio",)
    swapping = Scenario("MEM_SWAPOUT", "panic")
    assert swapping.load == ("memdrain",)
    assert "--load" not in swapping.command()
    assert "--load diskio" in Scenario("MEM_SWAPOUT", "panic", load=("diskio",)).command()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1.5), ("count", None), ("cpus", "2"), ("memory", "64M"), ("seed", True), ("dma", "disk"), ("nic", 1),
        ("dump_disk", None), ("crashkernel", "16M@16M"), ("kernel_options", {"stack": "4k"}), ("crash_cpu", 0.5),
        ("guest_modules", "mine.py"), ("load", ["diskio"]), ("crash_type", None),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_named(name: str, value: object) -> None:
    with pytest.raises(ScenarioError, match=name.replace("_", " ")):
        Scenario(**{"crash_point": "FS_DEVRW", "crash_type": "panic", name: value})  # type: ignore[arg-type]
