# SPDX-License-Identifier: GPL-2.0-or-later
"""Going through a run: what is to be seen, and where steps and breakpoints lead, forwards and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpsim.debugger.orders import Trace
from kdumpsim.debugger.symbols import CAPTURE, FIRST, Spot
from kdumpsim.runs.run import run_scenario
from kdumpsim.runs.timeline import Span
from kdumpsim.tui import drawing
from kdumpsim.tui.backwards import line_before
from kdumpsim.tui.looking import CpuRow
from kdumpsim.tui.model import Model
from kdumpsim.tui.strip import strips

from .conftest import PANIC, Tour


def at(model: Model, cpu: int | None = None) -> CpuRow:
    """Where a CPU is, else the one whose instruction comes next."""
    picture = model.glance()
    return picture.cpus[picture.cpu if cpu is None else cpu]


def test_stops_and_steps_back_leave_the_dump_as_it_is(tour: Tour, tmp_path: Path) -> None:
    result = run_scenario(PANIC, tmp_path)
    assert result.vmcore is not None
    assert tour.ending == f"{result.outcome}; vmcore sha256 {result.vmcore.sha256}"


def test_the_milestones_are_those_of_a_panic(model: Model) -> None:
    names = [stop.name for stop in model.stops()]
    assert names == [
        "boot-done", "load-done", "arm-done", "crash", "panic", "crash_kexec", "jump", "capture", "capture-done",
        "save-done", "end",
    ]  # fmt: skip
    for name, function, owner in (
        ("panic", "panic", FIRST), ("crash_kexec", "crash_kexec", FIRST), ("capture", "start_kernel", CAPTURE),
    ):  # fmt: skip
        model.stop(name)
        assert (at(model).spot.function, at(model).spot.offset, at(model).spot.owner) == (function, 0, owner)
    model.stop("jump")
    while not at(model).spot.line:
        model.instruction(at(model).index)
    assert at(model).spot.owner == "purgatory"
    assert at(model).doing == "no paging"
    with pytest.raises(LookupError, match="does not come to die"):
        model.stop("die")


def test_a_cpu_shows_its_task_and_what_it_does(model: Model) -> None:
    row = at(model)
    assert row.task.startswith("diskio[")
    assert (row.doing, row.spot.function) == ("system call", "dtt_crossed")
    other = at(model, 1 - row.index)
    assert (other.doing, other.task) == ("halted", "swapper[0]")
    model.stop("jump")
    assert "halted for good" in at(model, other.index).doing


def test_lines_lead_into_functions_and_back_out(model: Model) -> None:
    cpu, crash = at(model).index, model.number
    places = [(at(model).spot.function, at(model).spot.line)]
    for _ in range(4):
        model.line(cpu, into=True)
        places.append((at(model, cpu).spot.function, at(model, cpu).spot.line))
    assert [name for name, _ in places] == ["dtt_crossed", "dtt_induce", "dtt_induce", "dtt_induce", "panic"]
    back = []
    for _ in range(4):
        model.line_back(cpu, into=True)
        back.append((at(model, cpu).spot.function, at(model, cpu).spot.line))
    assert back == places[-2::-1]
    assert model.number <= crash


def test_over_a_call_and_back_over_it(model: Model) -> None:
    """printk() is called from panic(): thousands of instructions, and interrupts among them."""
    model.stop("panic")
    cpu = at(model).index
    seen = []
    while "printk" not in (seen[-1] if seen else ""):
        model.line(cpu, into=False)
        seen.append(source_line(model, cpu))
    before, row = model.number, at(model, cpu)
    model.line(cpu, into=False)
    assert at(model, cpu).spot.function == "panic"
    assert model.number > before + 1000
    model.line_back(cpu, into=False)
    assert (model.number, at(model, cpu).spot) == (before, row.spot)
    model.undo()
    assert model.number > before + 1000


def source_line(model: Model, cpu: int) -> str:
    spot = at(model, cpu).spot
    assert spot.file is not None
    assert spot.line is not None
    return model.symbols.text(spot.file)[spot.line - 1]


def test_a_step_back_takes_back_a_step(model: Model) -> None:
    for cpu in (0, 1):
        numbers = [model.number]
        for _ in range(3):
            model.instruction(cpu)
            numbers.append(model.number)
        for number in numbers[-2:0:-1]:
            model.instruction_back(cpu)
            assert model.number == number


def test_a_breakpoint_is_met_forwards_and_back_in_both_kernels(model: Model) -> None:
    model.goto(next(stop.number for stop in model.stops() if stop.name == "capture") - 10_000)
    file, line = model.find("start_kernel")
    assert "Breakpoint" in model.toggle(file, line - 1), "the next line with code"
    model.run()
    assert (at(model).spot.owner, at(model).spot.function) == (CAPTURE, "start_kernel")
    assert "start_kernel" in model.glance().why
    model.run_back()
    assert (at(model).spot.owner, at(model).spot.function) == (FIRST, "start_kernel")
    model.run_back()
    assert (model.number, model.glance().why) == (1, "The beginning of the run")


def test_a_breakpoint_in_a_program_is_for_that_program(model: Model) -> None:
    """All are linked at the same address: where savecore has its read(), init has its main(), which runs before."""
    model.stop("capture")
    model.toggle(*model.find("read"))
    model.run()
    assert at(model).task.startswith("savecore[")
    assert at(model).spot.function == "read"
    assert "Cleared" in model.toggle(at(model).spot.file or "", at(model).spot.line or 0)


def test_memory_shows_the_reserved_region_and_who_runs_in_it(model: Model) -> None:
    model.stop("capture")
    picture = model.picture()
    names = {region.name for region in picture.regions}
    assert {"first kernel", "capture kernel", "purgatory", "ELF core headers", "boot parameters"} <= names
    reserved = next(region for region in picture.regions if region.name == "reserved region")
    assert (reserved.start, reserved.end) == (16 << 20, 32 << 20)
    line = next(line for line in drawing.memory(picture, 78, 12).plain.splitlines() if "capture kernel" in line)
    assert line.endswith(f"◀ CPU {picture.cpu}")


def test_the_timeline_has_the_whole_run_and_marks_now(model: Model) -> None:
    picture = model.picture()
    text = drawing.timeline(picture, 0, 80, 9).plain.splitlines()
    assert all(len(line) <= 80 for line in text)
    now = text[0].index("▼")
    assert abs((now - 9) / 71 - picture.ns / picture.end[1]) < 0.03
    assert text[1].startswith("CPU 0")
    assert "=" in text[2][9:now], "CPU 1 ran tasks before the crash"
    assert set(text[2][60:]) - {" "}, "and the capture kernel's after it"


def test_a_run_forward_can_be_interrupted(model: Model) -> None:
    model.goto(1)
    passed: list[int] = []

    def passing(number: int) -> None:
        passed.append(number)
        model.interrupt()

    model.tell(passing)
    try:
        model.run()
    finally:
        model.tell(lambda number: None)
    assert passed
    assert 1 < model.number < model.glance().end[0]
    assert model.glance().why == "Stopped"


def test_a_column_shows_what_took_most_of_its_time() -> None:
    spans = [
        Span("CPU 0", "tasks", "sh", 0, 600), Span("CPU 0", "tasks", "swapper", 600, 1000),
        Span("CPU 0", "halts", "halted", 650, 1000), Span("CPU 0", "events", "vector 0x80", 100, 200),
        Span("CPU 0", "events", "NMI", 150, 170), Span("machine", "DMA", "written", 420, 420),
    ]  # fmt: skip
    cpu, dma, _ = strips(spans, 1, 0, 1000, 10)
    assert cpu.cells == ("task", "nmi", "task", "task", "task", "task", "halt", "halt", "halt", "halt")
    assert [number for number, cell in enumerate(dma.cells) if cell] == [4]


def test_a_line_before_is_told_from_functions_that_came_back() -> None:
    """caller: line 1 at 0 to 8 calls callee (100 to 108, line 9), which is interrupted (entry, 200); then line 2."""

    def spot(address: int) -> Spot:
        if address >= 200:
            return Spot(address, "k", "stub", address - 200, "f", 20, (200, 210), entry=True)
        if address >= 100:
            return Spot(address, "k", "callee", address - 100, "f", 9, (100, 110))
        begin = address // 10 * 10
        return Spot(address, "k", "caller", address + 50, "f", 1 + begin // 10, (begin, begin + 10))

    walk = [(0, 64), (4, 60), (100, 56), (104, 52), (200, 40), (204, 40), (106, 52), (108, 56), (8, 60), (10, 64)]
    trail = [Trace(number, *step) for number, step in enumerate(walk, 1)]
    here = trail.pop()
    over = line_before(trail, here, spot, 8192, into=False)
    assert over == trail[0]
    inside = line_before(trail[:8], trail[8], spot, 8192, into=True)
    assert inside == trail[2], "the interrupt is passed over"
    jump = [*trail, Trace(10, 25, 64), Trace(11, 30, 64)]
    back = line_before(jump, Trace(12, 34, 64), spot, 8192, into=False)
    assert back == jump[-1]
    assert line_before(jump[:-1], jump[-1], spot, 8192, into=False) == trail[0], "25 is in the middle of a line"
    assert line_before(trail[3:], here, spot, 8192, into=False) is None, "the call is not in sight"
