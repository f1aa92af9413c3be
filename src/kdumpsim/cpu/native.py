# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn's C library without its Python layer: prototypes, register access, and hooks in machine code.

A hook written in Python costs 0.5 us a call, which no block hook can afford. The hooks are a few instructions of host
code each (`listings.py`). Hosts without such code get the same hooks as ctypes callbacks: slower, same results.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import unicorn.unicorn_py3.unicorn as _binding
from unicorn import x86_const as x86
from unicorn.unicorn_const import (
    UC_ARCH_X86,
    UC_CTL_CPU_MODEL,
    UC_CTL_TB_FLUSH,
    UC_CTL_TB_REMOVE_CACHE,
    UC_CTL_TLB_FLUSH,
    UC_CTL_TLB_TYPE,
    UC_CTL_UC_EXITS,
    UC_CTL_UC_USE_EXITS,
    UC_HOOK_BLOCK,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_MODE_32,
    UC_PROT_ALL,
)

from kdumpsim.notices import notice

from .listings import LISTINGS, LOOK_IF, LOOK_IRET, LOOK_RF

REG_EAX, REG_EBX, REG_ECX, REG_EDX = x86.UC_X86_REG_EAX, x86.UC_X86_REG_EBX, x86.UC_X86_REG_ECX, x86.UC_X86_REG_EDX
REG_ESI, REG_EDI, REG_EBP, REG_ESP = x86.UC_X86_REG_ESI, x86.UC_X86_REG_EDI, x86.UC_X86_REG_EBP, x86.UC_X86_REG_ESP
REG_EIP, REG_EFLAGS = x86.UC_X86_REG_EIP, x86.UC_X86_REG_EFLAGS
REG_CR0, REG_CR2, REG_CR3, REG_CR4 = x86.UC_X86_REG_CR0, x86.UC_X86_REG_CR2, x86.UC_X86_REG_CR3, x86.UC_X86_REG_CR4
REG_DR6 = x86.UC_X86_REG_DR6
REG_CS, REG_DS, REG_ES, REG_FS = x86.UC_X86_REG_CS, x86.UC_X86_REG_DS, x86.UC_X86_REG_ES, x86.UC_X86_REG_FS
REG_GS, REG_SS = x86.UC_X86_REG_GS, x86.UC_X86_REG_SS
REG_GDTR, REG_IDTR, REG_LDTR, REG_TR = (
    x86.UC_X86_REG_GDTR,
    x86.UC_X86_REG_IDTR,
    x86.UC_X86_REG_LDTR,
    x86.UC_X86_REG_TR,
)

lib: Final[Any] = _binding.uclib
ENGINE: Final = f"unicorn {_binding.uc_version()}"

# Why a slice ended, as the hooks record it. 0: nobody stopped it, so the CPU halted.
REASON_NONE, REASON_LIMIT, REASON_EXCEPTION, REASON_WATCH, REASON_SITE, REASON_SPLIT = 0, 1, 2, 3, 4, 5


class EngineError(RuntimeError):
    """The engine refused a call that must not fail."""


def check(error: int) -> None:
    """Raise EngineError unless a library call said it went well."""
    if error:
        raise EngineError(f"unicorn: error {error}")


def _ctl(code: int, write: bool, read: bool, arguments: int) -> int:
    return code | arguments << 26 | (write << 0 | read << 1) << 30


CTL_FLUSH_TB: Final = _ctl(UC_CTL_TB_FLUSH, True, False, 0)
CTL_FLUSH_TLB: Final = _ctl(UC_CTL_TLB_FLUSH, True, False, 0)
CTL_TLB_TYPE: Final = _ctl(UC_CTL_TLB_TYPE, True, False, 1)
CTL_REMOVE_CACHE: Final = _ctl(UC_CTL_TB_REMOVE_CACHE, True, False, 2)
_CTL_CPU_MODEL: Final = _ctl(UC_CTL_CPU_MODEL, True, False, 1)
_CTL_USE_EXITS: Final = _ctl(UC_CTL_UC_USE_EXITS, True, False, 1)
_CTL_EXITS: Final = _ctl(UC_CTL_UC_EXITS, True, False, 2)


def function_address(function: Any) -> int:
    """Where a C function lies in the host."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


CONTEXT_HEADER: Final = 40  # bytes of struct uc_context before the CPU state
IF, NT, RF = 1 << 9, 1 << 14, 1 << 16  # of EFLAGS

RING_3 = 0x100
"""Added to the size of a port access by ring 3, whose right to it nobody has checked yet."""


LATCHES: Final = 2
"""How many ports may have words in `Shortcuts.latches`."""
_NO_PORT: Final = 1 << 31


class Slice(ctypes.Structure):
    """What the hooks and the CPU share. The machine code below knows these offsets."""

    _fields_ = (
        ("retired", ctypes.c_uint64),  # 0: code bytes since power-on
        ("limit", ctypes.c_uint64),  # 8: a block that starts at or past this is not run
        ("emu_stop", ctypes.c_void_p),  # 16
        ("reason", ctypes.c_uint32),  # 24
        ("vector", ctypes.c_int32),  # 28
        ("address", ctypes.c_uint64),  # 32: the block that was begun last, a linear address,
        ("size", ctypes.c_uint32),  # 40: and its size; both count as retired from its beginning
        ("look", ctypes.c_uint32),  # 44: what to look for at the beginning of a block (LOOK_*)
        ("reg_read", ctypes.c_void_p),  # 48, and the rest: for the TLB fill (see softtlb.py)
        ("ctl", ctypes.c_void_p),  # 56
        ("host_pages", ctypes.c_void_p),  # 64
        ("marks", ctypes.c_void_p),  # 72
        ("code_anywhere", ctypes.c_void_p),  # 80: null without other CPUs
        ("new_code", ctypes.c_void_p),  # 88
        ("written_count", ctypes.c_uint32),  # 96
        ("written", ctypes.c_uint32 * 65),  # 100: physical page numbers
        ("port_in", ctypes.c_void_p),  # 360: the callbacks behind the hooks of the same names
        ("port_out", ctypes.c_void_p),  # 368
        ("vmem_read", ctypes.c_void_p),  # 376
        ("suspect", ctypes.c_void_p),  # 384: the callback behind the hook "translated"
        ("task", ctypes.c_uint32),  # 392: selector in TR at the last TLB fill for data
        ("new_task", ctypes.c_void_p),  # 400: the callback when it was another one
        ("reg_write", ctypes.c_void_p),  # 408
        ("stop_at_iret", ctypes.c_uint32),  # 416: an NMI waits for an IRET
        ("hooked", ctypes.c_uint64),  # 424: `retired` when the last hook of an instruction was called that stays in C
        ("split", ctypes.c_void_p),  # 432: the hook of that name
        ("state", ctypes.c_void_p),  # 440: the engine's CPU state (`state_address`)
        ("tsc", ctypes.c_void_p),  # 448: `Shortcuts.tsc`
        ("zero", ctypes.c_int64),  # 456: the time at which the CPU would have retired nothing, as it runs now, in ns
        ("ns_per_byte", ctypes.c_int64),  # 464
        ("tlb_entries", ctypes.c_void_p),  # 472: the CPU's TLB, by linear page: see `softtlb`
        ("tlb_pages", ctypes.c_void_p),  # 480: the pages it holds,
        ("tlb_count", ctypes.c_uint32),  # 488: and how many
        ("unused", ctypes.c_uint32),
        ("latch_ports", ctypes.c_uint32 * LATCHES),  # 496: the ports of `Shortcuts.latches`,
        ("latches", ctypes.c_void_p * LATCHES),  # 504: and their words
    )
    retired: int
    limit: int
    emu_stop: int
    reason: int
    vector: int
    address: int
    size: int
    look: int
    host_pages: int
    marks: int
    code_anywhere: int
    new_code: int
    written_count: int
    written: ctypes.Array[ctypes.c_uint32]
    port_in: int
    port_out: int
    suspect: int
    task: int
    new_task: int
    stop_at_iret: int
    hooked: int
    split: int
    state: int
    tsc: int
    zero: int
    ns_per_byte: int
    tlb_entries: int
    tlb_pages: int
    tlb_count: int
    latch_ports: ctypes.Array[ctypes.c_uint32]
    latches: ctypes.Array[ctypes.c_void_p]

    def __init__(self, limit: int = 0) -> None:
        super().__init__(
            limit=limit,
            emu_stop=function_address(lib.uc_emu_stop),
            reg_read=function_address(lib.uc_reg_read),
            reg_write=function_address(lib.uc_reg_write),
            ctl=function_address(lib.uc_ctl),
            vmem_read=function_address(lib.uc_vmem_read),
            latch_ports=(ctypes.c_uint32 * LATCHES)(*[_NO_PORT] * LATCHES),
        )


class Hooks:
    """The hooks every engine has, as addresses the C library can call."""

    def __init__(self, addresses: dict[str, int], keep: object, *, compiled: bool = True) -> None:
        self.compiled = compiled
        self.addresses = addresses
        self._keep = keep

    def attach(self, uc: ctypes.c_void_p, shared: Slice) -> None:
        for kind, name in (
            (UC_HOOK_BLOCK, "block"),
            (UC_HOOK_INTR, "interrupt"),
            (UC_HOOK_INSN_INVALID, "invalid"),
        ):
            hook_add(uc, kind, self.addresses[name], ctypes.addressof(shared))
        shared.split = self.addresses["split"]

    def go_on(self, uc: ctypes.c_void_p, kind: int, base: int, size: int) -> None:
        """Let accesses of a protected kind proceed in a physical range."""
        hook_add(uc, kind, self.addresses["go_on"], 0, base, base + size - 1)


@cache
def hooks() -> Hooks:
    """The fastest hooks this host can have."""
    why = f"there is none for {platform.machine()} on {sys.platform}"
    if platform.machine().lower() in ("x86_64", "amd64") and sys.platform == "linux":
        try:
            found = _machine_code()
            uc = open_engine()
            try:
                no_exits(uc)
                if warm_up(uc, found):
                    return found
            finally:
                lib.uc_close(uc)
            why = "this build of Unicorn keeps the CPU's state elsewhere"
        except OSError as error:  # a host that forbids executable anonymous memory
            why = str(error.strerror or error)
    notice(f"the engine's hooks are Python's, not machine code, so that a run takes several times as long: {why}")
    return portable_hooks()


def _machine_code() -> Hooks:
    area, addresses = executable({name: bytes.fromhex(code) for name, (_, code) in LISTINGS.items()})
    return Hooks(addresses, area)


def executable(functions: dict[str, bytes]) -> tuple[mmap.mmap, dict[str, int]]:
    """Machine code made callable: the memory to keep, and each function's address. OSError if the host forbids it."""
    area = mmap.mmap(
        -1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    )
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    addresses, at = {}, 0
    for name, code in functions.items():
        area[at : at + len(code)] = code
        addresses[name] = base + at
        at += len(code) + 15 & ~15
    return area, addresses


def portable_hooks() -> Hooks:
    """The same hooks through ctypes, for hosts without machine code here."""
    pointer = ctypes.POINTER(Slice)

    def block(uc: int, address: int, size: int, shared: Any) -> None:
        state, engine = shared.contents, ctypes.c_void_p(uc)
        eflags = reg_read(engine, REG_EFLAGS) if state.look else 0
        if state.retired >= state.limit or state.look & LOOK_IRET or (state.look & LOOK_IF and eflags & IF):
            state.reason = REASON_LIMIT
            lib.uc_emu_stop(uc)
            return
        if state.look & LOOK_RF:
            state.look &= ~LOOK_RF
            if eflags & RF:
                reg_write(engine, REG_EFLAGS, eflags & ~RF)
        state.retired += size
        state.address, state.size = address, size

    def iret(uc: int, address: int, size: int, shared: Any) -> None:
        state = shared.contents
        state.look |= LOOK_RF
        if state.stop_at_iret:
            state.look |= LOOK_IRET
        if reg_read(ctypes.c_void_p(uc), REG_EFLAGS) & NT:
            split(uc, address, size, shared)

    def split(uc: int, address: int, _size: int, shared: Any) -> None:
        state, engine = shared.contents, ctypes.c_void_p(uc)
        if state.reason:
            return
        register, begun, done = REG_EFLAGS, state.retired, address - state.address
        if done:
            state.retired -= state.size - done
            state.size = done
            if state.hooked == begun:
                state.reason = REASON_SPLIT
                lib.uc_emu_stop(uc)
                return
            register = REG_EIP
        reg_write(engine, register, reg_read(engine, register))

    def interrupt(uc: int, vector: int, shared: Any) -> None:
        state = shared.contents
        state.vector, state.reason = vector, REASON_EXCEPTION
        lib.uc_emu_stop(uc)

    def invalid(uc: int, shared: Any) -> bool:
        interrupt(uc, 6, shared)
        return True

    def go_on(_uc: int, _access: int, _address: int, _size: int, _value: int, _data: int | None) -> bool:
        return True

    void, u64, i32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    functions: dict[str, Any] = {
        "block": ctypes.CFUNCTYPE(None, void, u64, ctypes.c_uint32, pointer)(block),
        "iret": ctypes.CFUNCTYPE(None, void, u64, ctypes.c_uint32, pointer)(iret),
        "split": ctypes.CFUNCTYPE(None, void, u64, ctypes.c_uint32, pointer)(split),
        "interrupt": ctypes.CFUNCTYPE(None, void, ctypes.c_uint32, pointer)(interrupt),
        "invalid": ctypes.CFUNCTYPE(ctypes.c_bool, void, pointer)(invalid),
        "go_on": ctypes.CFUNCTYPE(ctypes.c_bool, void, i32, u64, i32, ctypes.c_int64, void)(go_on),
    }
    addresses = {name: function_address(f) for name, f in functions.items()}
    return Hooks(addresses, functions, compiled=False)


_TRANSLATION_BUFFER: Final = 1 << 30  # bytes of address space, for each engine
_MAP_NORESERVE: Final = 0x4000  # mmap(2) on x86-64


def open_engine(model: int = x86.UC_CPU_X86_PENTIUM2) -> ctypes.c_void_p:
    """A new x86 engine, closed with `lib.uc_close`.  OSError where the host has no room for one.

    Instructions that came after its model are #UD.

    Unicorn allocates its translation buffer when it first runs, and where it cannot, it ends the process.
    """
    mmap.mmap(-1, _TRANSLATION_BUFFER, _MAP_NORESERVE | mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    handle = ctypes.c_void_p()
    check(lib.uc_open(UC_ARCH_X86, UC_MODE_32, ctypes.byref(handle)))
    check(lib.uc_ctl(handle, _CTL_CPU_MODEL, ctypes.c_int(model)))
    return handle


def hook_add(
    uc: ctypes.c_void_p, kind: int, function: int, data: int, begin: int = 1, end: int = 0, *extra: int
) -> int:
    """Install a C function as a hook; returns the handle `hook_del` takes."""
    handle = ctypes.c_size_t()
    arguments = [ctypes.c_int(value) for value in extra]
    check(
        lib.uc_hook_add(
            uc,
            ctypes.byref(handle),
            kind,
            ctypes.c_void_p(function),
            ctypes.c_void_p(data),
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
            *arguments,
        )
    )
    return handle.value


def hook_del(uc: ctypes.c_void_p, handle: int) -> None:
    """Remove a hook."""
    check(lib.uc_hook_del(uc, ctypes.c_size_t(handle)))


def callback(kind: Any, function: Callable[..., Any]) -> tuple[Any, int]:
    """A Python function as a C function: the object to keep alive, and its address."""
    wrapped = kind(function)
    return wrapped, function_address(wrapped)


def no_exits(uc: ctypes.c_void_p) -> None:
    """`emu_start`'s `until` address must mean nothing: looking it up can fault, and that clobbers CR2."""
    check(lib.uc_ctl(uc, _CTL_USE_EXITS, ctypes.c_int(1)))
    check(lib.uc_ctl(uc, _CTL_EXITS, ctypes.c_void_p(None), ctypes.c_size_t(0)))


def warm_up(uc: ctypes.c_void_p, hooks: Hooks) -> int:
    """Run a block on an engine without memory: UC_HOOK_EDGE_GENERATED says nothing before one has come to its end.

    Returns where the engine has its CPU state, for hooks in machine code: the register in which translated code has it,
    if what is there is what a context holds.  0 if it is not.
    """
    place = ctypes.c_uint64()
    handle = 0
    if hooks.compiled:
        handle = hook_add(uc, UC_HOOK_BLOCK, hooks.addresses["locate"], ctypes.addressof(place))
    check(lib.uc_mem_map(uc, ctypes.c_uint64(0), ctypes.c_size_t(4096), UC_PROT_ALL))
    check(lib.uc_mem_write(uc, ctypes.c_uint64(0), b"\xeb\x00\xf4", ctypes.c_size_t(3)))  # jmp 1f; 1: hlt
    check(lib.uc_emu_start(uc, 0, 0, 0, 0))
    check(lib.uc_mem_unmap(uc, ctypes.c_uint64(0), ctypes.c_size_t(4096)))
    if not hooks.compiled:
        return 0
    hook_del(uc, handle)
    check(lib.uc_ctl(uc, CTL_FLUSH_TB))
    return place.value if _same_as_context(uc, place.value) else 0


def _same_as_context(uc: ctypes.c_void_p, address: int) -> bool:
    """Is there at an address, which may be none, what a saved context has?"""
    context = ctypes.c_void_p()
    check(lib.uc_context_alloc(uc, ctypes.byref(context)))
    try:
        for value in (0x55AA1234, 0x0FF1CE):  # so that a state of zeros is not taken for another
            reg_write(uc, REG_EDI, value)
            check(lib.uc_context_save(uc, context))
            saved = ctypes.string_at((context.value or 0) + CONTEXT_HEADER, lib.uc_context_size(uc) - CONTEXT_HEADER)
            with open("/proc/self/mem", "rb", buffering=0) as memory:
                memory.seek(address)
                if memory.read(len(saved)) != saved:
                    return False
        reg_write(uc, REG_EDI, 0)
        return True
    except (OSError, OverflowError, ValueError):
        return False
    finally:
        lib.uc_context_free(context)


class _Mmr(ctypes.Structure):
    _fields_ = (
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


_cell = ctypes.c_uint64()
_cell_pointer = ctypes.byref(_cell)


def reg_read(uc: ctypes.c_void_p, register: int) -> int:
    """A register of at most 64 bits through the API."""
    _cell.value = 0
    check(lib.uc_reg_read(uc, register, _cell_pointer))
    return _cell.value


def reg_write(uc: ctypes.c_void_p, register: int, value: int) -> None:
    """Set a register through the API, with all the engine does about it."""
    _cell.value = value
    check(lib.uc_reg_write(uc, register, _cell_pointer))


_four = (ctypes.c_uint32 * 4)()
_four_registers = (ctypes.c_int * 4)(REG_EAX, REG_EBX, REG_ECX, REG_EDX)
_four_pointers = (ctypes.c_void_p * 4)(*(ctypes.addressof(_four) + 4 * slot for slot in range(4)))


def four_write(uc: ctypes.c_void_p, values: tuple[int, int, int, int]) -> None:
    """Set EAX, EBX, ECX and EDX in one call."""
    _four[:] = list(values)
    check(lib.uc_reg_write_batch(uc, _four_registers, _four_pointers, 4))


def mmr_write(uc: ctypes.c_void_p, register: int, selector: int, base: int, limit: int, flags: int) -> None:
    """Set GDTR, IDTR, LDTR or TR."""
    check(lib.uc_reg_write(uc, register, ctypes.byref(_Mmr(selector, base, limit, flags))))
