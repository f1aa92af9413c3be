# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m kdumpsim.compiler``: check guest modules, and link them if asked to."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .diagnostics import GuestError
from .driver import compile_modules
from .linker import Layout, link
from .modules import package_modules


def main() -> int:
    """Compile what the command line names; exit status 1 after errors."""
    parser = argparse.ArgumentParser(prog="python -m kdumpsim.compiler", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="MODULE_OR_PACKAGE")
    parser.add_argument("-o", dest="output", type=Path, help="link to this file")
    parser.add_argument("--base", type=lambda text: int(text, 0), default=0xC0100000, help="virtual address")
    parser.add_argument("--paddr", type=lambda text: int(text, 0), default=0x100000, help="physical address")
    parser.add_argument("--entry", default="_start", help="entry symbol (default _start)")
    parser.add_argument("--kallsyms", action="store_true", help="add the symbol table for the kernel itself")
    parser.add_argument(
        "-O", dest="optimize", action="append", default=[], metavar="MODULE", help="run LLVM's O2 on it"
    )
    parser.add_argument(
        "-D", dest="config", action="append", default=[], metavar="NAME=NUMBER", help="set config(NAME)"
    )
    parser.add_argument("--objects", type=Path, help="write the objects into this directory")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        modules = [module for name in options.names for module in package_modules(name)]
        config = {key: int(value, 0) for key, _, value in (item.partition("=") for item in options.config)}
        objects = compile_modules(modules, config=config, optimize=options.optimize)
        if options.objects:
            options.objects.mkdir(parents=True, exist_ok=True)
            for obj in objects:
                (options.objects / f"{obj.name}.o").write_bytes(obj.data)
        if options.output:
            image = link(objects, Layout(options.base, options.paddr, options.entry, options.kallsyms))
            options.output.write_bytes(image.elf)
    except (GuestError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(objects)} modules, {time.monotonic() - started:.2f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
