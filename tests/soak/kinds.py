# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of case there is, by name."""

from __future__ import annotations

from typing import Any

from soak.arguments import Arguments
from soak.code import Code
from soak.devices import Devices
from soak.driver import Kind
from soak.inputs import Inputs
from soak.kills import Kills
from soak.loading import Loading
from soak.scenarios import Scenarios
from soak.talking import Talking

KINDS: dict[str, type[Kind[Any]]] = {
    kind.name: kind for kind in (Scenarios, Devices, Code, Loading, Inputs, Talking, Arguments, Kills)
}
