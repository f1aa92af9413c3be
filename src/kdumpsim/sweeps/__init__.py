# SPDX-License-Identifier: GPL-2.0-or-later
"""Many runs: lists of scenarios, and their outcomes."""
