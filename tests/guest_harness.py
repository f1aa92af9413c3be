# SPDX-License-Identifier: GPL-2.0-or-later
"""Run functions of the guest kernel twice: by CPython as they stand in the source, and compiled, in Unicorn.

`Guest` holds the whole linked kernel in a flat machine without paging; any function that touches neither devices nor
other CPUs can be called in it.  `host_module()` imports a guest module into CPython, with the architecture stubbed out.
"""

from __future__ import annotations

import functools
import importlib
import struct
import sys
from collections.abc import Callable, MutableSequence
from types import ModuleType
from typing import Any

import unicorn
from unicorn import x86_const as x86

from kdumpsim import images
from kdumpsim.target import PAGE_OFFSET

ARENA, ARENA_SIZE = 0xD0000000, 4 << 20
STACK_TOP, RETURN = 0xDF002000, 0xDF010000
WORD = 0xFFFFFFFF


class Guest:
    """The kernel's code and data, loaded at their virtual addresses."""

    def __init__(self, image: images.KernelImage) -> None:
        self.symbols = image.symbols
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        begin = PAGE_OFFSET + image.base
        end = (image.symbols["_end"] + 0xFFFF) & ~0xFFFF
        self.uc.mem_map(begin, end - begin)
        self.uc.mem_map(ARENA, ARENA_SIZE)
        self.uc.mem_map(STACK_TOP - 0x2000, 0x20000)
        phoff, phnum = struct.unpack_from("<I", image.elf, 28)[0], struct.unpack_from("<H", image.elf, 44)[0]
        for index in range(phnum):
            kind, offset, vaddr, _, size, *_ = struct.unpack_from("<8I", image.elf, phoff + 32 * index)
            if kind == 1:
                self.uc.mem_write(vaddr, image.elf[offset : offset + size])
        self._next = ARENA

    def reset(self) -> None:
        """Forget everything allocated."""
        self._next = ARENA

    def alloc(self, data: bytes | int, align: int = 16) -> int:
        """Room for some bytes, or with some bytes, in the arena."""
        content = bytes(data) if isinstance(data, int) else data
        at = (self._next + align - 1) & -align
        assert at + len(content) <= ARENA + ARENA_SIZE
        self._next = at + len(content)
        self.uc.mem_write(at, content)
        return at

    def string(self, text: bytes) -> int:
        """A NUL-terminated string."""
        return self.alloc(text + b"\0", 1)

    def read(self, address: int, size: int) -> bytes:
        """Guest memory."""
        return bytes(self.uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Change guest memory."""
        self.uc.mem_write(address, data)

    def word(self, place: int | str) -> int:
        """A 32-bit variable, by address or name."""
        address = self.symbols[place] if isinstance(place, str) else place
        return int(struct.unpack("<I", self.read(address, 4))[0])

    def set_word(self, place: int | str, value: int) -> None:
        """Change a 32-bit variable."""
        address = self.symbols[place] if isinstance(place, str) else place
        self.write(address, struct.pack("<I", value & WORD))

    def call(self, function: str, *args: int) -> int:
        """Call a function with words for arguments; its result from EAX."""
        words = struct.pack(f"<{len(args) + 1}I", RETURN, *(arg & WORD for arg in args))
        esp = STACK_TOP - 256
        self.uc.mem_write(esp, words)
        self.uc.reg_write(x86.UC_X86_REG_ESP, esp)
        self.uc.emu_start(self.symbols[function], RETURN, count=50_000_000)
        assert self.uc.reg_read(x86.UC_X86_REG_EIP) == RETURN
        assert self.uc.reg_read(x86.UC_X86_REG_ESP) == esp + 4
        return int(self.uc.reg_read(x86.UC_X86_REG_EAX))

    def call_i32(self, function: str, *args: int) -> int:
        """Like call(), with a signed result."""
        result = self.call(function, *args)
        return result - (1 << 32) if result >> 31 else result

    def call_u64(self, function: str, *args: int) -> int:
        """Like call(), with the result from EDX:EAX."""
        return self.call(function, *args) | int(self.uc.reg_read(x86.UC_X86_REG_EDX)) << 32


def pair(value: int) -> tuple[int, int]:
    """A 64-bit argument as the two words it is passed in."""
    return value & WORD, value >> 32 & WORD


@functools.lru_cache
def guest() -> Guest:
    """One Guest for the whole test run."""
    return Guest(images.kernel())


class HostPtr:
    """ptr[T] for CPython: a place in a sequence; indexing gives integers of `kind`."""

    def __init__(self, items: MutableSequence[Any], index: int = 0, kind: Callable[[int], Any] = int) -> None:
        self.items, self.index, self.kind = items, index, kind

    def __getitem__(self, offset: int) -> Any:
        value = self.items[self.index + int(offset)]
        return self.kind(value) if isinstance(value, int) else value

    def __setitem__(self, offset: int, value: Any) -> None:
        self.items[self.index + int(offset)] = value

    def __add__(self, count: int) -> HostPtr:
        return HostPtr(self.items, self.index + int(count), self.kind)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostPtr) and self.items is other.items and self.index == other.index

    __hash__ = None  # type: ignore[assignment]


def host_string(text: bytes) -> HostPtr:
    """A NUL-terminated string for a function run by CPython."""
    from kdumpsim.compiler import lang

    return HostPtr(bytearray(text + b"\0"), kind=lang.u8)


class _Architecture(ModuleType):
    """Stands in for kdumpsim.kernel.architecture: constants that module-level code computes with, and names."""

    PAGE_SHIFT, PAGE_SIZE, TIF_NEED_RESCHED = 12, 4096, 3

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: object) -> Any:
            raise AssertionError(f"{name}() needs a CPU")

        return absent


def host_module(name: str) -> ModuleType:
    """Import a guest module into CPython; addr() of an object is the object, cast() believes."""
    from kdumpsim.compiler import lang

    before = set(sys.modules)
    real = sys.modules.get("kdumpsim.kernel.architecture")
    sys.modules["kdumpsim.kernel.architecture"] = _Architecture("kdumpsim.kernel.architecture")
    saved = lang.addr, lang.cast
    lang.addr, lang.cast = lambda place: place, lambda kind, value: value
    try:
        return importlib.import_module(name)
    finally:
        lang.addr, lang.cast = saved
        for loaded in set(sys.modules) - before:
            if loaded.startswith("kdumpsim.kernel."):
                del sys.modules[loaded]
        if real is not None:
            sys.modules["kdumpsim.kernel.architecture"] = real
        else:
            sys.modules.pop("kdumpsim.kernel.architecture", None)
