# SPDX-License-Identifier: GPL-2.0-or-later
"""The soak: random scenarios, accesses, code and inputs for hours, held to what must never happen.

docs/testing.md tells how to run it. `python -m soak KIND TEXT` checks one case again.
"""
