# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump mechanisms by name, as a scenario names them; what each one does is in `mechanisms/NAME.py`."""

from __future__ import annotations

DEFAULT_MECHANISM = "kdump"
MECHANISMS: dict[str, str] = {
    DEFAULT_MECHANISM: "a second kernel, loaded beforehand by kexec, saves the memory of the first",
}
"""Name and meaning; `mechanisms.base.register` adds others."""
