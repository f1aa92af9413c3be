# SPDX-License-Identifier: GPL-2.0-or-later
"""The option for the machine's own truth beside a dump."""

from __future__ import annotations

import click

truth_option = click.option(
    "--truth/--no-truth",
    default=None,
    help="Write DIR/truth.core and DIR/truth-end.core, ELF cores of the machine's own memory and of every CPU's "
    "registers at the crash and at the end.  [default: if no dump was captured]",
)
