# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guest modules make which image: kernels, purgatory and programs, built once and cached by content.

Run as ``python -m kdumpsim.images --out DIR`` it writes vmlinux, vmlinux-kdump, purgatory.ro and the programs.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpsim.compiler import cache
from kdumpsim.target import PAGE_OFFSET, TARGET, physical

if TYPE_CHECKING:
    from kdumpsim.compiler.driver import ObjectFile

FIRST_KERNEL_BASE = 0x100000
KERNEL_ENTRY = "startup_32"
SHT_SYMTAB = 2
_PT_LOAD = 1
_DW_OP_ADDR = 3
OPTIMIZED = ("kdumpsim.purgatory.sha256",)
"""Modules whose speed matters more than how they look in a debugger."""

USER_BASE = 0x08048000
USER_PROGRAMS = {
    "/bin/diskio": "diskio",
    "/bin/hello": "hello",
    "/sbin/agent": "agent",
    "/bin/memdrain": "memdrain",
    "/bin/netload": "netload",
    "/sbin/init": "init",
}
"""The programs of the system disk: their paths, and their modules below kdumpsim.userland."""
LOADS = {
    "memdrain": "drain the guest's memory until it swaps",
    "diskio": "write, sync and read back a file, for ever",
    "netload": "exchange datagrams with a station on the network, for ever (kdumpsim console --nic)",
}
"""Those of them that are loads, and what each does."""
FOLDERS = ("lkcd",)
"""Folders of the kernel's sources that are part of it only for those who name them: dump mechanisms' own."""
INITRAMFS_PROGRAMS = {"/init": "kdump_init", "/sbin/savecore": "savecore"}
"""The programs in every kernel's initramfs, which a capture kernel runs."""


@dataclass(frozen=True)
class KernelImage:
    """A linked kernel: the whole ELF file, the one without debug data, and its symbols by name."""

    elf: bytes
    stripped: bytes
    symbols: Mapping[str, int]
    base: int

    @property
    def physical_end(self) -> int:
        """First physical byte after the image, its bss included."""
        return physical(self.symbols["_end"])

    @property
    def stack_size(self) -> int:
        """Bytes of a kernel stack: THREAD_SIZE, of which the boot CPU's idle task has one in the image."""
        return symbol_size(self.elf, "init_thread_union")

    def read(self, address: int, size: int) -> bytes:
        """Initialised memory of the image at a linear address; ValueError where there is none."""
        form = TARGET.elf
        _, _, _, _, _, table, _, _, _, _, count, *_ = form.ehdr.unpack_from(self.stripped)
        for index in range(count):
            part = form.unpack_phdr(self.stripped, table + index * form.phdr_size)
            if part.type == _PT_LOAD and part.vaddr <= address and address + size <= part.vaddr + part.filesz:
                start = part.offset + address - part.vaddr
                return self.stripped[start : start + size]
        raise ValueError(f"the kernel's file has no {size} bytes at {address:#x}")

    def string(self, address: int) -> str:
        """A C string of the image; empty for NULL."""
        text = bytearray()
        while address and (byte := self.read(address + len(text), 1)) != b"\0":
            text += byte
        return text.decode()

    def place(self, address: int) -> str:
        """FILE:LINE where the global variable at an address is declared, for messages; the address if it is none's."""
        from elftools.elf.elffile import ELFFile

        wanted = [_DW_OP_ADDR, *address.to_bytes(TARGET.word, "little")]
        for unit in ELFFile(io.BytesIO(self.elf)).get_dwarf_info().iter_CUs():
            top = unit.get_top_DIE()
            for entry in top.iter_children():
                location = entry.attributes.get("DW_AT_location")
                if entry.tag == "DW_TAG_variable" and location is not None and list(location.value) == wanted:
                    return f"{top.attributes['DW_AT_name'].value.decode()}:{entry.attributes['DW_AT_decl_line'].value}"
        return f"{address:#x}"


def symbol_size(elf: bytes, name: str) -> int:
    """st_size of a symbol of an ELF file (System V ABI, "Symbol Table"); KeyError for one it does not have."""
    form = TARGET.elf
    _, _, _, _, _, _, shoff, _, _, _, _, entry_size, count, _ = form.ehdr.unpack_from(elf)
    sections = [form.shdr.unpack_from(elf, shoff + number * entry_size) for number in range(count)]
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != SHT_SYMTAB:
            continue
        names = sections[link][4]
        for st_name, _, st_size, *_ in form.sym.iter_unpack(elf[offset : offset + size]):
            if elf.startswith(name.encode() + b"\0", names + st_name):
                return int(st_size)
    raise KeyError(name)


class ModuleError(ValueError):
    """A file that cannot be a guest module; the text says why, and what can."""


def module_files(paths: Sequence[str | Path]) -> dict[str, Path]:
    """A user's guest modules by name, which is the file's without ``.py``.  ModuleError for what cannot be one."""
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise ModuleError(f"guest module '{path}': give a Python file whose name is an identifier, such as my.py")
        if not path.is_file():
            raise ModuleError(f"guest module '{path}': no such file")
        if path.stem in found or path.stem == "kdumpsim":
            raise ModuleError(f"guest module '{path}': the name {path.stem} is taken; rename the file")
        found[path.stem] = path
    return found


def kernel(
    base: int = FIRST_KERNEL_BASE,
    config: Mapping[str, int] | None = None,
    modules: Sequence[str | Path] = (),
    folders: Sequence[str] = (),
) -> KernelImage:
    """The kernel linked for physical address `base` with build-time constants `config`; with RELOCATABLE among them it
    may be loaded elsewhere.

    `modules` are files with guest code of a user's own, linked in as if they were the kernel's (docs/guest-modules.md).
    `folders` are those of `FOLDERS` that are linked in.
    Raises `compiler.CompileError` or `compiler.linker.LinkError` for broken guest sources, ModuleError for a file that
    cannot be a module.
    """
    config = dict(sorted((config or {}).items()))
    extra = module_files(modules)

    def build() -> bytes:
        from kdumpsim.compiler import compile_modules, data_object, package_modules
        from kdumpsim.compiler.linker import Layout, link

        left_out = tuple(f"kdumpsim.kernel.{name}" for name in FOLDERS if name not in folders)
        own = [name for name in package_modules("kdumpsim.kernel") if not name.startswith(left_out)]
        objects = compile_modules(own, config=config, extra_sources=extra)
        objects.append(data_object("initramfs.cpio", "initramfs", initramfs()))
        image = link(
            objects,
            Layout(
                PAGE_OFFSET + base, base, KERNEL_ENTRY, kallsyms=True, build_id=True,
                relocatable=bool(config.get("RELOCATABLE")),
            ),
        )  # fmt: skip
        return _pack(image.elf, image.stripped(), json.dumps(dict(image.symbols)).encode())

    key = cache.sources_key(
        ["kdumpsim.kernel", "kdumpsim.userland"],
        config=config,
        extra_sources=extra,
        more=["kernel", base, *sorted(folders)],
    )
    elf, stripped, symbols = _unpack(cache.cached(key, build))
    return KernelImage(elf, stripped, json.loads(symbols), base)


def purgatory() -> bytes:
    """Purgatory as a relocatable ELF object, for kexec-tools to place."""

    def build() -> bytes:
        from kdumpsim.compiler.merge import merge

        return merge(_purgatory_objects())

    key = cache.sources_key(["kdumpsim.purgatory"], optimize=OPTIMIZED, more=["purgatory"])
    return cache.cached(key, build)


def _purgatory_objects() -> list[ObjectFile]:
    from kdumpsim.compiler import compile_modules, package_modules

    return compile_modules(package_modules("kdumpsim.purgatory"), optimize=OPTIMIZED)


def purgatory_modules(address: int) -> list[tuple[bytes, dict[str, int]]]:
    """Purgatory's modules with debug data, and where the sections of each are once it is loaded at an address."""
    from kdumpsim.compiler.merge import placed

    objects = _purgatory_objects()
    return [(obj.data, sections) for obj, sections in zip(objects, placed(objects, address), strict=True)]


def user_program(path: str) -> bytes:
    """One of USER_PROGRAMS or INITRAMFS_PROGRAMS as an ELF executable with symbols and debug data."""
    return _user_program((USER_PROGRAMS | INITRAMFS_PROGRAMS)[path])[0]


def userland() -> dict[str, bytes]:
    """All programs by their paths, as they lie on the system disk."""
    return {path: _user_program(module)[1] for path, module in USER_PROGRAMS.items()}


def initramfs() -> bytes:
    """The archive that is linked into every kernel as its first root file system: cpio, format newc."""
    files = {path[1:]: _user_program(module)[1] for path, module in INITRAMFS_PROGRAMS.items()}
    entries = [_cpio_entry(name, 0o100755, number, data) for number, (name, data) in enumerate(files.items(), 1)]
    return b"".join([*entries, _cpio_entry("TRAILER!!!", 0, 0, b"")])


def _cpio_entry(name: str, mode: int, number: int, data: bytes) -> bytes:
    """One file: owner root, a single link, time zero; header with name and data are padded to four bytes."""
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _user_program(name: str) -> list[bytes]:
    """A program's ELF file, whole and stripped."""
    modules = [f"kdumpsim.userland.{name}", "kdumpsim.userland.start"]

    def build() -> bytes:
        from kdumpsim.compiler import compile_modules
        from kdumpsim.compiler.linker import Layout, link

        objects = compile_modules(modules)
        image = link(objects, Layout(USER_BASE, USER_BASE, "_start"))
        return _pack(image.elf, image.stripped())

    key = cache.sources_key(["kdumpsim.userland"], more=["userland", name])
    return _unpack(cache.cached(key, build))


def _pack(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _unpack(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        parts.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return parts


def main() -> None:
    """Write the images to a directory."""
    parser = argparse.ArgumentParser(description="Build the guest images.")
    parser.add_argument("--out", type=Path, default=Path("."), help="directory to write to")
    parser.add_argument("--capture-base", type=lambda text: int(text, 0), default=16 << 20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "vmlinux").write_bytes(kernel().elf)
    (options.out / "vmlinux-kdump").write_bytes(kernel(options.capture_base).elf)
    (options.out / "purgatory.ro").write_bytes(purgatory())
    for path, module in (USER_PROGRAMS | INITRAMFS_PROGRAMS).items():
        (options.out / module).write_bytes(user_program(path))


if __name__ == "__main__":
    main()
