# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened and why, for readers: facts of a run, pages made of them, oopses with source lines."""
