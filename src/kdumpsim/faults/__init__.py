# SPDX-License-Identifier: GPL-2.0-or-later
"""What strikes a machine: crashes at instants, and fault models after the literature (docs/faults.md)."""
