# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim.sweep`, for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

import kdumpsim
from kdumpsim import ScenarioError, StoreError, Sweep


def test_a_sweep_is_counted_kept_and_resumed(tmp_path: Path) -> None:
    store, seen = tmp_path / "s.sqlite", list[int]()
    axes = {"counts": range(1, 3), "options": {"stack": ["4k", "8k"]}, "store": store}
    with kdumpsim.sweep(
        "FS_DEVRW", ["panic"], jobs=2, progress=lambda so_far: seen.append(so_far.done), **axes
    ) as made:  # type: ignore[arg-type]
        assert seen == [1, 2, 3, 4]
        assert {label: (tally.ok, tally.n) for label, tally in made.arms.items()} == {
            "stack=4k": (2, 2),
            "stack=8k": (2, 2),
        }
        assert made.cells["stack=4k", "FS_DEVRW", "panic"].interval.high == 1
        assert made.failures() == []
        assert made.compare("stack=4k", "stack=8k").both == 2
        assert {run["end"] for run in made.runs()} == {"O"}
    with pytest.raises(StoreError, match="resume=True"):
        kdumpsim.sweep("FS_DEVRW", "panic", **axes)  # type: ignore[arg-type]
    with kdumpsim.sweep("FS_DEVRW", "panic", resume=True, progress=lambda so_far: seen.append(0), **axes) as again:  # type: ignore[arg-type]
        assert len(again) == 4
    assert len(seen) == 4
    with Sweep.open(store) as opened:
        assert len(opened) == 4
    assert len(list(Sweep.open(store).runs())) == 4, "a sweep that is held by nothing but its runs"


def test_a_plan_that_cannot_be_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean cpus"):
        kdumpsim.sweep("FS_DEVRW", "panic", store=tmp_path / "s.sqlite", cpu=2)
    assert list(tmp_path.iterdir()) == []
