# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache: what is kept, what makes it anew, and what it survives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from guest_machine import PRELUDE

from kdumpsim.compiler import backend, cache, compile_modules, package_modules
from kdumpsim.compiler.modules import module_path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kdumpsim"


def test_values_are_made_once(own_cache: Path) -> None:
    made: list[int] = []

    def produce() -> bytes:
        made.append(1)
        return b"value"

    key = cache.digest(["a", 1])
    assert [cache.cached(key, produce) for _ in range(3)] == [b"value"] * 3
    assert len(made) == 1
    assert not [path for path in own_cache.rglob("*") if path.name.startswith(".new")]
    (entry,) = [path for path in own_cache.rglob("*") if path.is_file()]
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cache.cached(key, produce) == b"value"
    assert len(made) == 2


def test_parts_of_a_key_do_not_run_together() -> None:
    assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"])


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.cached(cache.digest(["x"]), lambda: b"1") == b"1"


def test_what_a_killed_process_left_unfinished_is_cleared(own_cache: Path) -> None:
    key = cache.digest(["entry"])
    cache.store(key, b"content")
    (entry,) = (path for path in own_cache.rglob("*") if path.is_file())
    old, young = entry.with_name(".newold"), entry.with_name(".newyoung")
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    cache.store(key, b"content")
    assert not old.exists()
    assert young.exists()


def test_only_what_changed_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.py").write_text(PRELUDE + "SIZE: Final = 4\n")
    (tmp_path / "user.py").write_text(PRELUDE + "from base import SIZE\n@guest\ndef f() -> u32:\n    return SIZE\n")
    (tmp_path / "other.py").write_text(PRELUDE + "@guest\ndef g() -> u32:\n    return 1\n")
    extra = {name: tmp_path / f"{name}.py" for name in ("base", "user", "other")}
    compiled: list[int] = []
    real = backend.emit_all

    def counting(jobs: list[tuple[str, bool]]) -> list[bytes | backend.BackendError]:
        compiled.append(len(jobs))
        return real(jobs)

    monkeypatch.setattr(backend, "emit_all", counting)
    first = compile_modules([], extra_sources=extra)
    assert compile_modules([], extra_sources=extra) == first
    assert compiled == [3]
    (tmp_path / "base.py").write_text(PRELUDE + "SIZE: Final = 5\n")
    second = compile_modules([], extra_sources=extra)
    assert compiled == [3, 2]  # base and its user
    assert [a.name for a, b in zip(first, second, strict=True) if a.data != b.data] == ["base", "user"]
    built = compile_modules([], extra_sources=extra, config={"A": 1})
    assert (built, compiled) == (second, [3, 2, 0]), "another build, in which every module comes to the same"
    assert compile_modules([], extra_sources=extra, config={"A": 1}) == second
    (tmp_path / "base.py").write_text(PRELUDE + 'SIZE: Final = config("SIZE", 5)\n')
    assert compile_modules([], extra_sources=extra, config={"SIZE": 4}) == first
    assert compiled == [3, 2, 0, 0], "known from the build before last"
    key = cache.sources_key(["kdumpsim.compiler.lang"], extra_sources=extra)
    (tmp_path / "other.py").write_text(PRELUDE)
    assert cache.sources_key(["kdumpsim.compiler.lang"], extra_sources=extra) != key


def test_a_warm_start_needs_no_llvm(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(PRELUDE + "@guest\ndef f() -> u32:\n    return 1\n")
    program = (
        "import sys, pathlib; from kdumpsim.compiler import compile_modules;"
        f"compile_modules([], extra_sources={{'m': pathlib.Path({str(tmp_path / 'm.py')!r})}});"
        "assert 'llvmlite' not in sys.modules; print('kdumpsim.compiler.emit' in sys.modules)"
    )
    shown = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "12"]
    assert [result.stdout.strip() for result in shown] == ["True", "False"]


def test_package_modules_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pack"
    (package / "sub").mkdir(parents=True)
    for name in ("__init__.py", "b.py", "a.py", "sub/__init__.py", "sub/c.py"):
        (package / name).write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package_modules("pack") == ["pack", "pack.a", "pack.b", "pack.sub", "pack.sub.c"]
    assert package_modules("pack.a") == ["pack.a"]
    assert module_path("pack.sub.c") == package / "sub" / "c.py"
    with pytest.raises(ModuleNotFoundError):
        package_modules("pack.missing")


def test_the_command_checks_and_links(tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(PRELUDE + "@guest\ndef _start() -> u32:\n    return config_free\n")
    command = [sys.executable, "-m", "kdumpsim.compiler", "mod", "-o", str(tmp_path / "out")]
    environment = {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    failed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert failed.returncode == 1
    assert "unknown name config_free" in failed.stderr
    (tmp_path / "mod.py").write_text(PRELUDE + "@guest\ndef _start() -> u32:\n    return 1\n")
    assert subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0
    assert (tmp_path / "out").read_bytes()[:4] == b"\x7fELF"


def test_a_cache_that_cannot_be_written_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kdumpsim")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "kdumpsim").write_text("a file where the folder should be")
    for key in ("0" * 64, "1" * 64):
        cache.store(key, b"content")
        assert cache.load(key) is None
    assert caplog.text.count(f"cannot be kept in {tmp_path / 'kdumpsim'}") == 1
