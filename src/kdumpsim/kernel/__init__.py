# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest kernel: compiled to i386 code, never imported by host code."""
