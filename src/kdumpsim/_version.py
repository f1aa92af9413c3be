# SPDX-License-Identifier: GPL-2.0-or-later
"""The version: of the package, of `kdumpsim --version`, of result.json."""

__version__ = "0.1.0"
