# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory at the milestones of a run, and what of it got into the dump."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kdumpsim.explain.pictures.dumpfile import file_panel, header_panel
from kdumpsim.explain.pictures.parts import Map, Part, size_text, span_text
from kdumpsim.explain.pictures.recorder import CRASH, END, JUMP, PREPARED, Moment, Record
from kdumpsim.explain.pictures.svg import Drawing, Svg, plural
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.target import FRAME_POINTER, PAGE_SIZE, PROGRAM_COUNTER, STACK_POINTER, hex_address
from kdumpsim.vmcore.owners import OwnerMap
from kdumpsim.vmcore.picture import Picture
from kdumpsim.vmcore.reader import VmcoreError, notes_in, statuses_of

WIDTH = 960
TOP, ROW, GAP = 112, 32, 4
BAR, BAR_WIDTH, STRIP = 100, 70, 48
"""The bar to scale: its left edge, and how far what has changed reaches from there at most."""
ROWS, ROWS_WIDTH = 236, 250
PANEL = 566
STEP = 3
"""px of the bar that make one line of the strip."""


class MemoryPicture:
    """The frame that all of them have: a bar to scale, the parts as rows, and a panel on the right."""

    def __init__(self, memory: Map, title: str, description: str, panel_rows: int, *, with_rows: bool = True) -> None:
        self.memory = memory
        self.rows = memory.outside()[::-1]
        height = TOP + (ROW + GAP) * max(len(self.rows), panel_rows) + 16
        self.bottom = height - 16
        self.svg = Svg(WIDTH, height, title, description)
        self.svg.text(20, 24, title, "h")
        self.svg.text(BAR, TOP - 12, "to scale", "s")
        self._bar()
        if with_rows:
            self.svg.text(ROWS, TOP - 12, "parts, not to scale; high addresses on top", "s")
            self._rows()

    def y_of(self, address: int) -> float:
        """Where the bar has an address."""
        return self.bottom - (self.bottom - TOP) * min(address, self.memory.end) / self.memory.end

    def row_y(self, part: Part) -> float:
        """The middle of a part's row."""
        return self._at(self.rows.index(part)) + ROW / 2

    def row_of(self, address: int) -> Part | None:
        """The part whose row has an address."""
        return next((part for part in self.rows if part.holds(address)), None)

    @staticmethod
    def _at(row: int) -> float:
        return TOP + row * (ROW + GAP)

    def _bar(self) -> None:
        for part in self.memory.parts:
            top, bottom = self.y_of(part.end), self.y_of(part.start)
            text = f"{part.name}: {span_text(part.start, part.end)}, {size_text(part.size)}"
            self.svg.rect(BAR, top, BAR_WIDTH, bottom - top, part.kind, text,
                          start=part.start, end=part.end, name=part.name, on="bar")  # fmt: skip
        step = 1 << max((self.memory.end // 8 - 1).bit_length(), 20)
        for address in range(0, self.memory.end + 1, step):
            y = self.y_of(address)
            self.svg.line(BAR - 4, y, BAR, y)
            self.svg.text(BAR - 52, y + 4, size_text(address) if address else "0", "s", "end")

    def _rows(self) -> None:
        svg = self.svg
        for number, part in enumerate(self.rows):
            y = self._at(number)
            middle = (self.y_of(part.start) + self.y_of(part.end)) / 2
            svg.path([(BAR + BAR_WIDTH, middle), (ROWS - 22, y + ROW / 2), (ROWS, y + ROW / 2)], "link")
            self.row(ROWS, y, ROWS_WIDTH, part, on="rows")

    def row(self, x: float, y: float, width: float, part: Part, *, on: str, marked: bool = False) -> None:
        """A part as a box with its name, addresses and size."""
        svg = self.svg
        svg.rect(x, y, width, ROW, part.kind, part.detail, start=part.start, end=part.end, name=part.name, on=on)
        if marked:
            svg.rect(x, y, width, ROW, "thick")
        name = f"{part.name}: {part.detail}" if part.detail and on == "region" else part.name
        svg.text(x + 8, y + 13, name, "b", room=width - 16)
        svg.text(x + 8, y + 27, span_text(part.start, part.end), "m")
        svg.text(x + width - 8, y + 27, size_text(part.size), "s", "end")

    def region(self, marked: Iterable[str] = ()) -> dict[str, float]:
        """The panel: the reserved region's parts.  By name (the last of each): the middle of its row."""
        parts, found = self.memory.inside()[::-1], {}
        if not parts:
            self.svg.text(PANEL, TOP + 14, "no memory is reserved", "s")
            return {}
        self.svg.text(PANEL, TOP - 12, "the reserved region's parts", "s")
        assert self.memory.reserved is not None
        y, last = self.row_y(self.memory.reserved), self._at(len(parts) - 1) + ROW
        for end in (TOP, last):
            self.svg.path([(ROWS + ROWS_WIDTH, y), (PANEL - 24, end), (PANEL, end)], "link")
        names = set(marked)
        for number, part in enumerate(parts):
            top = self._at(number)
            self.row(PANEL, top, WIDTH - PANEL - 20, part, on="region", marked=part.name in names)
            found[part.name] = top + ROW / 2
        return found

    def strip(self, earlier: Moment | None, now: Moment) -> str:
        """Beside the bar: which share of the pages has changed since an earlier moment.  What to say of it."""
        if earlier is None or earlier.instant.ram is None or now.instant.ram is None:
            return ""
        changed = list(earlier.instant.ram.changed_pages(now.instant.ram))
        lines = int((self.bottom - TOP) // STEP)
        each = self.memory.end / lines
        counts = [0] * lines
        for page in changed:
            if page < self.memory.end:
                counts[int(page / each)] += 1
        for line, count in enumerate(counts):
            if count:
                length = max(STRIP * min(count * PAGE_SIZE / each, 1.0), 2)
                tip = f"{plural(count, 'page')} from {int(line * each):#x} on"
                self.svg.rect(BAR - 2 - length, self.bottom - (line + 1) * STEP, length, STEP - 1, "new", tip,
                              pages=count, on="strip")  # fmt: skip
        text = f"{plural(len(changed), 'page')} changed since: {earlier.title}"
        self.svg.text(20, 61, text, "hot")
        return text

    def time(self, moment: Moment) -> None:
        """Below the title: when, and on which CPU."""
        instant = moment.instant
        when = f"at {instant.time_ns / NS:.6f} s of virtual time, CPU {instant.cpu}"
        self.svg.text(20, 42, f"{when}: {moment.title}", "s")


def figures(record: Record) -> list[Drawing]:
    """The series, as far as the run came."""
    memory = Map(record)
    found = [_loaded(memory, record), _crashed(memory, record), _prepared_headers(memory, record),
             _saved_low_memory(memory, record)]  # fmt: skip
    found += [_station(memory, record, station.name) for station in record.stations[1:]]
    found.append(_saved(memory, record))
    return [drawing for drawing in found if drawing is not None]


def _reference(record: Record, number: int) -> str:
    """Which figure of the paper it is."""
    paper = record.session.mechanism.paper
    return f" ({paper}, figure {number})" if paper else ""


def _loaded(memory: Map, record: Record) -> Drawing | None:
    moment = record.moments.get(PREPARED)
    if moment is None:
        return None
    title = f"Physical memory, ready for a crash{_reference(record, 1)}"
    picture = MemoryPicture(memory, title, "RAM with both kernels' places", len(memory.inside()))
    picture.time(moment)
    picture.region({area.name for area in record.areas})
    ram = sum(end - start for start, end in memory.ram_ranges)
    caption = (f"RAM of {size_text(ram)}, as the kernel's own tree of resources has it; the parts of the reserved "
               "region are the segments that the kernel keeps for the crash; a thick frame: loaded.")  # fmt: skip
    return Drawing("memory-1-loaded", title, caption, str(picture.svg))


def _crashed(memory: Map, record: Record) -> Drawing | None:
    moment = record.moment(JUMP) or record.moments.get(CRASH)
    oracle = record.oracle
    if moment is None or not oracle.notes:
        return None
    handed = moment.name == JUMP
    title = ("CPU register states at the hand-over" if handed else "CPU register states: there was no hand-over"
             ) + _reference(record, 2)  # fmt: skip
    picture = MemoryPicture(memory, title, "Notes of each CPU's registers", 2 * len(oracle.notes))
    picture.time(moment)
    strip = picture.strip(record.moments.get(CRASH) if handed else record.moments.get(PREPARED), moment)
    svg, names = picture.svg, OwnerMap(oracle.symbols)
    svg.text(PANEL, TOP - 12, "CPUs, and the notes that each has saved", "s")
    for cpu, area in enumerate(oracle.notes):
        y = TOP + cpu * 2 * (ROW + GAP)
        height = 2 * ROW
        saved = _note(moment.instant.ram, area.start, area.end)
        kind = "save" if saved else "hole"
        name, width = f"CPU {cpu}", WIDTH - PANEL - 20
        svg.rect(PANEL, y, width, height, kind, start=area.start, end=area.end, name=name, on="notes")
        role = oracle.role(cpu) if handed else "no hand-over"
        svg.text(PANEL + 8, y + 15, f"CPU {cpu}: {role}", "b", room=WIDTH - PANEL - 36)
        svg.text(PANEL + 8, y + 31, f"crash notes at {area.start:#x}, {size_text(area.end - area.start)}", "m")
        if saved:
            pid, registers = saved
            symbol, offset = names.symbol(registers[PROGRAM_COUNTER])
            where = f"{symbol}+{offset:#x}" if symbol else "not in the kernel"
            text = f"NT_PRSTATUS: pid {pid}, {_register(registers, PROGRAM_COUNTER)} {where}"
            svg.text(PANEL + 8, y + 46, text, "m", room=WIDTH - PANEL - 36)
            stack = (_register(registers, name) for name in (STACK_POINTER, FRAME_POINTER))
            svg.text(PANEL + 8, y + 60, ", ".join(stack), "m")
        else:
            svg.text(PANEL + 8, y + 46, "holds no note", "s")
        row = picture.row_of(area.start)
        if row is not None:
            line = [(PANEL, y + height / 2), (PANEL - 20, y + height / 2), (ROWS + ROWS_WIDTH + 4, picture.row_y(row))]
            if saved:
                svg.arrow(line)
            else:
                svg.path(line, "link")
    caption = ("Each CPU's registers are saved as ELF notes in the crashed kernel's own memory; what is shown was read "
               "from there at this moment. " + strip)  # fmt: skip
    return Drawing("memory-2-crashed", title, caption.strip(), str(svg))


def _register(registers: Mapping[str, int], name: str) -> str:
    return f"{name.upper()} {hex_address(registers[name])}"


def _note(ram: Picture | None, start: int, end: int) -> tuple[int, dict[str, int]] | None:
    """PID and registers of the first NT_PRSTATUS at an address; None without one."""
    if ram is None:
        return None
    try:
        status = next(iter(statuses_of(notes_in(ram.read(start, end)))), None)
    except VmcoreError:  # it was overwritten
        return None
    return (status.pid, status.registers) if status is not None else None


def _prepared_headers(memory: Map, record: Record) -> Drawing | None:
    moment = record.moments.get(PREPARED)
    if moment is None or not record.headers:
        return None
    title = f"ELF core headers in the reserved region{_reference(record, 3)}"
    picture = MemoryPicture(memory, title, "Program headers and what they point to", len(record.headers) + 2)
    picture.time(moment)
    header_panel(picture.svg, record.headers, picture.rows, picture.row_y,
                 left=ROWS + ROWS_WIDTH, x=PANEL, y=TOP, width=WIDTH - PANEL - 20)  # fmt: skip
    caption = ("Prepared while the kernel was well, and read from the reserved region. An offset is a physical "
               "address: where the capture kernel will find what belongs to p_paddr.")  # fmt: skip
    return Drawing("memory-3-headers", title, caption, str(picture.svg))


def _saved_low_memory(memory: Map, record: Record) -> Drawing | None:
    if not record.stations or (moment := record.moments.get(record.stations[0].name)) is None:
        return None
    moved = [header for header in record.headers if header.moved]
    title = f"Low memory is saved to the backup region{_reference(record, 4)}"
    picture = MemoryPicture(memory, title, "What was copied, and where to", len(memory.inside()))
    picture.time(moment)
    strip = picture.strip(record.moments.get(JUMP), moment)
    svg, said = picture.svg, []
    places = picture.region({part.name for part in memory.inside() if any(h.offset == part.start for h in moved)})
    for header in moved:
        target = next((part for part in memory.inside() if part.holds(header.offset)), None)
        source = picture.row_of(header.paddr)
        if target is None or source is None:
            continue
        right = ROWS + ROWS_WIDTH
        svg.arrow([(right, picture.row_y(source)), (right + 30, picture.row_y(source)),
                   (right + 30, places[target.name]), (PANEL, places[target.name])])  # fmt: skip
        said.append(_compared(moment.instant.ram, header.paddr, header.offset, header.size))
    for number, text in enumerate(said):
        svg.text(20, 78 + 14 * number, text, "s")
    caption = "; ".join(filter(None, [*said, strip]))
    return Drawing("memory-4-backup", title, caption, str(svg))


def _compared(ram: Picture | None, start: int, copy: int, size: int) -> str:
    """Whether a copy equals its original at a moment."""
    text = f"p_paddr {start:#x}, p_offset {copy:#x}, {size:,} bytes"
    if ram is None:
        return text
    differ = sum(ram.page(start + at) != ram.page(copy + at) for at in range(0, size, PAGE_SIZE))
    return f"{text}: " + (f"{plural(differ, 'page')} of the copy differ" if differ else "the copy equals the original")


def _station(memory: Map, record: Record, name: str) -> Drawing | None:
    moment = record.moments.get(name)
    if moment is None:
        return None
    before = [other for other in record.order if other.instant.time_ns < moment.instant.time_ns][-1:]
    title = f"Physical memory: {moment.title}"
    picture = MemoryPicture(memory, title, "What has changed", len(memory.inside()))
    picture.time(moment)
    strip = picture.strip(before[0] if before else None, moment)
    picture.region()
    return Drawing(f"memory-5-{name.replace(' ', '-')}", title, strip, str(picture.svg))


def _saved(memory: Map, record: Record) -> Drawing | None:
    core = record.dump
    if core is None:
        return None
    title = f"The dump, and the memory that it holds{_reference(record, 5)}"
    picture = MemoryPicture(memory, title, "The file's parts mapped onto RAM", len(core.headers) + 1, with_rows=False)
    end = record.moments[END]
    picture.time(end)
    file_panel(picture.svg, core, picture.y_of, bar=BAR + BAR_WIDTH, x=PANEL, top=TOP,
               bottom=picture.bottom, width=WIDTH - PANEL - 20)  # fmt: skip
    held, ram = sum(h.size for h in core.headers if h.kind == "PT_LOAD"), _dumped_ram(memory)
    caption = (f"{size_text(core.size)}; its PT_LOADs hold {held:,} bytes of memory; RAM outside the reserved region "
               f"is {ram:,} bytes.")  # fmt: skip
    return Drawing("memory-6-dump", title, caption, str(picture.svg))


def _dumped_ram(memory: Map) -> int:
    region = memory.reserved
    total = sum(end - start for start, end in memory.ram_ranges)
    return total - (region.size if region is not None else 0)
