# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's commands, one module each; `kdumpsim.cli` gathers them."""
