# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump mechanisms by name, as a scenario names them; what each one does is in `mechanisms/NAME.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What a scenario has to know of a mechanism."""

    help: str
    reserves: bool = False
    """It needs the region that ``crashkernel`` reserves; for other mechanisms that setting has no meaning."""
    column: str | None = None
    """Its column of the paper's Table 2, where that does not go by the kernel."""

    def __str__(self) -> str:
        return self.help


DEFAULT_MECHANISM = "kdump"
MECHANISMS: dict[str, Row] = {
    "kdump": Row("a second kernel, loaded beforehand by kexec, saves the memory of the first", reserves=True),
    "lkcd": Row(
        "LKCD 6.1: the dying kernel writes its memory to a dump partition by its own driver", column="lkcd-6.1.0"
    ),
}
"""By name; `mechanisms.base.register` adds those that are not part of kdumpsim."""
