# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the board an engine reaches: RAM, devices' registers, holes, and the instructions that the board answers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final, Protocol

from unicorn import x86_const
from unicorn.unicorn_const import (
    UC_HOOK_INSN,
    UC_HOOK_MEM_FETCH_PROT,
    UC_HOOK_MEM_WRITE_PROT,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
)

from . import native
from .bus import CpuBus, RamBlock, SharedWords, Shortcuts
from .cpuid import cpuid
from .native import lib

_ADDRESS_SPACE: Final = 1 << 32

_void, _u64, _u32, _int = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int
_IN = ctypes.CFUNCTYPE(_u32, _void, _u32, _int, _void)
_OUT = ctypes.CFUNCTYPE(None, _void, _u32, _int, _u32, _void)
_MMIO_READ = ctypes.CFUNCTYPE(_u64, _void, _u64, _u32, _void)
_MMIO_WRITE = ctypes.CFUNCTYPE(None, _void, _u64, _u32, _u64, _void)
_INSN = ctypes.CFUNCTYPE(_u32, _void, _void)

ONES: Final = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFF_FFFFFFFF}


def holes(taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(base, size) of what the sorted regions leave of 4 GiB."""
    result, at = [], 0
    for base, size in [*sorted(taken), (_ADDRESS_SPACE, 0)]:
        if base < at:
            raise ValueError(f"regions overlap at {base:#x}")
        if base > at:
            result.append((at, base - at))
        at = base + size
    return result


class Wired(Protocol):
    """What is wired: an engine, as far as it is known here."""

    index: int
    uc: ctypes.c_void_p
    slice: native.Slice

    def fail(self, error: BaseException) -> None:
        """A device's own failure."""

    def deny(self, port: int, size: int) -> bool:
        """Is ring 3 kept from a port?  Then that is a fault."""

    def serialise(self) -> None:
        """See what other CPUs have written."""


class Wiring:
    """The memory map and the hooked instructions of one engine; between them the hooks that every engine has."""

    def __init__(self, engine: Wired, bus: CpuBus, shortcuts: Shortcuts) -> None:
        self._engine, self._bus, self._shortcuts = engine, bus, shortcuts
        self._keep: list[object] = []
        self._map()
        native.hooks().attach(engine.uc, engine.slice)
        self._hook_instructions()

    # Memory.

    def _map(self) -> None:
        bus = self._bus
        ram: list[RamBlock] = sorted(bus.ram, key=lambda block: block.base)
        taken = [(block.base, block.size) for block in ram] + [(region.base, region.size) for region in bus.mmio]
        for block in ram:
            native.check(lib.uc_mem_map_ptr(self._engine.uc, block.base, block.size, UC_PROT_ALL, block.host_address))
            if not block.writable:
                # Only uc_mem_protect makes the engine drop stores, and only with a hook that says "go on".
                native.check(lib.uc_mem_protect(self._engine.uc, block.base, block.size, UC_PROT_READ | UC_PROT_EXEC))
                native.hooks().go_on(self._engine.uc, UC_HOOK_MEM_WRITE_PROT, block.base, block.size)
        for region in bus.mmio:
            self._map_io(
                region.base, region.size, bus.mmio_read, bus.mmio_write, self._shortcuts.steady.get(region.base)
            )
        for base, size in holes(taken):
            self._map_hole(base, size)

    def _map_hole(self, base: int, size: int) -> None:
        """Nobody answers there."""
        hooks = native.hooks()
        if hooks.compiled:
            reader_at, writer_at = hooks.addresses["ones"], hooks.addresses["nothing"]
        else:
            reader, reader_at = native.callback(_MMIO_READ, lambda _uc, _offset, width, _data: ONES[width])
            writer, writer_at = native.callback(_MMIO_WRITE, lambda _uc, _offset, _width, _value, _data: None)
            self._keep += [reader, writer]
        native.check(lib.uc_mmio_map(self._engine.uc, base, size, reader_at, None, writer_at, None))
        hooks.go_on(self._engine.uc, UC_HOOK_MEM_FETCH_PROT, base, size)

    def _map_io(
        self,
        base: int,
        size: int,
        read: Callable[[int, int, int], int],
        write: Callable[[int, int, int, int], None],
        steady: SharedWords | None,
    ) -> None:
        index = self._engine.index

        def on_read(_uc: int, offset: int, width: int, _data: int) -> int:
            try:
                return read(index, base + offset, width)
            except BaseException as error:
                self._engine.fail(error)
                return ONES[width]

        def on_write(_uc: int, offset: int, width: int, value: int, _data: int) -> None:
            try:
                write(index, base + offset, width, value)
            except BaseException as error:
                self._engine.fail(error)

        reader, reader_at = native.callback(_MMIO_READ, on_read)
        writer, writer_at = native.callback(_MMIO_WRITE, on_write)
        self._keep += [reader, writer]
        page = None
        if steady is not None and native.hooks().compiled:
            cells = (ctypes.c_void_p * 2)(self._shared_words(steady), reader_at)
            self._keep.append(cells)
            reader_at, page = native.hooks().addresses["steady"], ctypes.c_void_p(ctypes.addressof(cells))
        native.check(lib.uc_mmio_map(self._engine.uc, base, size, reader_at, page, writer_at, None))
        native.hooks().go_on(self._engine.uc, UC_HOOK_MEM_FETCH_PROT, base, size)  # code is read like data

    # Instructions the board answers.

    def _hook_instructions(self) -> None:
        bus, shortcuts, engine = self._bus, self._shortcuts, self._engine
        index, port_in, port_out, ring_3 = self._engine.index, bus.port_in, bus.port_out, native.RING_3

        def on_in(_uc: int, port: int, size: int, _data: int) -> int:
            try:
                if size & ring_3:
                    size &= ~ring_3
                    if engine.deny(port, size):
                        return ONES[size]
                return port_in(index, port, size)
            except BaseException as error:
                self._engine.fail(error)
                return ONES[size]

        def on_out(_uc: int, port: int, size: int, value: int, _data: int) -> None:
            try:
                if size & ring_3:
                    size &= ~ring_3
                    if engine.deny(port, size):
                        return
                port_out(index, port, size, value)
            except BaseException as error:
                self._engine.fail(error)

        uc, hooks = self._engine.uc, native.hooks()
        # First, since for each of these instructions the engine goes through all hooks in this order.
        if hooks.compiled and shortcuts.tsc is not None:
            self._engine.slice.tsc, self._engine.slice.ns_per_byte = self._shared_words(shortcuts.tsc), bus.ns_per_byte
            shared = ctypes.addressof(self._engine.slice)
            native.hook_add(uc, UC_HOOK_INSN, hooks.addresses["rdtsc"], shared, 1, 0, x86_const.UC_X86_INS_RDTSC)
        else:
            self._hook(_INSN, self._on_rdtsc, x86_const.UC_X86_INS_RDTSC)
        if hooks.compiled:
            shared_slice = self._engine.slice
            for slot, (port, words) in enumerate(shortcuts.latches.items()):
                shared_slice.latch_ports[slot], shared_slice.latches[slot] = port, self._shared_words(words)
            for name, kind, function, instruction in (
                ("port_in", _IN, on_in, x86_const.UC_X86_INS_IN),
                ("port_out", _OUT, on_out, x86_const.UC_X86_INS_OUT),
            ):
                keep, address = native.callback(kind, function)
                self._keep.append(keep)
                setattr(self._engine.slice, name, address)
                shared = ctypes.addressof(self._engine.slice)
                native.hook_add(uc, UC_HOOK_INSN, hooks.addresses[name], shared, 1, 0, instruction)
        else:

            def ring(size: int) -> int:
                return size | native.RING_3 if native.reg_read(uc, native.REG_CS) & 3 == 3 else size

            self._hook(_IN, lambda u, port, size, d: on_in(u, port, ring(size), d), x86_const.UC_X86_INS_IN)
            self._hook(_OUT, lambda u, port, size, v, d: on_out(u, port, ring(size), v, d), x86_const.UC_X86_INS_OUT)
        self._hook(_INSN, self._on_cpuid, x86_const.UC_X86_INS_CPUID)

    def _shared_words(self, words: SharedWords) -> int:
        """Their address, which stays theirs."""
        first = ctypes.c_uint64.from_buffer(words)
        self._keep.append(first)
        return ctypes.addressof(first)

    def _hook(self, kind: Callable[..., object], function: Callable[..., int | None], instruction: int) -> None:
        keep, address = native.callback(kind, function)
        self._keep.append(keep)
        native.hook_add(self._engine.uc, UC_HOOK_INSN, address, 0, 1, 0, instruction)

    def _on_cpuid(self, _uc: int, _data: int) -> int:
        try:
            engine = self._engine
            function = native.reg_read(engine.uc, native.REG_EAX)
            values = cpuid(function, engine.index, self._bus.apic_enabled(engine.index))
        except BaseException as error:
            self._engine.fail(error)
            return 1
        native.four_write(self._engine.uc, values)
        self._engine.serialise()
        return 1

    def _on_rdtsc(self, _uc: int, _data: int) -> int:
        """The time stamp counter counts nanoseconds of virtual time: 1 GHz, invariant, the same on every run."""
        try:
            now = self._bus.time()
        except BaseException as error:
            self._engine.fail(error)
            now = 0
        native.reg_write(self._engine.uc, native.REG_EAX, now & 0xFFFFFFFF)
        native.reg_write(self._engine.uc, native.REG_EDX, now >> 32 & 0xFFFFFFFF)
        return 1
