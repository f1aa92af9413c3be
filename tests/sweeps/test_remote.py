# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers by Dask: a cluster of two on this host, one of which is killed."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import distributed
import pytest

from kdumpsim.files import HostFailure
from kdumpsim.sweeps import remote
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.remote import run_remotely
from kdumpsim.sweeps.row import identity
from kdumpsim.sweeps.running import run_plan
from kdumpsim.sweeps.store import Store
from kdumpsim.sweeps.workers import Ways


@pytest.mark.nightly
def test_a_worker_that_is_killed_costs_time_and_no_run(tmp_path: Path) -> None:
    plan = Plan.from_dict({"points": "FS_DEVRW", "types": "panic", "counts": "1", "seeds": "0-3"})
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Store(tmp_path / "s.sqlite", create=True) as store,
    ):
        with distributed.Client(cluster, set_as_default=False) as client:
            pids = list(client.run(os.getpid).values())
        assert len(pids) == 2
        rows = []
        for row in run_plan(plan, store, lambda groups: run_remotely(groups, cluster.scheduler_address, Ways())):
            if not rows:
                os.kill(pids[0], signal.SIGKILL)
            rows.append(row)
        assert len(store) == plan.total
    assert sorted(row.key for row in rows) == sorted(identity(s)[0] for g in plan.groups() for s in g.scenarios)
    assert {row.end for row in rows} == {"O"}


def test_no_scheduler_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CONNECT_S", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        plan = Plan.from_dict({"points": "FS_DEVRW", "types": "panic"})
        with pytest.raises(HostFailure, match="no Dask scheduler answers at"):
            next(run_remotely(plan.groups(), address, Ways()))
