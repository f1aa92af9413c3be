# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the engine keeps a CPU's registers inside its saved context: declared here, proven at start-up.

`uc_context_save` copies the engine's whole CPU state after a small header. Reading and editing that copy is
several times faster than register calls, and the only way to the interrupt shadow, the NMI block and the segments'
hidden parts. The layout belongs to one build of Unicorn, so `verify` compares it with what the register API and
provoked events say, and refuses to go on when they differ.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from functools import cache
from typing import Final

from unicorn import x86_const

from . import native
from .native import lib

HEADER: Final = native.CONTEXT_HEADER

# 64-bit slots, as indices into the state seen as an array of u64.
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
EIP: Final = 16
EFLAGS: Final = 17
CR0, CR2, CR3, CR4 = 53, 55, 56, 57

LAZY_FLAGS: Final = slice(144, 172)
"""Bytes of operands and operator from which the engine computes flags while it runs. Whenever it starts, it makes them
anew from EFLAGS, so that nothing depends on what a context has there."""

# 32-bit slots, as indices into the state seen as an array of u32.
HFLAGS: Final = 44
HFLAGS2: Final = 45

# Segment registers: {u32 selector, u64 base, u32 limit, u32 flags}, 24 bytes each.
ES, CS, SS, DS, FS, GS, LDTR, TR, GDTR, IDTR = range(10)
_SEGMENTS: Final = 184  # byte offset of ES
_SEGMENT_SIZE: Final = 24
SELECTOR: Final = tuple((_SEGMENTS + i * _SEGMENT_SIZE) // 4 for i in range(10))  # u32 index
BASE: Final = tuple((_SEGMENTS + i * _SEGMENT_SIZE + 8) // 8 for i in range(10))  # u64 index
LIMIT: Final = tuple(i + 4 for i in SELECTOR)  # u32 index
FLAGS: Final = tuple(i + 5 for i in SELECTOR)  # u32 index: the descriptor's high dword

# hflags: what the translator knows of the mode.
HF_CPL: Final = 3 << 0
HF_INHIBIT_IRQ: Final = 1 << 3
HF_CS32: Final = 1 << 4
HF_SS32: Final = 1 << 5
HF_ADDSEG: Final = 1 << 6
HF_PE: Final = 1 << 7
HF2_NMI: Final = 1 << 2

STATE_SIZE: Final = 5568  # bytes of CPU state in a context


class LayoutError(RuntimeError):
    """This build of Unicorn keeps its state elsewhere; kdumpsim cannot run on it."""


class Context:
    """One engine context with its CPU state mapped as arrays."""

    def __init__(self) -> None:
        self.handle = ctypes.c_void_p()
        self.q: memoryview  # the state as u64
        self.d: memoryview  # the state as u32
        self.i: memoryview  # the state as i32
        self.bytes: memoryview

    @classmethod
    def of(cls, uc: ctypes.c_void_p) -> Context:
        context = cls()
        native.check(lib.uc_context_alloc(uc, ctypes.byref(context.handle)))
        if lib.uc_context_size(uc) != HEADER + STATE_SIZE:
            raise LayoutError(f"contexts have {lib.uc_context_size(uc)} bytes, not {HEADER + STATE_SIZE}")
        assert context.handle.value is not None
        array = (ctypes.c_ubyte * STATE_SIZE).from_address(context.handle.value + HEADER)
        context.bytes = memoryview(array).cast("B")
        context.q = context.bytes.cast("Q")
        context.d = context.bytes.cast("I")
        context.i = context.bytes.cast("i")
        return context

    def free(self) -> None:
        if self.handle:
            lib.uc_context_free(self.handle)
            self.handle = ctypes.c_void_p()


class Probe:
    """A scratch engine to ask."""

    CODE = 0x1000

    def __init__(self, *model: int) -> None:
        self.memory = mmap.mmap(-1, 0x10000)
        self.uc = native.open_engine(*model)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        native.check(lib.uc_mem_map_ptr(self.uc, 0, 0x10000, 7, address))
        native.no_exits(self.uc)
        self.slice = native.Slice(limit=1 << 62)
        native.hooks().attach(self.uc, self.slice)
        self.context = Context.of(self.uc)

    def run(self, code: bytes) -> None:
        self.memory[self.CODE : self.CODE + len(code)] = code
        lib.uc_ctl(self.uc, native.CTL_FLUSH_TB)
        self.slice.reason = 0
        lib.uc_emu_start(self.uc, self.CODE, 0, 0, 0)
        self.save()

    def save(self) -> None:
        native.check(lib.uc_context_save(self.uc, self.context.handle))

    def close(self) -> None:
        self.context.free()
        lib.uc_close(self.uc)


def _expect(what: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise LayoutError(f"unicorn keeps {what} elsewhere than expected ({got:#x}, not {wanted:#x})")


def _verify_registers(probe: Probe) -> None:
    view = probe.context
    general: tuple[int, ...] = (native.REG_EAX, native.REG_ECX, native.REG_EDX, native.REG_EBX)
    general += (native.REG_ESP, native.REG_EBP, native.REG_ESI, native.REG_EDI)
    for index, register in enumerate(general):
        native.reg_write(probe.uc, register, 0x11111100 + index)
    native.reg_write(probe.uc, native.REG_EIP, 0x76543210)
    native.reg_write(probe.uc, native.REG_CR2, 0xC2C2C2C0)
    native.reg_write(probe.uc, native.REG_CR3, 0xC3C3C000)
    tables = ((native.REG_LDTR, LDTR), (native.REG_TR, TR), (native.REG_GDTR, GDTR), (native.REG_IDTR, IDTR))
    for register, segment in tables:
        native.mmr_write(probe.uc, register, 0x100 + segment, 0x1234000 + segment, 0x4321 + segment, 0x8900)
    probe.save()
    for index in range(8):
        _expect(f"general register {index}", view.q[index], 0x11111100 + index)
    _expect("eip", view.q[EIP], 0x76543210)
    _expect("cr2", view.q[CR2], 0xC2C2C2C0)
    _expect("cr3", view.q[CR3], 0xC3C3C000)
    _expect("cr0", view.q[CR0], native.reg_read(probe.uc, native.REG_CR0))
    for _, segment in tables:
        _expect(f"the base of table register {segment}", view.q[BASE[segment]], 0x1234000 + segment)
        _expect(f"the limit of table register {segment}", view.d[LIMIT[segment]], 0x4321 + segment)
        if segment in (LDTR, TR):
            _expect(f"the selector of table register {segment}", view.d[SELECTOR[segment]], 0x100 + segment)
    # Segment registers by loading a descriptor with a telling base.
    e2 = 0x12CF9300
    probe.memory[0x800:0x820] = struct.pack("<8I", 0, 0, 0x3450FFFF, e2, 0x0000FFFF, 0x00CF9A00, 0x0000FFFF, 0x00CF9300)
    native.mmr_write(probe.uc, native.REG_GDTR, 0, 0x800, 31, 0)
    native.reg_write(probe.uc, native.REG_CR0, 0x11)
    registers = ((native.REG_DS, DS), (native.REG_ES, ES), (native.REG_FS, FS), (native.REG_GS, GS))
    for register, _ in registers:
        native.reg_write(probe.uc, register, 8)
    native.reg_write(probe.uc, native.REG_SS, 0x18)
    native.reg_write(probe.uc, native.REG_CS, 0x10)
    native.reg_write(probe.uc, native.REG_CR4, 0x10)
    probe.save()
    _expect("cr4", view.q[CR4], 0x10)
    for _, segment in registers:
        _expect(f"segment register {segment}", view.d[SELECTOR[segment]], 8)
        _expect(f"the base of segment register {segment}", view.q[BASE[segment]], 0x12003450)
        _expect(f"the limit of segment register {segment}", view.d[LIMIT[segment]], 0xFFFFFFFF)
        _expect(f"the attributes of segment register {segment}", view.d[FLAGS[segment]] & 0xFFFFFE00, e2 & 0xFFFFFE00)
    _expect("ss", view.d[SELECTOR[SS]], 0x18)
    _expect("cs", view.d[SELECTOR[CS]], 0x10)
    want = HF_CS32 | HF_SS32 | HF_PE | HF_ADDSEG
    _expect("hflags", view.d[HFLAGS] & (want | HF_CPL | HF_INHIBIT_IRQ), want)
    for register, _ in registers:
        native.reg_write(probe.uc, register, 0x18)


def _verify_flags(probe: Probe) -> None:
    view = probe.context
    probe.slice.limit = probe.slice.retired + 1
    probe.run(b"\xfd\xf9\xfb\x90\xf4")  # std; stc; sti | nop; hlt: the slice ends after the sti
    _expect("the interrupt shadow", view.d[HFLAGS] & HF_INHIBIT_IRQ, HF_INHIBIT_IRQ)
    _expect("eflags", view.q[EFLAGS] & 0x601, 0x601)
    probe.slice.limit = 1 << 62
    probe.run(b"\xfc\x90\xf4")
    _expect("the end of the interrupt shadow", view.d[HFLAGS] & HF_INHIBIT_IRQ, 0)
    view.q[EFLAGS] |= 1
    view.bytes[LAZY_FLAGS] = b"\x03" * (LAZY_FLAGS.stop - LAZY_FLAGS.start)
    view.q[EAX] = 6
    native.check(lib.uc_context_restore(probe.uc, view.handle))
    probe.run(b"\x83\xd0\x01\xf4")  # adc $1, %eax; hlt
    _expect("the lazy flags", view.q[EAX], 8)
    # NMI blocking: set by hand, cleared by the engine's own IRET.
    native.reg_write(probe.uc, native.REG_ESP, 0x4000)
    probe.memory[0x4000:0x400C] = struct.pack("<3I", probe.CODE + 1, 0x10, 2)
    probe.save()
    view.d[HFLAGS2] |= HF2_NMI
    native.check(lib.uc_context_restore(probe.uc, view.handle))
    probe.run(b"\xcf\xf4")
    _expect("the NMI block", view.d[HFLAGS2] & HF2_NMI, 0)


class Offsets:
    """Slots found by experiment instead of by a number: u32 indices, u64 for the registers that say so."""

    def __init__(
        self, error_code: int, is_int: int, old_exception: int, sysenter: tuple[int, int, int], efer: int
    ) -> None:
        self.error_code = error_code
        self.is_int = is_int
        self.old_exception = old_exception
        self.sysenter_cs, self.sysenter_esp, self.sysenter_eip = sysenter  # u32, u64, u64
        self.efer = efer  # u64


def _find_sysenter_slots(probe: Probe) -> tuple[int, int, int]:
    """WRMSR of telling values to IA32_SYSENTER_CS, ESP and EIP."""
    view = probe.context
    values = {0x174: 0x1538, 0x175: 0x15E59ABC, 0x176: 0x1E159DEC}
    code = b"\x31\xd2"  # xor %edx, %edx
    for number, value in values.items():
        code += struct.pack("<BIBI2s", 0xB9, number, 0xB8, value, b"\x0f\x30")  # mov $, %ecx; mov $, %eax; wrmsr
    probe.run(code + b"\xf4")
    cs = [i for i, value in enumerate(view.d) if value == values[0x174]]
    esp = [i for i, value in enumerate(view.q) if value == values[0x175]]
    eip = [i for i, value in enumerate(view.q) if value == values[0x176] and i > BASE[IDTR]]
    if len(cs) != 1 or len(esp) != 1 or len(eip) != 1:
        raise LayoutError(f"no single slot for each of the SYSENTER registers: {cs} {esp} {eip}")
    return cs[0], esp[0], eip[0]


def _find_efer_slot() -> int:
    """WRMSR of SCE and NXE to IA32_EFER, on a model that has them."""
    probe = Probe(x86_const.UC_CPU_X86_HASWELL)
    try:
        probe.save()
        before = list(probe.context.q)
        probe.run(b"\xb9\x80\x00\x00\xc0\xb8\x01\x08\x00\x00\x31\xd2\x0f\x30\xf4")  # mov; mov; xor; wrmsr; hlt
        slots = [i for i, value in enumerate(probe.context.q) if value == 0x801 and before[i] == 0 and i > BASE[IDTR]]
    finally:
        probe.close()
    if len(slots) != 1:
        raise LayoutError(f"no single slot for IA32_EFER: {slots}")
    return slots[0]


def _find_exception_slots(probe: Probe) -> Offsets:
    """Provoke `int 0x55` and a #GP with a telling error code, and see where they left their marks."""
    view = probe.context
    probe.run(b"\xcd\x55")
    _expect("the vector of INT n", probe.slice.vector, 0x55)
    after_int = list(view.d)
    probe.run(b"\x66\xb8\x48\x00\x8e\xd8")  # mov $0x48, %ax; mov %ax, %ds: beyond the GDT's limit
    _expect("the vector of a bad selector", probe.slice.vector, 13)
    after_gp = list(view.d)
    changed = [i for i in range(len(after_gp)) if after_gp[i] != after_int[i]]
    codes = [i for i in changed if after_gp[i] == 0x48 and i > FLAGS[IDTR]]
    ints = [i for i in changed if (after_int[i], after_gp[i]) == (1, 0)]
    olds = [i for i in changed if (after_int[i], after_gp[i]) == (0xFFFFFFFF, 13)]
    if len(codes) != 1 or len(olds) != 1 or ints != [codes[0] + 1]:
        raise LayoutError(f"no single slot for error code, INT flag and exception in flight: {codes} {ints} {olds}")
    return Offsets(codes[0], ints[0], olds[0], _find_sysenter_slots(probe), _find_efer_slot())


@cache
def verify() -> Offsets:
    """Prove the layout on a scratch engine, once per process; LayoutError if this is another Unicorn."""
    probe = Probe()
    try:
        _verify_registers(probe)
        _verify_flags(probe)
        return _find_exception_slots(probe)
    finally:
        probe.close()
