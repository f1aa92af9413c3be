# SPDX-License-Identifier: GPL-2.0-or-later
"""LLVM behind a process boundary: IR text in, relocatable object out.

LLVM ends the whole process when an assembly text is wrong, so it runs in worker processes (:func:`main`).
That also keeps llvmlite out of the memory of the long-running emulator, and gives one worker per host core.

Protocol on the worker's stdin/stdout: request ``<optimize: u8> <length: u32> IR text``, answer
``<failed: u8> <length: u32> object or message``.  Inline-assembly errors arrive on stderr, before the worker dies.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import struct
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .target import TARGET

if TYPE_CHECKING:
    import subprocess

_REQUEST = struct.Struct("<BI")


class BackendError(Exception):
    """LLVM refused a module; the text is LLVM's own."""


def version() -> str:
    """What llvmlite says of its version, with its revision: found without importing it, or the packages' metadata,
    since cache keys need it on every start.
    """
    found = find_spec("llvmlite")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("llvmlite is not installed", name="llvmlite")
    return Path(found.origin).with_name("_version.py").read_text()


class Worker:
    """One LLVM process; restarted when a bad assembly text has killed it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        import subprocess

        self._process = subprocess.Popen(
            [sys.executable, "-c", "from kdumpsim.compiler.backend import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        return self._process

    def emit(self, ir: str, optimize: bool = False) -> bytes:
        """Compile one module of IR text to an ELF object; BackendError with LLVM's message."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        body = ir.encode()
        try:
            process.stdin.write(_REQUEST.pack(optimize, len(body)) + body)
            process.stdin.flush()
            header = process.stdout.read(_REQUEST.size)
        except BrokenPipeError:
            header = b""
        if len(header) < _REQUEST.size:
            assert self._errors is not None
            process.wait()
            self._errors.seek(0)
            message = self._errors.read().decode(errors="replace")
            self.close()
            raise BackendError(message or f"LLVM died with status {process.returncode}")
        failed, size = _REQUEST.unpack(header)
        answer = process.stdout.read(size)
        if failed:
            raise BackendError(answer.decode(errors="replace"))
        return answer

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout, self._errors):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):  # it died with a request half written
                        stream.close()
            self._process.wait()
            self._process = None


def emit_all(jobs: Sequence[tuple[str, bool]]) -> list[bytes | BackendError]:
    """Compile many ``(ir, optimize)`` on all host cores; results in the order of the jobs."""
    count = min(len(jobs), os.cpu_count() or 1)
    if not count:
        return []
    workers = [Worker() for _ in range(count)]

    def run(job: tuple[str, bool]) -> bytes | BackendError:
        worker = workers.pop()
        try:
            return worker.emit(*job)
        except BackendError as error:
            return error
        finally:
            workers.append(worker)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        try:
            return list(pool.map(run, jobs))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt shall not wait for all of them
            for worker in workers:
                worker.close()


_shared: tuple[int, Worker] | None = None


def shared_worker() -> Worker:
    """A worker that lives as long as this process, for many small jobs (the assembler)."""
    global _shared
    if _shared is None or _shared[0] != os.getpid():  # a forked process must not talk into its parent's pipes
        _shared = (os.getpid(), Worker())
        atexit.register(_shared[1].close)
    return _shared[1]


def main() -> None:
    """Serve requests until stdin ends."""
    import llvmlite.binding as llvm

    from .framebase import FrameBaseError, find_from_cfa

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    # Two calls of panic() must stay two, or the backtrace names the wrong line.
    llvm.set_option("kdumpsim", "-enable-tail-merge=0")
    # elfutils finds a unit by address in .debug_aranges only.
    llvm.set_option("kdumpsim", "-generate-arange-section")
    target = llvm.Target.from_triple(TARGET.triple)

    def machine(level: int) -> llvm.TargetMachine:
        return target.create_target_machine(
            cpu=TARGET.cpu, features=TARGET.features, opt=level, reloc="static", codemodel="default"
        )

    machines = {0: machine(1), 1: machine(2)}
    layout = str(machines[0].target_data)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(_REQUEST.size)) == _REQUEST.size:
        optimize, size = _REQUEST.unpack(header)
        failed = 0
        try:
            module = llvm.parse_assembly(source.read(size).decode())
            module.data_layout = layout
            module.verify()
            if optimize:
                options = llvm.create_pipeline_tuning_options(speed_level=2)
                builder = llvm.create_pass_builder(machines[1], options)
                builder.getModulePassManager().run(module, builder)
            answer = machines[optimize].emit_object(module)
            if not optimize:  # there variables have places of several kinds
                answer = find_from_cfa(answer)
        except (RuntimeError, FrameBaseError) as error:
            failed, answer = 1, str(error).encode()
        sink.write(_REQUEST.pack(failed, len(answer)) + answer)
        sink.flush()
